"""Consent: who may be recognised and counted, and what becomes of everybody else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageWSGIMiddleware, SettingsError
from moe_middleware.models.visits import Visit
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.visitor_sections import ConsentSettings
from moe_middleware.visitors.consents import Consents
from moe_middleware.visitors.waiting import waiting as wait_for

from ..rows import each
from ..sites import PAGE, Site, rendered, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY = "homepage-banner"
BY_COOKIE: dict[str, Any] = {"given_by": {"cookie": "consent"}}
ANONYMOUS = {**BY_COOKIE, "without": "anonymous"}
NAMED = {**BY_COOKIE, "values": ["C0004:1"]}
BOTH = (True, False)
VISITOR_ID = "3f0c9a52-0d7f-4c1e-9b7a-5d2c8e6f1a30"
OURS = f"moe_visitor={VISITOR_ID}"
CLEARED = "moe_visitor=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
SECRET = "a secret of the tests alone"


# --- the rule ----------------------------------------------------------------


def visit(*, cookie: str = "", **headers: str) -> Visit:
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    named = [(name.replace(b"_", b"-"), value) for name, value in given]
    return Visit(headers=[*named, (b"cookie", cookie.encode())])


async def consents(request: Visit, **section: Any) -> bool:
    rule = Consents(ConsentSettings(**section))
    return await wait_for(lambda: rule.given(request), lambda: 5.0)


@each(
    ("request_", "section", "consenting"),
    [
        *(
            (visit(cookie=f"consent={value}"), BY_COOKIE, True)
            for value in ("yes", "YES", "true", "granted", "1", '"yes"')
        ),
        *(
            (visit(cookie=f"consent={value}"), BY_COOKIE, False)
            for value in ("no", "", "yes please", "0", "false")
        ),
        (visit(), BY_COOKIE, False),
        (visit(cookie="consent=C0004:1"), NAMED, True),
        (visit(cookie="consent=yes"), NAMED, False),
        # Without a source everyone consents who does not object.
        (visit(), {}, True),
        (visit(sec_gpc="1"), {}, False),
        # A signal that says no is no objection.
        (visit(sec_gpc="0", dnt="0"), {"honour_dnt": True}, True),
        (visit(cookie="moe_dis=false; moe_dt_d=0"), {}, True),
        # An objection wins where it is honoured.
        (visit(cookie="consent=yes", sec_gpc="1"), BY_COOKIE, False),
        *((visit(sec_gpc="1"), {"honour_gpc": one}, not one) for one in BOTH),
        *((visit(dnt="1"), {"honour_dnt": one}, not one) for one in BOTH),
        (visit(dnt="1"), {}, True),
        *(
            (visit(cookie=cookie), {"honour_sdk_opt_out": one}, not one)
            for cookie in ("moe_dis=true", "moe_dt_d=1")
            for one in BOTH
        ),
        (visit(cookie="moe_dis=true"), {}, False),
    ],
)
async def test_who_consents(
    request_: Visit, section: dict[str, Any], consenting: bool
) -> None:
    assert await consents(request_, **section) is consenting


def failing(visit: Visit) -> bool:
    raise RuntimeError("the consent service is down")


async def test_a_function_that_fails_is_no_consent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not await consents(visit(), given_by={"call": f"{__name__}:failing"})
    assert "value_failed" in caplog.text


def test_the_headers_that_it_depends_on_are_known() -> None:
    by_header = ConsentSettings(given_by={"header": "X-Consent"}, honour_dnt=True)  # type: ignore[arg-type]

    assert Consents(by_header).signals == ("Sec-GPC", "DNT")
    assert Consents(ConsentSettings(honour_gpc=False)).signals == ()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"given_by": {"path": "consent"}}, "a consent holds on every path"),
        ({"values": ["yes"]}, "values of what?"),
        ({**BY_COOKIE, "without": "nothing"}, "'nothing' is not known"),
        ({**BY_COOKIE, "values": []}, "too few entries"),
    ],
)
def test_mistakes_in_the_section_are_reported(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        settings(consent=section)


# --- pages without consent ---------------------------------------------------


def fetches(sandbox: Sandbox) -> list[dict[str, Any]]:
    calls = sandbox.requests.latest(endpoint="fetch")
    return [orjson.loads(call.request_body) for call in calls]


@pytest.mark.parametrize(
    "headers",
    [
        *({"cookie": one} for one in ("customer_id=alice", OURS, "moe_uuid=device-7")),
        {"cookie": "customer_id=alice; consent=yes", "sec-gpc": "1"},
    ],
)
async def test_without_consent_the_page_has_its_fallback_and_sends_nothing(
    sandbox: Sandbox, headers: dict[str, str]
) -> None:
    site = Site(consent=BY_COOKIE)

    response = await site.get(headers=headers)
    await site.delivered()

    assert response.text == "<h1>Welcome</h1>"
    assert response.headers["cache-control"] == "private, max-age=0"
    assert "Cookie" in response.headers["vary"]
    assert fetches(sandbox) == []
    assert sandbox.events == []


async def test_no_id_is_minted_before_the_consent_but_right_after_it(
    sandbox: Sandbox,
) -> None:
    site = Site(consent=BY_COOKIE)

    before = await site.get()
    after = await site.get(headers={"cookie": "consent=yes"})
    await site.delivered()

    assert "set-cookie" not in before.headers
    assert re.match("moe_visitor=[0-9a-f-]{36};", after.headers["set-cookie"])
    assert len(sandbox.events) == 1


async def tell(request: Request) -> Response:
    experiences = request.state.experiences
    found = experiences[KEY]
    experiences.show(KEY)
    return JSONResponse(
        {
            "title": found.get("Title"),
            "reason": found.reason,
            "ids": [
                experiences.identity.customer_id,
                experiences.identity.visitor_id,
                *experiences.identity.user_identifiers,
            ],
            "tracked": [
                experiences.track_impression(KEY),
                experiences.track_click(KEY),
            ],
            "link": found.click_url("/shop", "Shop"),
        }
    )


async def test_the_app_learns_why(sandbox: Sandbox) -> None:
    site = Site(tell, consent=BY_COOKIE, secret_key=SECRET)

    answer = (await site.get(customer="alice")).json()

    assert answer == {
        "title": None,
        "reason": "no_consent",
        "ids": [None, None],
        "tracked": [None, None],
        "link": "/shop",
    }


PERSONAL: dict[str, Any] = {
    "attributes": {
        "utm_medium": {"query": "utm_medium"},
        "city": {"cookie": "city"},
        "tier": {"header": "x-tier"},
    },
    "identity": {
        "customer_id": {"cookie": "customer_id"},
        "user_identifiers": {"u_em": {"header": "x-email"}},
    },
    "routes": [
        {
            "path": "/products/{sku}",
            "experiences": [KEY],
            "attributes": {"sku": {"path": "sku"}, "seen": {"cookie": "seen"}},
        }
    ],
    "cache": {"vary": ["USER_AGENT", "utm_medium", "city"]},
}


async def test_anonymously_a_fetch_tells_of_the_page_and_not_of_the_visitor(
    sandbox: Sandbox,
) -> None:
    site = Site(
        tell,
        path="/products/{sku}",
        consent=ANONYMOUS,
        secret_key=SECRET,
        trusted_proxies=["127.0.0.1"],
        **PERSONAL,
    )

    response = await site.get(
        "/products/sencha?utm_medium=email",
        headers={
            "cookie": f"customer_id=alice; {OURS}; city=Lisbon; seen=7",
            "user-agent": "a browser that is one of a kind",
            "x-forwarded-for": "203.0.113.7",
            "x-email": "alice@example.com",
            "x-tier": "gold",
        },
    )
    await site.delivered()

    [fetch] = fetches(sandbox)
    assert set(fetch) == {
        *("experience_key", "DAY_OF_THE_WEEK", "TIME_OF_THE_DAY"),
        *("utm_medium", "sku"),
    }
    page = response.json()
    assert page["title"] is not None
    assert page["ids"] == [None, None]
    assert page["tracked"] == [None, None]
    assert page["link"] == "/shop"
    assert sandbox.events == []


async def test_anonymous_visitors_share_one_answer(sandbox: Sandbox) -> None:
    site = Site(consent=ANONYMOUS, cache={"vary": ["USER_AGENT", "USER_IP_ADDRESS"]})
    people = [("alice", "one browser"), ("bob", "another"), ("carol", "a third")]

    pages = [
        await site.get(headers={"cookie": f"customer_id={who}", "user-agent": browser})
        for who, browser in people
    ]

    assert len(fetches(sandbox)) == 1
    assert len({page.text for page in pages}) == 1


async def test_with_consent_all_is_as_without_the_section(sandbox: Sandbox) -> None:
    site = Site(consent=ANONYMOUS)

    page = await site.get(headers={"cookie": "customer_id=alice; consent=yes"})
    plain = await Site().get(customer="alice")
    await site.delivered()

    assert page.text == plain.text
    assert [one["customer_id"] for one in sandbox.events] == ["alice"]


# --- consent withdrawn -------------------------------------------------------


def two_pages() -> Starlette:
    async def plain(_: Request) -> Response:
        return PlainTextResponse("no experiences here")

    return Starlette(routes=[Route("/", rendered()), Route("/plain", plain)])


@pytest.mark.parametrize("path", ["/", "/plain"])
@pytest.mark.parametrize("without", ["fallback", "anonymous"])
async def test_our_cookie_goes_with_the_consent(
    sandbox: Sandbox, path: str, without: str
) -> None:
    site = Site(app=two_pages(), consent={**BY_COOKIE, "without": without})

    page = await site.get(path, headers={"cookie": f"{OURS}; consent=no"})
    secure = await site.get(
        path, headers={"cookie": OURS}, base_url="https://shop.example"
    )

    assert page.headers.get_list("set-cookie") == [CLEARED]
    assert page.headers["cache-control"] == "private, max-age=0"
    assert secure.headers.get_list("set-cookie") == [f"{CLEARED}; Secure"]


@pytest.mark.parametrize("path", ["/", "/plain"])
@pytest.mark.parametrize(
    ("cookie", "sections"),
    [
        *((one, {"consent": BY_COOKIE}) for one in (f"{OURS}; consent=yes", "")),
        ("consent=no", {"consent": BY_COOKIE}),
        (OURS, {}),
    ],
)
async def test_otherwise_no_cookie_is_cleared(
    sandbox: Sandbox, path: str, cookie: str, sections: dict[str, Any]
) -> None:
    site = Site(app=two_pages(), **sections)

    page = await site.get(path, headers={"cookie": cookie})

    assert CLEARED not in page.headers.get_list("set-cookie")


async def test_a_function_that_has_to_wait_is_asked_on_every_page(
    sandbox: Sandbox,
) -> None:
    section = {"given_by": {"call": f"{__name__}:waiting"}}
    site = Site(app=two_pages(), consent=section)

    for path in ("/", "/plain"):
        page = await site.get(path, headers={"cookie": OURS})
        assert page.headers["set-cookie"] == CLEARED


async def waiting(visit: Visit) -> bool:
    import anyio

    await anyio.sleep(0)
    return False


@pytest.mark.parametrize(("consent", "counted"), [("yes", 1), ("no", 0)])
async def test_a_click_after_the_withdrawal_leads_on_and_does_not_count(
    sandbox: Sandbox, consent: str, counted: int
) -> None:
    template = (
        f'{{% experience "{KEY}" impression=false %}}'
        '{{ experience.click_url("/shop", "Shop") }}{% endexperience %}'
    )
    site = Site(rendered(template), consent=BY_COOKIE, secret_key=SECRET)
    page = await site.get(headers={"cookie": "customer_id=alice; consent=yes"})

    cookie = f"customer_id=alice; consent={consent}".encode()
    click = Visit(path=page.text, headers=[(b"cookie", cookie)])
    reply = await site.runtime.own_paths.reply(click)
    await site.delivered()

    assert reply.status == 302
    assert (b"location", b"/shop") in reply.headers
    assert len(sandbox.events) == counted


# --- the WSGI door -----------------------------------------------------------


def wsgi_page(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    page = Environment(extensions=["moe_middleware.jinja.MoEngageExtension"])
    start_response("200 OK", [("Content-Type", "text/html")])
    return [page.from_string(PAGE).render().encode()]


@pytest.mark.parametrize("call", ["cookie", "call"])
def test_the_wsgi_door_knows_no_more_of_them(sandbox: Sandbox, call: str) -> None:
    by = {"cookie": {"cookie": "consent"}, "call": {"call": f"{__name__}:waiting"}}
    config = settings(consent={"given_by": by[call]}, events={"outbox": "memory:"})
    app = MoEngageWSGIMiddleware(wsgi_page, config=config)
    sent: list[tuple[str, str]] = []

    def start(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        sent.extend(headers)

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_COOKIE": f"customer_id=alice; {OURS}",
    }
    body = app(environ, start)
    try:
        text = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]

    assert text == b"<h1>Welcome</h1>"
    assert ("set-cookie", CLEARED) in sent
    assert fetches(sandbox) == []
