"""The pages over HTTP: what they say, what they never say, where they may live."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.memory.request_log import MAX_SHOWN
from tests.servers import wait_for

from ...rows import each
from ..calls import CONTEXT, action, basic
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


def text_of(page: str) -> str:
    """A page's text on one line."""
    main = page.partition("<main")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


@each("path", PATHS)
def test_page_brings_nothing_inline_or_from_beyond_its_mount(path: str) -> None:
    sandbox = Sandbox()
    impression(sandbox)
    impression(sandbox, clicked=True, b_id="cta")
    site = Starlette(routes=[Mount("/tools/sandbox", sandbox)])

    with TestClient(site) as client:
        page = client.get(f"/tools/sandbox{path}", headers=HTML).text
        read = re.findall(r' (?:href|src|data-state-at)="([^#"][^"]*)"', page)
        gone = [one for one in read if client.get(one, headers=HTML).status_code == 404]

    assert len(read) > 10
    addresses = read + re.findall(' action="([^"]*)"', page)
    assert [one for one in addresses if not one.startswith("/tools/sandbox/")] == []
    assert re.findall(r"<style| style=| on\w+=|<script(?![^>]* src=)", page) == []
    assert gone == []


def test_pages_send_headers_that_let_nothing_foreign_run(sandbox: Sandbox) -> None:
    answer = TestClient(sandbox).get("/", headers=HTML)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    icon = TestClient(sandbox).get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"


