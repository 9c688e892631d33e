"""The pages over HTTP: what they say, what they never say, where they may live."""

from __future__ import annotations

import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.memory.request_log import MAX_SHOWN
from tests.servers import wait_for

from ..calls import Api
from .conftest import HTML, Look, impression

PATHS = (
    "/",
    "/experiences/homepage-banner",
    "/events",
    "/explain?customer_id=alice",
    "/requests",
    "/faults",
    "/connect",
)


GOOD = """
users: [{id: alice}]
experiences:
  - key: homepage-banner
    name: Homepage banner
    status: Active
    audiences: [{name: All Users, variations: [{payload: {Title: Hello}}]}]
"""


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

    assert "Impressions 4 Clicks 1 Click-through rate 25.0%" in page
    assert "homepage-banner Active Active 4 4 1 25.0%" in page


def test_overview_tells_of_strange_and_misdated_events(
    sandbox: Sandbox, look: Look
) -> None:
    impression(sandbox, at=sandbox.clock() * 1000)
    impression(sandbox, cid="66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A")

    page = text_of(look("/"))

    assert "1 event arrived for experiences that are not in this workspace" in page
    assert "1 event lies far in the future" in page


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
    assert "27.6% to 53.9%" in page
    assert "36.6% to 63.4%" in page
    assert "84%" in page
    assert "The split is as expected: 100 users" in page
    assert "buy All Users 1 20" in page


def test_definition_tells_rules_in_words_and_payloads(look: Look) -> None:
    page = text_of(look("/experiences/price-badge"))

    assert "Gold members 1A tier is gold" in page
    assert "Silver members 3C tier is silver" in page
    assert "Free shipping boolean true" in page


@pytest.mark.parametrize("path", ["/nowhere", "/experiences/no-such-key", "/a/b/c"])
def test_browser_gets_a_page_where_there_is_none(look: Look, path: str) -> None:
    assert "Not found" in look(path, status=404)


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
    assert "No event matches this filter" in look("/events?experience=price-badge")


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
    assert "Service Unavailable, fault: status 503" in page
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
    assert "Choose a status from the list." in wrong.text
    assert armed == 1
    assert sandbox.faults.as_documents() == []


def test_faults_are_reported_in_words(sandbox: Sandbox, look: Look) -> None:
    sandbox.fault("fetch", latency=1.5, jitter=0.5, drop=True, rate=0.25)

    page = text_of(look("/faults"))

    sandbox.fault("events", lose_response=True, garbage=True)
    assert "is processed, then drops the response, returns garbage" in text_of(
        look("/faults")
    )
    assert (
        "fetch waits 1.5 s, plus up to 0.5 s at random, drops the connection, "
        "for 25% of the calls all" in page
    )


@pytest.mark.parametrize("path", ["/faults", "/reset"])
def test_form_that_is_far_too_large_changes_nothing(
    sandbox: Sandbox, path: str
) -> None:
    impression(sandbox)

    with TestClient(sandbox) as client:
        headers = {"Sec-Fetch-Site": "same-origin"}
        answer = client.post(path, content=b"x" * 20_000, headers=headers)

    assert answer.status_code == 413
    assert sandbox.faults.as_documents() == []
    assert len(sandbox.events) == 1


def test_start_afresh_forgets_everything(sandbox: Sandbox) -> None:
    impression(sandbox)

    with TestClient(sandbox, follow_redirects=False) as client:
        answer = client.post("/reset")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert sandbox.events == []


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


def test_favicon_is_there(sandbox: Sandbox) -> None:
    answer = TestClient(sandbox).get("/favicon.ico")

    assert answer.headers["content-type"] == "image/svg+xml"
    assert b"<svg" in answer.content


# --- what a page says of visitors, calls and mistakes -----------------------------


def test_results_hide_what_few_users_cannot_tell(sandbox: Sandbox, look: Look) -> None:
    for number in range(29):
        impression(sandbox, f"a{number}", variation_id="1")
        impression(sandbox, f"b{number}", variation_id="2")
    early = look("/experiences/homepage-banner")
    impression(sandbox, "a29", variation_id="1")
    half = look("/experiences/homepage-banner")
    impression(sandbox, "b29", variation_id="2")
    both = look("/experiences/homepage-banner")

    # Each variation's interval is drawn twice: in a wide and in a narrow table.
    drawn = [page.count('class="range"') for page in (early, half, both)]
    assert drawn == [0, 2, 4]
    assert "29 of 30 users" in text_of(early)
    assert ["% to win" in text_of(page) for page in (half, both)] == [False, True]


