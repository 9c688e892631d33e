"""The pages over HTTP: what they say, what they never say, where they may live."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox

from ..calls import Api
from .conftest import HTML, Look, impression

PATHS = (
    "/",
    "/experiences/homepage-banner",
    "/events",
    "/explain?customer_id=alice",
    "/requests",
    "/faults",
    "/help",
)


class Reader(HTMLParser):
    """Collects what a page would load, run or lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.forms: list[str] = []
        self.inline: list[str] = []
        self.titles = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.titles += tag == "title" and "title" not in given
        for name, value in attrs:
            if name in ("href", "src", "data-state-at"):
                self.addresses.append(value or "")
            if name == "action":
                self.forms.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{name}={value}")
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


def text_of(page: str) -> str:
    """A page's text on one line."""
    main = page.partition("<main")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


@pytest.mark.parametrize("path", PATHS)
def test_page_brings_nothing_from_elsewhere_and_nothing_inline(
    sandbox: Sandbox, look: Look, path: str
) -> None:
    impression(sandbox)
    impression(sandbox, what="CLICKED", b_id="cta")

    page = Reader(look(path))

    addresses = page.addresses + page.forms
    assert [one for one in addresses if not one.startswith(("/", "#"))] == []
    assert page.inline == []


@pytest.mark.parametrize("path", PATHS)
def test_every_address_on_a_mounted_page_is_below_the_mount(
    sandbox: Sandbox, path: str
) -> None:
    impression(sandbox)
    site = Starlette(routes=[Mount("/tools/sandbox", sandbox)])

    with TestClient(site) as client:
        page = Reader(client.get(f"/tools/sandbox{path}", headers=HTML).text)
        read = [one for one in page.addresses if one.startswith("/")]
        gone = [one for one in read if client.get(one, headers=HTML).status_code == 404]

    assert len(read) > 10
    assert [
        one for one in read + page.forms if not one.startswith("/tools/sandbox/")
    ] == []
    assert gone == []


async def test_root_goes_on_saying_json_to_programs(api: Api) -> None:
    answer = await api.send("GET", "/")

    assert answer.json()["title"] == "MoEngage Personalize sandbox"


def test_pages_send_headers_that_let_nothing_foreign_run(sandbox: Sandbox) -> None:
    answer = TestClient(sandbox).get("/", headers=HTML)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_empty_overview_teaches_the_first_calls(look: Look) -> None:
    page = text_of(look("/"))

    assert "Nothing counted yet" in page
    assert "http://testserver/v1/experiences/fetch" in page
    assert "MOE_PERSONALIZATION_MESSAGE_SHOWN" in page


def test_taught_calls_do_what_they_say(sandbox: Sandbox, look: Look) -> None:
    fetch, events = (
        found.replace("&#34;", '"')
        for found in re.findall(r"-d &#39;(\{.*?\})&#39;", look("/"))
    )

    with TestClient(sandbox, headers={"MOE-APPKEY": "sandbox"}) as client:
        client.auth = ("sandbox", "sandbox-key")
        fetched = client.post("/v1/experiences/fetch", content=fetch).json()
        for _ in range(2):
            client.post("/v1/experiences/events", content=events)

    (event,) = sandbox.events
    (answer,) = fetched["experiences"].values()
    assert event["attributes"] == answer["experience_context"]


def test_overview_counts_impressions_clicks_and_their_rate(
    sandbox: Sandbox, look: Look
) -> None:
    for customer_id in ("ann", "ben", "cleo", "dan"):
        impression(sandbox, customer_id)
    impression(sandbox, "ann", what="CLICKED")

    page = text_of(look("/"))

    assert "Impressions 4 Clicks 1 Click-through rate 25.0 %" in page
    assert "homepage-banner Active 4 4 1 25.0 %" in page


def test_overview_tells_of_strange_and_misdated_events(
    sandbox: Sandbox, look: Look
) -> None:
    impression(sandbox, at=sandbox.clock() * 1000)
    impression(sandbox, cid="66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A")

    page = text_of(look("/"))

    assert "1 event came for experiences that this workspace does not have" in page
    assert "1 event lies so far in the future" in page


def test_experience_shows_intervals_split_and_clicked_elements(
    sandbox: Sandbox, look: Look
) -> None:
    for number in range(50):
        impression(sandbox, f"a{number}", variation_id="1")
        impression(sandbox, f"b{number}", variation_id="2")
    for number in range(20):
        impression(sandbox, f"a{number}", variation_id="1", what="CLICKED", b_id="buy")
    for number in range(25):
        impression(sandbox, f"b{number}", variation_id="2", what="CLICKED")

    page = text_of(look("/experiences/homepage-banner"))

    # The vectors that MoEngage prints for 20 and 25 of 50.
    assert "27.6 % to 53.9 %" in page
    assert "36.6 % to 63.4 %" in page
    assert "84 %" in page
    assert "The split is as expected: 100 users" in page
    assert "buy All Users 1 20" in page


def test_lopsided_split_is_called_suspicious(sandbox: Sandbox, look: Look) -> None:
    for number in range(60):
        impression(sandbox, f"a{number}", variation_id="1" if number < 50 else "2")

    page = text_of(look("/experiences/homepage-banner"))

    assert "The split is suspicious: 60 users" in page


def test_definition_tells_rules_in_words_and_payloads(look: Look) -> None:
    page = text_of(look("/experiences/price-badge"))

    assert "Gold members 1A tier is gold" in page
    assert "Silver members 3C tier is silver" in page
    assert "Free shipping boolean true" in page


@pytest.mark.parametrize("path", ["/nowhere", "/experiences/no-such-key", "/a/b/c"])
def test_browser_gets_a_page_where_there_is_none(look: Look, path: str) -> None:
    assert "There is no such page" in look(path, status=404)