def test_taught_calls_do_what_they_say(sandbox: Sandbox, look: Look) -> None:
    page = look("/")
    assert "Nothing counted yet" in page
    assert "http://testserver/v1/experiences/fetch" in page
    fetch, events = (
        found.replace("&#34;", '"')
        for found in re.findall(r"-d &#39;(\{.*?\})&#39;", page)
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
    impression(sandbox, "ann", clicked=True)
    impression(sandbox, at=sandbox.clock() * 1000, token="none-of-ours")

    html = look("/?range=week")
    page = text_of(html)

    assert 'data-grain="hour"' in html
    assert "Impressions 5 Clicks 1 Click-through rate 20.0%" in page
    assert "homepage-banner Active Active 4 4 1 25.0%" in page
    assert "1 event arrived for experiences that are not in this workspace" in page
    assert "1 event lies far in the future" in page


def test_experience_shows_intervals_split_and_clicked_elements(
    sandbox: Sandbox, look: Look
) -> None:
    for number in range(50):
        impression(sandbox, f"a{number}", variation="1")
        impression(sandbox, f"b{number}", variation="2")
    for number in range(20):
        impression(sandbox, f"a{number}", variation="1", clicked=True, b_id="buy")
    for number in range(25):
        impression(sandbox, f"b{number}", variation="2", clicked=True)

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


@each("path", ["/nowhere", "/experiences/no-such-key", "/a/b/c"])
def test_browser_gets_a_page_where_there_is_none_and_a_program_json(path: str) -> None:
    client = TestClient(Sandbox())

    shown, answered = client.get(path, headers=HTML), client.get("/nowhere")

    assert (shown.status_code, "Not found" in shown.text) == (404, True)
    assert (answered.status_code, answered.json()["title"]) == (404, "Not Found")
    # The tools are for both.
    for tool in ("/_sandbox/events", "/_sandbox/report", "/openapi.json"):
        answer = client.get(tool, headers=HTML)
        assert answer.headers["content-type"].startswith("application/json"), tool


def test_event_filters_combine(sandbox: Sandbox, look: Look) -> None:
    impression(sandbox, "ann")
    impression(sandbox, "ann", clicked=True)
    impression(sandbox, "ben", clicked=True)

    page = look("/events?customer=ann&action=click&experience=homepage-banner")

    assert page.count("data-event") == 1
    assert "No event matches this filter" in look("/events?experience=price-badge")
    assert look("/events?action=impression").count("data-event") == 1


def test_faults_are_added_shown_in_words_and_removed(sandbox: Sandbox) -> None:
    both = {"latency": "1.5", "jitter": "0.5", "rate": "0.25", "times": "all"}
    with TestClient(sandbox, follow_redirects=False) as client:
        added = client.post("/faults", data={"add": "own", "path": "fetch"} | both)
        client.post("/faults", data={"preset": "lost"})
        page = text_of(client.get("/faults").text)
        client.post("/faults", data={"clear": "all"})

    assert (added.status_code, added.headers["location"]) == (303, "/faults")
    assert (
        "fetch waits 1.5 s, plus up to 0.5 s at random, for 25% of the calls all"
        in page
    )
    assert "events is processed, then drops the response" in page
    assert sandbox.faults.as_documents() == []


@each(
    ("given", "part"),
    [
        ({"drop": True}, "drops the connection"),
        ({"garbage": True, "status": 503}, "returns 503, returns garbage"),
        ({"drip": 9}, "sends 9 bytes per second"),
    ],
)
def test_fault_is_put_in_words(given: dict[str, Any], part: str) -> None:
    sandbox = Sandbox()
    sandbox.fault(**given)

    assert part in text_of(TestClient(sandbox).get("/faults", headers=HTML).text)


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


def test_state_changes_with_events_faults_calls_and_a_fresh_start(
    sandbox: Sandbox,
) -> None:
    client = TestClient(sandbox, follow_redirects=False)
    states = [client.get("/state").text]
    impression(sandbox)
    states.append(client.get("/state").text)
    sandbox.fault(status=503, times=None)
    states.append(client.get("/state").text)
    client.post("/v1/experiences/fetch")
    states.append(client.get("/state").text)

    assert len(set(states)) == 4
    assert client.get("/state").text == states[-1]

    answer = client.post("/reset")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert sandbox.events == []
    assert client.get("/state").text not in states[1:]


# --- what a page says of visitors, calls and mistakes -----------------------------


def test_results_hide_what_few_users_cannot_tell(sandbox: Sandbox, look: Look) -> None:
    for number in range(29):
        impression(sandbox, f"a{number}", variation="1")
        impression(sandbox, f"b{number}", variation="2")
    early = look("/experiences/homepage-banner")
    impression(sandbox, "a29", variation="1")
    half = look("/experiences/homepage-banner")
    impression(sandbox, "b29", variation="2")
    both = look("/experiences/homepage-banner")

    # Each variation's interval is drawn twice: in a wide and in a narrow table.
    drawn = [page.count('class="range"') for page in (early, half, both)]
    assert drawn == [0, 2, 4]
    assert "29 of 30 users" in text_of(early)
    assert ["% to win" in text_of(page) for page in (half, both)] == [False, True]


def test_old_address_of_a_page_leads_to_the_new_one(sandbox: Sandbox) -> None:
    client = TestClient(Starlette(routes=[Mount("/box", sandbox)]))

    answer = client.get("/box/help?x=1", headers=HTML, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (308, "/box/connect")


@each("name", ["Overview", "Events", "Explain", "Requests", "Faults", "Connect"])
def test_page_has_one_name_in_navigation_title_heading_and_address(name: str) -> None:
    path = "/" if name == "Overview" else f"/{name.lower()}"
    page = TestClient(Sandbox()).get(path, headers=HTML).text

    assert f"<title>{name} " in page
    assert f"<h1>{name}</h1>" in page
    assert f'aria-current="page">{name}</a>' in page


FIELD_MISTAKES = {
    "times": ("many", "1 or more, or all"),
    "rate": ("2", "up to 1"),
    "latency": ("soon", "Enter seconds"),
    "jitter": ("-1", "Enter seconds"),
    "seed": ("x", "whole number"),
    "drip": ("0", "bytes per second"),
}


def test_every_mistake_in_the_fault_form_stands_beside_its_field(
    sandbox: Sandbox,
) -> None:
    form = {field: given for field, (given, _) in FIELD_MISTAKES.items()}
    answer = TestClient(sandbox).post("/faults", data={"add": "own"} | form)

    for field, (_, words) in FIELD_MISTAKES.items():
        place = re.search(rf'<input id="{field}"[^>]*>.*', answer.text)
        assert place is not None
        assert 'aria-invalid="true"' in place[0]
        assert f'{field}-wrong"' in place[0]
        assert words in place[0]
    assert answer.text.count("aria-invalid") == len(FIELD_MISTAKES)


@each(
    ("form", "words"),
    [
        ({"status": "200"}, "Choose a status from the list."),
        # No browser sends such a tick.
        ({"status": "503", "drop": "maybe"}, "Choose at least one effect"),
        ({"times": "2"}, "Choose at least one effect"),
    ],
)
def test_form_without_a_fault_changes_nothing(form: dict[str, str], words: str) -> None:
    sandbox = Sandbox()
    answer = TestClient(sandbox).post("/faults", data=form)

    assert (answer.status_code, words in answer.text) == (400, True)
    assert sandbox.faults.as_documents() == []


@each(
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
    query: str, complaint: str
) -> None:
    client, field = TestClient(Sandbox()), query.partition("=")[0]
    shown = client.get(f"/explain?{query}", headers=HTML)
    answered = client.get(f"/_sandbox/explain?{query}")

    assert (shown.status_code, answered.status_code) == (400, 400)
    assert complaint in text_of(shown.text)
    assert complaint in answered.json()["description"]
    assert re.search(rf'id="{field}"[^>]*aria-invalid="true"', shown.text)
    assert f'id="{field}-wrong"' in shown.text


KEYS = {"MOE-APPKEY": "sandbox", "Authorization": basic("sandbox", "sandbox-key")}


def test_request_row_tells_visitor_keys_and_matches(
    sandbox: Sandbox, look: Look
) -> None:
    body = {
        "identifiers": {"customer_id": "nobody"},
        "experience_key": ["homepage-banner", "price-badge"],
        "utm_medium": "email",
        "TIME_OF_THE_DAY": "07",
        "note": "<b>hi</b>",
    }
    seen = action(attributes=CONTEXT | {"experience": "Homepage banner"})
    with TestClient(sandbox, headers=KEYS) as client:
        client.post("/v1/experiences/fetch", json=body)
        client.post("/v1/experiences/events", json=seen)
    page = look("/requests")
    rows = text_of(page)
    link = re.search(r'href="(/explain\?[^"]*)"', page)

    assert (
        "Visitor: nobody Keys: homepage-banner , no match: price-badge "
        "Matches: 1 of 2 Status: 200" in rows
    )
    assert "Visitor: erin Keys: homepage-banner Matches: 1 impression" in rows
    assert "&lt;b&gt;hi&lt;/b&gt;" in page
    assert "Basic ***" in page
    assert KEYS["Authorization"] not in page
    assert link is not None
    explained = look(link[1].replace("&amp;", "&"))
    assert "utm_medium is email <small>visitor: email</small>" in explained
    assert "LETTER10" in explained


@each(
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
def test_request_row_survives_any_body(body: bytes) -> None:
    client = TestClient(Sandbox())
    for name in ("fetch", "events", "metadata"):
        client.post(f"/v1/experiences/{name}", content=body)

    page = client.get("/requests", headers=HTML).text
    assert page.count("data-event") == 3


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
    assert client.get("/_sandbox/explain?experience=none-such").status_code == 404


def test_broken_workspace_file_is_reported_on_every_page(tmp_path: Path) -> None:
    file = tmp_path / "workspace.yml"
    file.write_text(GOOD)
    sandbox = Sandbox(file)
    client = TestClient(sandbox, headers=HTML)

    def complaints() -> list[str]:
        pages = [client.get(path).text for path in PATHS]
        return [" ".join(re.findall("[0-9]+ mistake", page)) for page in pages]

    before = complaints(), client.get("/state").text
    file.write_text(GOOD.replace("Active", "Actve"))
    wait_for(lambda: bool(sandbox.workspace and sandbox.problems), what="the mistake")
    broken = complaints(), client.get("/state").text, client.get("/").text
    file.write_text(GOOD)
    wait_for(lambda: bool(sandbox.workspace and not sandbox.problems), what="the mend")

    assert before[0] == complaints() == [""] * len(PATHS)
    assert broken[0] == ["1 mistake"] * len(PATHS)
    assert before[1] != broken[1]
    assert "unknown status &#39;Actve&#39;" in broken[2]


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
        *("599", "no JSON", "(the first ", "(a request larger than", "no response"),
        *("fault: status 599", "fault: drop"),
    )
    assert [one for one in expected if one not in page] == []
    assert "no response" in look("/requests?only=failed")
    assert "/v1/experiences/fetch" not in text_of(look("/requests?only=metadata"))
