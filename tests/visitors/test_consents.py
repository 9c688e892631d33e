"""Consent: who may be recognised and counted, and what becomes of everybody else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageWSGIMiddleware, Settings, SettingsError
from moe_middleware.browser.endpoints import Reply
from moe_middleware.models.visits import Visit
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.visitor_sections import ConsentSettings
from moe_middleware.visitors.consents import Consents
from moe_middleware.visitors.waiting import waiting as wait_for

from ..sites import PAGE, Site, rendered, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY = "homepage-banner"
BY_COOKIE: dict[str, Any] = {"given_by": {"cookie": "consent"}}
ANONYMOUS = {**BY_COOKIE, "without": "anonymous"}
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


@pytest.mark.parametrize("value", ["yes", "YES", "true", "granted", "1", '"yes"'])
async def test_an_accepted_value_is_a_consent(value: str) -> None:
    assert await consents(visit(cookie=f"consent={value}"), **BY_COOKIE)


@pytest.mark.parametrize("value", ["no", "", "yes please", "0", "false"])
async def test_any_other_value_is_none(value: str) -> None:
    assert not await consents(visit(cookie=f"consent={value}"), **BY_COOKIE)


async def test_no_value_is_no_consent() -> None:
    assert not await consents(visit(), **BY_COOKIE)


async def test_accepted_values_can_be_named() -> None:
    section = {**BY_COOKIE, "values": ["C0004:1"]}

    assert await consents(visit(cookie="consent=C0004:1"), **section)
    assert not await consents(visit(cookie="consent=yes"), **section)


async def test_without_a_source_everyone_consents_who_does_not_object() -> None:
    assert await consents(visit())
    assert not await consents(visit(sec_gpc="1"))


@pytest.mark.parametrize(
    ("request_", "switched", "default"),
    [
        (visit(cookie="consent=yes", sec_gpc="1"), "honour_gpc", True),
        (visit(cookie="consent=yes", dnt="1"), "honour_dnt", False),
        (visit(cookie="consent=yes; moe_dis=true"), "honour_sdk_opt_out", True),
        (visit(cookie="consent=yes; moe_dt_d=1"), "honour_sdk_opt_out", True),
    ],
)
async def test_an_objection_wins_where_it_is_honoured(
    request_: Visit, switched: str, default: bool
) -> None:
    assert getattr(ConsentSettings(), switched) is default
    assert not await consents(request_, **BY_COOKIE, **{switched: True})
    assert await consents(request_, **BY_COOKIE, **{switched: False})


@pytest.mark.parametrize(
    "request_",
    [
        visit(cookie="consent=yes", sec_gpc="0", dnt="0"),
        visit(cookie="consent=yes; moe_dis=false; moe_dt_d=0"),
    ],
)
async def test_a_signal_that_says_no_is_no_objection(request_: Visit) -> None:
    assert await consents(request_, **BY_COOKIE, honour_dnt=True)


async def allows(visit: Visit) -> bool:
    return visit.header("x-consent") == "given"


def failing(visit: Visit) -> bool:
    raise RuntimeError("the consent service is down")


async def test_a_function_may_decide() -> None:
    section = {"given_by": {"call": f"{__name__}:allows"}}

    assert await consents(visit(x_consent="given"), **section)
    assert not await consents(visit(x_consent="refused"), **section)


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


def test_without_the_section_everyone_consents() -> None:
    assert settings().consent is None
    assert Settings(workspace_id="W1", api_key="k", consent=None).consent is None


# --- pages without consent ---------------------------------------------------


def fetches(sandbox: Sandbox) -> list[dict[str, Any]]:
    calls = sandbox.requests.latest(endpoint="fetch")
    return [orjson.loads(call.request_body) for call in calls]


@pytest.mark.parametrize("customer", ["customer_id=alice", OURS, "moe_uuid=device-7"])
async def test_without_consent_the_page_has_its_fallback_and_sends_nothing(
    sandbox: Sandbox, customer: str
) -> None:
    site = Site(consent=BY_COOKIE)

    response = await site.get(headers={"cookie": customer})
    await site.delivered()

    assert response.text == "<h1>Welcome</h1>"
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


async def test_a_page_without_consent_is_kept_from_others(sandbox: Sandbox) -> None:
    page = await Site(consent=BY_COOKIE).get(customer="alice")

    assert page.headers["cache-control"] == "private, max-age=0"
    assert "Cookie" in page.headers["vary"]


async def test_a_browser_that_objects_is_heard_despite_its_cookie(
    sandbox: Sandbox,
) -> None:
    site = Site(consent=BY_COOKIE)

    await site.get(headers={"cookie": "customer_id=alice; consent=yes", "sec-gpc": "1"})
    await site.delivered()

    assert (fetches(sandbox), sandbox.events) == ([], [])


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
@pytest.mark.parametrize("cookie", [f"{OURS}; consent=yes", "consent=no", ""])
async def test_otherwise_no_cookie_is_cleared(
    sandbox: Sandbox, path: str, cookie: str
) -> None:
    site = Site(app=two_pages(), consent=BY_COOKIE)

    page = await site.get(path, headers={"cookie": cookie})

    assert CLEARED not in page.headers.get_list("set-cookie")


async def test_without_the_section_no_cookie_is_cleared(sandbox: Sandbox) -> None:
    page = await Site().get(headers={"cookie": OURS, "sec-gpc": "1"})

    assert "set-cookie" not in page.headers


async def test_a_function_that_has_to_wait_is_asked_on_every_page(
    sandbox: Sandbox,
) -> None:
    section = {"given_by": {"call": f"{__name__}:waiting"}}
    site = Site(app=two_pages(), consent=section)

    mapped = await site.get("/", headers={"cookie": OURS})
    plain = await site.get("/plain", headers={"cookie": OURS})

    assert mapped.headers["set-cookie"] == CLEARED
    assert plain.headers["set-cookie"] == CLEARED


async def waiting(visit: Visit) -> bool:
    import anyio

    await anyio.sleep(0)
    return False


async def follow(site: Site, link: str, cookie: str) -> Reply:
    click = Visit(path=link, headers=[(b"cookie", cookie.encode())])
    return await site.runtime.own_paths.reply(click)


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

    reply = await follow(site, page.text, f"customer_id=alice; consent={consent}")
    await site.delivered()

    assert reply.status == 302
    assert (b"location", b"/shop") in reply.headers
    assert len(sandbox.events) == counted


# --- the WSGI door -----------------------------------------------------------


def wsgi_page(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    env = Environment(
        loader=DictLoader({"page": PAGE}),
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )
    start_response("200 OK", [("Content-Type", "text/html")])
    return [env.get_template("page").render().encode()]


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