@pytest.mark.parametrize("path", ["/help", "/help?x=1"])
def test_old_address_of_a_page_leads_to_the_new_one(
    sandbox: Sandbox, path: str
) -> None:
    client = TestClient(Starlette(routes=[Mount("/box", sandbox)]))

    answer = client.get(f"/box{path}", headers=HTML, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (308, "/box/connect")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "Overview"),
        ("/events", "Events"),
        ("/explain", "Explain"),
        ("/requests", "Requests"),
        ("/faults", "Faults"),
        ("/connect", "Connect"),
    ],
)
def test_page_has_one_name_in_navigation_title_heading_and_address(
    look: Look, path: str, name: str
) -> None:
    page = look(path)

    assert f"<title>{name} " in page
    assert f"<h1>{name}</h1>" in page
    assert f'aria-current="page">{name}</a>' in page
    assert path in ("/", f"/{name.lower()}")


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"status": "503", "times": "many"}, "times", "1 or more, or all"),
        ({"status": "503", "times": "0"}, "times", "1 or more, or all"),
        ({"status": "503", "rate": "2"}, "rate", "up to 1"),
        ({"latency": "soon"}, "latency", "Enter seconds"),
        ({"jitter": "-1"}, "jitter", "Enter seconds"),
        ({"status": "503", "seed": "x"}, "seed", "whole number"),
        ({"drip": "0"}, "drip", "bytes per second"),
    ],
)
def test_mistake_in_the_fault_form_stands_beside_its_field(
    sandbox: Sandbox, form: dict[str, str], field: str, words: str
) -> None:
    answer = TestClient(sandbox).post("/faults", data={"add": "own"} | form)

    place = re.search(rf'<input id="{field}"[^>]*>.*', answer.text)
    assert place is not None
    assert 'aria-invalid="true"' in place[0]
    assert f'{field}-wrong"' in place[0]
    assert words in place[0]
    assert answer.text.count("aria-invalid") == 1
    assert sandbox.faults.as_documents() == []


def test_all_mistakes_of_the_fault_form_are_reported_at_once(sandbox: Sandbox) -> None:
    wrong = {"times": "x", "rate": "x", "seed": "x"}
    answer = TestClient(sandbox).post("/faults", data=wrong)

    assert answer.text.count("aria-invalid") == 3
    assert "Choose at least one effect" in answer.text


def test_tick_that_no_browser_sends_is_reported_above_the_ticks(
    sandbox: Sandbox,
) -> None:
    answer = TestClient(sandbox).post(
        "/faults", data={"status": "503", "drop": "maybe"}
    )

    assert answer.status_code == 400
    assert "Choose at least one effect" in answer.text


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("attributes=gold", "not of the form name=value"),
        ("session=%3Dx", "not of the form name=value"),
        ("day=Funday", "Enum doesnt allow value"),
        ("hour=99", "Enum doesnt allow value"),
        ("identifiers=u_em", "not of the form name=value"),
        ("identifiers=u_em%3D", "String value empty not allowed"),
    ],
)
def test_mistake_in_a_description_stands_beside_its_field(
    look: Look, query: str, complaint: str
) -> None:
    page, field = look(f"/explain?{query}", status=400), query.partition("=")[0]

    assert complaint in text_of(page)
    assert re.search(rf'id="{field}"[^>]*aria-invalid="true"', page)
    assert f'id="{field}-wrong"' in page