async def test_program_gets_the_envelope_where_there_is_nothing(api: Api) -> None:
    answer = await api.send("GET", "/nowhere")

    assert answer.status_code == 404
    assert answer.json()["title"] == "Not Found"


def test_tools_are_not_hidden_from_a_browser_by_the_missing_page(
    sandbox: Sandbox,
) -> None:
    client = TestClient(sandbox)
    for path in ("/_sandbox/events", "/_sandbox/report", "/openapi.json"):
        answer = client.get(path, headers=HTML)
        assert answer.headers["content-type"].startswith("application/json"), path


def test_event_filters_combine(sandbox: Sandbox, look: Look) -> None:
    impression(sandbox, "ann")
    impression(sandbox, "ann", what="CLICKED")
    impression(sandbox, "ben", what="CLICKED")

    page = look("/events?customer=ann&action=click&experience=homepage-banner")

    assert page.count("data-event") == 1
    assert "No event fits this filter" in look("/events?experience=price-badge")


async def test_request_log_shows_calls_but_no_key(
    sandbox: Sandbox, api: Api, look: Look
) -> None:
    await api.fetch({"experience_key": ["homepage-banner"], "note": "<b>hi</b>"})
    sandbox.fault("events", status=503)
    await api.report({})

    page = look("/requests")

    assert "Basic ***" in page
    assert "c2FuZGJveDpzYW5kYm94LWtleQ" not in page
    assert "&lt;b&gt;hi&lt;/b&gt;" in page
    assert "503 Service Unavailable, fault: status 503" in page
    assert "/v1/experiences/fetch" not in text_of(look("/requests?only=failed"))


def test_fault_form_adds_keeps_mistakes_and_clears(sandbox: Sandbox) -> None:
    with TestClient(sandbox, follow_redirects=False) as client:
        added = client.post(
            "/faults", data={"add": "own", "path": "fetch", "drip": "9"}
        )
        wrong = client.post("/faults", data={"status": "200"})
        armed = len(sandbox.faults.as_documents())
        client.post("/faults", data={"clear": "all"})

    assert (added.status_code, added.headers["location"]) == (303, "/faults")
    assert wrong.status_code == 400
    assert "use 400 to 599" in wrong.text
    assert armed == 1
    assert sandbox.faults.as_documents() == []


def test_faults_are_told_in_words(sandbox: Sandbox, look: Look) -> None:
    sandbox.fault("fetch", latency=1.5, jitter=0.5, drop=True, rate=0.25)

    page = text_of(look("/faults"))

    assert (
        "fetch waits 1.5 s and up to 0.5 s more, drops the connection, "
        "in 25 of 100 calls all" in page
    )


@pytest.mark.parametrize("path", ["/faults", "/reset"])
@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, b"preset=outage", 403),
        ({"Sec-Fetch-Site": "same-origin"}, b"x" * 20_000, 413),
    ],
    ids=["from another site", "far too large"],
)
def test_form_that_is_not_ours_changes_nothing(
    sandbox: Sandbox, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    impression(sandbox)

    with TestClient(sandbox) as client:
        answer = client.post(path, content=body, headers=headers)

    assert answer.status_code == status
    assert sandbox.faults.as_documents() == []
    assert len(sandbox.events) == 1


def test_start_afresh_forgets_everything(sandbox: Sandbox) -> None:
    impression(sandbox)

    with TestClient(sandbox, follow_redirects=False) as client:
        answer = client.post("/reset")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert sandbox.events == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("attributes=gold", "not of the form name=value"),
        ("session=%3Dx", "not of the form name=value"),
        ("day=Funday", "Enum doesnt allow value"),
        ("identifiers=u_em%3D", "String value empty not allowed"),
    ],
)
def test_description_that_makes_no_sense_is_answered_with_the_reason(
    look: Look, query: str, complaint: str
) -> None:
    page = text_of(look(f"/explain?{query}", status=400))

    assert complaint.replace("'", "&#39;") in page


def test_explanation_and_fetch_agree_for_everybody(
    sandbox: Sandbox, look: Look
) -> None:
    with TestClient(sandbox) as client:
        for customer_id in ("alice", "bob", "carol", "dave", "somebody"):
            fetched = client.post(
                "/v1/experiences/fetch",
                json={"identifiers": {"customer_id": customer_id}},
                headers={"MOE-APPKEY": "sandbox"},
                auth=("sandbox", "sandbox-key"),
            ).json()["experiences"]
            page = look(f"/explain?customer_id={customer_id}")
            served = re.findall(r'<article class="answer " id="answer-([^"]*)"', page)
            assert served == list(fetched)
            for answer in fetched.values():
                assert answer["experience_context"]["cid"] in page


def test_state_changes_with_events_faults_and_calls(sandbox: Sandbox) -> None:
    client = TestClient(sandbox)
    states = [client.get("/state").text]
    impression(sandbox)
    states.append(client.get("/state").text)
    sandbox.fault(status=503, times=None)
    states.append(client.get("/state").text)
    client.post("/v1/experiences/fetch")
    states.append(client.get("/state").text)

    assert len(set(states)) == 4
    assert client.get("/state").text == states[-1]


def test_overview_without_pygal_says_so_and_shows_the_figures(
    sandbox: Sandbox, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    impression(sandbox)
    monkeypatch.setitem(sys.modules, "pygal", None)

    page = look("/")

    assert "The chart needs pygal" in page
    assert "<svg class=" not in page.partition('id="totals"')[2].partition("<table")[0]
    assert "Impressions and clicks over time" in page


def test_favicon_is_there(sandbox: Sandbox) -> None:
    answer = TestClient(sandbox).get("/favicon.ico")

    assert answer.headers["content-type"] == "image/svg+xml"
    assert b"<svg" in answer.content
