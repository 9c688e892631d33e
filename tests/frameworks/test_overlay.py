"""The overlay under Flask, Quart and real servers, which send its pages whole."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import flask
import pytest
import quart

from moe_middleware.flask import MoEngage as FlaskMoEngage
from moe_middleware.quart import MoEngage as QuartMoEngage
from moe_middleware.sandbox import Sandbox

from ..servers import browser, free_port, running
from ..sites import PAGE, settings

KEY = "homepage-banner"
SECTIONS: dict[str, Any] = {
    "development": {"overlay": "on"},
    "identity": {"customer_id": {"session": "customer"}},
    "events": {"outbox": "memory:", "relay": "off"},
}
WHOLE = f"<!doctype html><title>x</title>{PAGE}"


def shown(page: str) -> Any:
    [found] = re.findall(r'<moe-overlay data-page="([^"]*)"></moe-overlay>', page)
    return json.loads(unescape(found))


def summary_of(page: str) -> tuple[object, ...]:
    about = shown(page)
    [experience] = about["experiences"]
    return (
        about["visitor"]["ids"][0]["value"],
        about["visitor"]["ids"][0]["source"],
        experience["audience"],
        experience["counts"],
    )


EXPECTED = ("alice", "session customer", "Gold members", "yes")


def test_flask_shows_the_visitor_of_its_session(sandbox: Sandbox) -> None:
    app = flask.Flask("shop")
    app.secret_key = "secret"
    app.add_url_rule("/", "home", lambda: flask.render_template_string(WHOLE))
    FlaskMoEngage(app, settings(**SECTIONS))
    client = app.test_client()
    with client.session_transaction() as session:
        session["customer"] = "alice"

    answer = client.get("/")

    assert summary_of(answer.text) == EXPECTED
    assert answer.headers["cache-control"] == "no-store"


async def test_quart_shows_the_visitor_of_its_session(sandbox: Sandbox) -> None:
    app = quart.Quart("shop")
    app.secret_key = "secret"

    @app.get("/")
    async def home() -> str:
        return await quart.render_template_string(WHOLE)

    QuartMoEngage(app, settings(**SECTIONS))
    client = app.test_client()
    async with client.session_transaction() as session:
        session["customer"] = "alice"

    answer = await client.get("/")

    assert summary_of(await answer.get_data(as_text=True)) == EXPECTED
    assert answer.headers["cache-control"] == "no-store"


CONFIG = f"""
workspace: {{data_center: sandbox}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: "/{{rest:path}}", experiences: [{KEY}]}}]
fetch: {{timeout: 20}}
events: {{outbox: "memory:"}}
development: {{overlay: on}}
"""
ASGI = "tests.end_to_end.site:app"
SERVERS = {
    "gunicorn": "gunicorn --bind 127.0.0.1:PORT --no-control-socket "
    "tests.frameworks.wsgi_site:app",
    "uvicorn": f"uvicorn {ASGI} --port PORT",
    "hypercorn": f"hypercorn {ASGI} --bind 127.0.0.1:PORT",
    "granian": f"granian --interface asgi --port PORT {ASGI}",
}


@pytest.mark.parametrize("server", SERVERS)
def test_real_servers_send_it_whole(tmp_path: Path, server: str) -> None:
    (tmp_path / "moe.yml").write_text(CONFIG)
    port = free_port()
    command = SERVERS[server].replace("PORT", str(port)).split()
    environ = {"MOE_CONFIG": str(tmp_path / "moe.yml")}
    with running(
        "-m", *command, port=port, log=tmp_path / "log", environ=environ
    ) as site:
        for _ in range(2):  # on one connection
            headers = {"cookie": "customer_id=alice", "accept-encoding": "gzip"}
            answer = browser.get(site.url, headers=headers)

            assert answer.status_code == 200, site.log()
            page = answer.text
            assert shown(page)["experiences"][0]["audience"] == "Gold members"
            assert page.endswith("defer></script>")
            script = page.rpartition('src="')[2].partition('"')[0]
            assert "customElements" in browser.get(f"{site.url}{script}").text
