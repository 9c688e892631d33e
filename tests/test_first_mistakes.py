"""A newcomer's mistakes on a page: each has one line that says what to do."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
import quart
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.routing import Route

from moe_middleware import (
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    Settings,
    SettingsError,
)
from moe_middleware.flask import MoEngage
from moe_middleware.quart import MoEngage as QuartMoEngage
from moe_middleware.sandbox import Sandbox

from .rows import each
from .sites import Site, rendered, settings

HERO = '{% experience "homepage-banner" as hero %}'
END = "{% endexperience %}"


@pytest.mark.parametrize("wrong", ["hero.Titel", "hero['Titel']"])
async def test_a_payload_value_that_is_not_there_is_reported_once_with_the_nearest(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    shown = f"{{{{ {wrong} }}}}" * 2
    optional = "{% if hero.Nothing_alike %}{% endif %}"
    site = Site(rendered(f"{HERO}{shown}{optional}{END}"))
    for _ in range(2):
        assert (await site.get(customer="alice")).text == ""

    logged = [one for one in caplog.messages if one.startswith("payload_value_missing")]
    assert logged == [
        "payload_value_missing key=homepage-banner name=Titel: did you mean 'Title'?"
    ]


async def test_without_a_secret_key_links_that_should_count_are_reported_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    link = """<a href="{{ hero.click_url('/shop', 'b') }}" {{ hero.attrs('b') }}>"""
    site = Site(rendered(f"{HERO}{link}{END}{{{{ moe_script() }}}}"))
    for _ in range(2):
        assert 'href="/shop"' in (await site.get(customer="alice")).text

    assert caplog.text.count("secret_key_wanted by=click_url") == 1


async def test_a_link_without_a_target_says_how_to_give_one(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(rendered(f"{HERO}{{{{ hero.click_url() }}}}{END}"))

    assert (await site.get(customer="alice")).text == "#"
    assert "click_target_missing" in caplog.text


async def test_a_key_without_quotes_is_named(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(
        rendered("{% experience homepage_banner %}{% else %}-{% endexperience %}")
    )
    for _ in range(3):
        assert (await site.get(customer="alice")).text == "-"

    [logged] = [one for one in caplog.messages if one.startswith("experience_key_inv")]
    assert "given=Undefined template=page:1" in logged
    assert "'homepage_banner'" in logged
    assert "quotes" in logged


async def test_a_template_of_an_app_without_the_middleware_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = rendered(f"{HERO}{{% else %}}Welcome{END}")
    transport = httpx.ASGITransport(Starlette(routes=[Route("/", handler)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://s") as browser:
        for _ in range(3):
            assert (await browser.get("/")).text == "Welcome"

    [logged] = [one for one in caplog.messages if one.startswith("middleware_not_met")]
    assert "template=page" in logged
    assert "add_middleware" in logged


def test_a_template_outside_of_a_request_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = Environment(extensions=["moe_middleware.jinja.MoEngageExtension"])
    template = env.from_string(f"{HERO}{{% else %}}Welcome{END}")
    assert template.render() == "Welcome"
    # Any app may have a variable of this name.
    assert template.render(request={"scope": "all", "environ": {}}) == "Welcome"
    assert not caplog.messages


@pytest.mark.parametrize("key", ["homepage-baner", "nothing-like-it"])
async def test_a_key_that_the_embedded_sandbox_does_not_have_is_named_at_the_start(
    caplog: pytest.LogCaptureFixture, key: str
) -> None:
    site = Site(routes=[{"path": "/", "experiences": [key, "homepage-banner"]}])
    for _ in range(2):
        await site.get(customer="alice")

    [logged] = [one for one in caplog.messages if one.startswith("experience_unknown")]
    assert f"key={key} " in logged
    assert ("did_you_mean=homepage-banner" in logged) is (key == "homepage-baner")


async def _asgi(scope: Any, receive: Any, send: Any) -> None: ...


def _wsgi(environ: Any, start_response: Any) -> Any: ...


def _get_response(request: Any) -> Any: ...


@each(
    ("middleware", "app", "instead"),
    [
        (MoEngageMiddleware, _wsgi, "MoEngageWSGIMiddleware"),
        (MoEngageMiddleware, flask.Flask("shop"), "moe_middleware.flask"),
        (MoEngageMiddleware, flask.Flask("shop").wsgi_app, "moe_middleware.flask"),
        (MoEngageMiddleware, _get_response, "moe_middleware.django"),
        (MoEngageWSGIMiddleware, _get_response, "moe_middleware.django"),
        (MoEngageWSGIMiddleware, _asgi, "moe_middleware.MoEngageMiddleware"),
        (MoEngageWSGIMiddleware, Starlette(), "moe_middleware.MoEngageMiddleware"),
        (MoEngageMiddleware, None, "give it the app"),
    ],
)
def test_an_app_of_another_kind_is_refused_with_what_to_take(
    middleware: Any, app: Any, instead: str
) -> None:
    with pytest.raises(TypeError, match=instead):
        middleware(app, config=settings())


@pytest.mark.parametrize(
    ("middleware", "app"),
    [
        (MoEngageMiddleware, lambda *given: None),
        (MoEngageMiddleware, functools.partial(_asgi)),
        (MoEngageMiddleware, lambda scope, receive, send, extra=None: None),
        (MoEngageWSGIMiddleware, lambda *given, **named: None),
        (MoEngageWSGIMiddleware, functools.partial(_wsgi)),
        (MoEngageWSGIMiddleware, dict),
    ],
)
def test_what_can_be_called_in_the_right_way_is_wrapped(
    middleware: Any, app: Any
) -> None:
    assert middleware(app, config=settings()).app is app


@pytest.mark.parametrize(
    ("given", "where"),
    [("short", "secret_key"), (["short"], "secret_key.0")],
)
def test_a_short_secret_key_is_reported_once_where_it_was_written(
    given: Any, where: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ={}, data_center="sandbox", secret_key=given)
    [problem] = caught.value.problems
    assert "16 characters" in problem.message
    assert problem.where == where


def test_a_secret_key_of_an_unset_variable_is_reported_once(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        "workspace: {data_center: sandbox}\nroutes: []\nsecret_key: ${NO_SUCH}\n"
    )
    with pytest.raises(SettingsError) as caught:
        Settings.load(file, environ={})
    [problem] = caught.value.problems
    assert (problem.line, problem.where) == (3, "secret_key")
    assert "NO_SUCH is not set" in problem.message


def test_wrong_indentation_says_where_to_look(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("routes:\n- path: /\n experiences: [a]\n")
    with pytest.raises(SettingsError, match="indentation") as caught:
        Settings.load(file, environ={})
    assert caught.value.problems[0].line == 3


async def test_a_function_that_takes_no_visit_is_refused_with_the_reason(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    source = {"call": f"{__name__}:_no_arguments"}
    site = Site(identity={"customer_id": source, "anonymous": "off"})
    await site.get()

    [logged] = [one for one in caplog.messages if one.startswith("value_failed")]
    assert "write a function of one Visit" in logged


def _no_arguments() -> str:
    return "alice"


def test_flask_without_a_secret_key_has_no_session_and_says_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=lambda: "home")
    source = {"session": "customer_id"}
    MoEngage(app, config=settings(identity={"customer_id": source}))
    for _ in range(2):
        assert app.test_client().get("/").text == "home"

    [logged] = [one for one in caplog.messages if one.startswith("middleware_missing")]
    assert "source=session:customer_id" in logged
    assert "SECRET_KEY" in logged

    caplog.clear()
    app = flask.Flask("shop")
    app.secret_key = "a secret key of this test"
    app.add_url_rule("/", view_func=lambda: "home")
    MoEngage(app, config=settings(identity={"customer_id": source}))
    assert app.test_client().get("/").text == "home"
    assert "middleware_missing" not in caplog.text


async def test_quart_without_a_secret_key_has_no_session_and_says_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = quart.Quart("shop")
    app.add_url_rule("/", view_func=lambda: "home")
    source = {"session": "customer_id"}
    QuartMoEngage(app, config=settings(identity={"customer_id": source}))
    assert (await app.test_client().get("/")).status_code == 200

    [logged] = [one for one in caplog.messages if one.startswith("middleware_missing")]
    assert "source=session:customer_id" in logged
    assert "SECRET_KEY" in logged