def test_request_row_tells_visitor_keys_and_matches(
    sandbox: Sandbox, look: Look
) -> None:
    with TestClient(sandbox) as client:
        client.post(
            "/v1/experiences/fetch",
            json={
                "identifiers": {"customer_id": "nobody"},
                "experience_key": ["homepage-banner", "price-badge"],
                "utm_medium": "email",
                "TIME_OF_THE_DAY": "07",
            },
            headers={"MOE-APPKEY": "sandbox"},
            auth=("sandbox", "sandbox-key"),
        )
    impression(sandbox, "erin")
    page = look("/requests")
    rows = text_of(page)
    link = re.search(r'href="(/explain\?[^"]*)"', page)

    assert (
        "Visitor: nobody Keys: homepage-banner , no match: price-badge "
        "Matches: 1 of 2 Status: 200" in rows
    )
    assert "Visitor: erin Keys: homepage-banner Matches: 1 impression" in rows
    assert link is not None
    explained = look(link[1].replace("&amp;", "&"))
    assert "utm_medium is email <small>visitor: email</small>" in explained
    assert "LETTER10" in explained


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"identifiers": 1, "experience_key": 2}',
        b'{"identifiers": {"user_identifiers": []}, "experience_key": [1, null]}',
        b'{"elements": [1, {"actions": [2, {"attributes": 3}]}, {"actions": "x"}]}',
        b'{"customer_id": {"a": 1}, "visitor_id": [], "session": {"a": []}}',
    ],
)
def test_request_row_survives_any_body(
    sandbox: Sandbox, look: Look, body: bytes
) -> None:
    with TestClient(sandbox) as client:
        for name in ("fetch", "events", "metadata"):
            client.post(f"/v1/experiences/{name}", content=body)

    assert look("/requests").count("data-event") == 3


def test_explanation_as_json_agrees_with_the_page(sandbox: Sandbox) -> None:
    client = TestClient(sandbox)
    found = client.get(
        "/_sandbox/explain?customer_id=alice&session=utm_medium=email&session=x=1"
    ).json()
    (one,) = client.get("/_sandbox/explain?experience=price-badge").json()[
        "experiences"
    ]

    assert found["visitor"]["id"] == "alice"
    assert found["visitor"]["session"] == {"utm_medium": "email", "x": "1"}
    by_key = {each["experience_key"]: each for each in found["experiences"]}
    assert by_key["homepage-banner"]["outcome"] == "served"
    assert by_key["promo-strip"]["audience"] == "Email visitors"
    assert by_key["promo-strip"]["payload"]["Code"] == "LETTER10"
    assert by_key["winter-sale"]["reason"].startswith("Scheduled from 2099-12-01")
    assert one["audiences"][0]["rules"][0]["visitor"] == "not sent (unknown customer)"


@pytest.mark.parametrize(
    ("query", "status"),
    [("experience=none-such", 404), ("attributes=gold", 400), ("day=Funday", 400)],
)
def test_explanation_as_json_refuses_with_the_envelope(
    sandbox: Sandbox, query: str, status: int
) -> None:
    answer = TestClient(sandbox).get(f"/_sandbox/explain?{query}")

    assert answer.status_code == status
    assert answer.json()["description"]


@pytest.mark.parametrize("path", PATHS)
def test_broken_workspace_file_is_reported_on_every_page(
    tmp_path: Path, path: str
) -> None:
    file = tmp_path / "workspace.yml"
    file.write_text(GOOD)
    sandbox = Sandbox(file)
    client = TestClient(sandbox, headers=HTML)
    before = client.get(path).text, client.get("/state").text
    file.write_text(GOOD.replace("Active", "Actve"))
    wait_for(lambda: bool(sandbox.workspace and sandbox.problems), what="the mistake")
    broken = client.get(path).text, client.get("/state").text
    file.write_text(GOOD)
    wait_for(lambda: bool(sandbox.workspace and not sandbox.problems), what="the mend")

    assert "last good version is still in use" not in before[0]
    assert "The workspace file has 1 mistake" in broken[0]
    assert "unknown status &#39;Actve&#39;" in broken[0]
    assert before[1] != broken[1]
    assert "1 mistake" not in client.get(path).text


def test_request_rows_tell_of_odd_calls(sandbox: Sandbox, look: Look) -> None:
    with TestClient(sandbox, raise_server_exceptions=False) as client:

        def fetch(body: bytes) -> None:
            with suppress(Exception):
                client.post("/v1/experiences/fetch", content=body)

        sandbox.fault("fetch", status=599)
        fetch(b"no JSON")
        fetch(b'"' + b"x" * MAX_SHOWN + b'"')
        fetch(b" " * 6_000_000)
        sandbox.fault("fetch", drop=True)
        fetch(b"{}")

    page = text_of(look("/requests"))
    expected = (
        "599",
        "no JSON",
        "(the first ",
        "(a request larger than",
        "no response",
    )
    assert [one for one in expected if one not in page] == []
