"""A server does not come up with settings that are wrong, and says what is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from moe_middleware import MoEngageMiddleware, SettingsError

from .. import forks
from ..sites import settings

WRONG = "workspace: {data_center: sandbox}\nfetch: {timout: 0.3}\nroutes: []\n"
MESSAGE = "unknown key 'timout': did you mean 'timeout'?"

ASGI_SITE = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from moe_middleware import MoEngageMiddleware

app = Starlette(middleware=[Middleware(MoEngageMiddleware)])
"""
FLASK_SITE = """
from flask import Flask
from moe_middleware.flask import MoEngage
app = Flask(__name__)
MoEngage(app)
"""


@pytest.mark.parametrize(
    ("site", "server"),
    [
        (ASGI_SITE, "uvicorn --port 0"),
        (ASGI_SITE, "hypercorn --bind 127.0.0.1:0"),
        # Where no lifespan runs.
        pytest.param(
            *(FLASK_SITE, "gunicorn --bind 127.0.0.1:0 --preload"),
            marks=pytest.mark.skipif(sys.platform == "win32", reason="it needs fork"),
        ),
    ],
    ids=["uvicorn", "hypercorn", "gunicorn"],
)
def test_the_server_ends_and_our_message_is_what_is_seen(
    tmp_path: Path, site: str, server: str
) -> None:
    (tmp_path / "shop_site.py").write_text(site)
    (tmp_path / "moe.yml").write_text(WRONG)

    ran = forks.run("-m", *server.split(), "shop_site:app", cwd=tmp_path)

    output = ran.stdout + ran.stderr
    assert MESSAGE in "\n".join(output.splitlines()[-12:]), output
    assert "appears unsupported" not in output


class Broken(Exception):
    pass


class BrokenMiddleware:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise Broken


async def _home(request: Any) -> PlainTextResponse:
    return PlainTextResponse("up")


def test_a_test_client_sees_the_mistake_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(WRONG)
    ours = Middleware(MoEngageMiddleware, config=tmp_path / "moe.yml")
    app = Starlette(routes=[Route("/", _home)], middleware=[ours])

    with pytest.raises(SettingsError, match="timout"), TestClient(app):
        pass
    with pytest.raises(SettingsError, match="timout"):
        TestClient(app).get("/")


def test_an_app_that_breaks_before_it_speaks_is_seen() -> None:
    broken = Starlette(middleware=[Middleware(BrokenMiddleware)])
    app = MoEngageMiddleware(broken, config=settings())

    with pytest.raises(Broken), TestClient(app):
        pass


def test_under_trio_it_says_so_and_does_not_hang() -> None:
    app = MoEngageMiddleware(Starlette(), config=settings())

    with (
        pytest.raises(RuntimeError, match="needs asyncio"),
        TestClient(app, backend="trio"),
    ):
        pass
    with pytest.raises(RuntimeError, match="needs asyncio"):
        TestClient(app, backend="trio").get("/")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Django can only handle ASGI/HTTP connections, not lifespan."),
        AssertionError(),
        NotImplementedError(),
        KeyError("path"),
    ],
    ids=repr,
)
def test_an_app_that_refuses_the_lifespan_is_answered_for(error: Exception) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise error
        await PlainTextResponse("up")(scope, receive, send)

    with TestClient(MoEngageMiddleware(app, config=settings())) as browser:
        assert browser.get("/").text == "up"


def test_a_door_without_its_framework_says_what_to_install() -> None:
    names = ("flask", "quart", "django")
    program = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    sys.modules[name] = None\n"
        "    try: importlib.import_module(f'moe_middleware.{name}')\n"
        "    except ImportError as error: print(error)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    for name, line in zip(names, ran.stdout.splitlines(), strict=True):
        assert line.startswith(f"moe_middleware.{name} needs")
        assert line.endswith(f"pip install {name}")
