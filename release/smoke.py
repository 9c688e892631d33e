"""Tries an installed wheel: ``python -I smoke.py``, or with an extra's name.

It runs in an environment that has the wheel and what the extra names, and nothing else.
So it imports only these and the standard library.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen
from wsgiref.util import setup_testing_defaults

import httpx
from jinja2 import Environment

import moe_middleware
from moe_middleware import (
    Identity,
    MoEngageClient,
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    Settings,
)
from moe_middleware.sandbox import Sandbox, embedded, sample_workspace
from moe_middleware.testing import deliver, sandboxed

PATIENCE = 60.0
"""Seconds to wait for what happens within one."""

SCRIPT = str(Path(sysconfig.get_path("scripts"), "moe-middleware"))

MODULES = {
    "sandbox": "uvicorn",
    "geo": "maxminddb",
    "redis": "redis",
    "bots": "crawleruseragents",
    "fast": "httptools",
    "prometheus": "prometheus_client",
    "otel": "opentelemetry",
    "openfeature": "openfeature",
}
"""The modules that each extra brings."""

TEMPLATE = """{% experience "homepage-banner" as hero %}{{ hero.Title }}{% else %}\
Welcome{% endexperience %}"""

CITIES = """
AAABAAARAAAAAAAAAAAAAAAAAAAAAOJHY291bnRyeeFIaXNvX2NvZGVCUFREY2l0eeFFbmFtZXPhQmVuRkxp
c2JvbqvN701heE1pbmQuY29t6Upub2RlX2NvdW50xAAAAAFLcmVjb3JkX3NpemWiABhKaXBfdmVyc2lvbqIA
BE1kYXRhYmFzZV90eXBlSVRlc3QtQ2l0eUlsYW5ndWFnZXMBBEJlbltiaW5hcnlfZm9ybWF0X21ham9yX3Zl
cnNpb26iAAJbYmluYXJ5X2Zvcm1hdF9taW5vcl92ZXJzaW9uogAAS2J1aWxkX2Vwb2NoCAIAAAAAAAAAAUtk
ZXNjcmlwdGlvbuFCZW5GQSB0ZXN0
"""
"""A database in MaxMind's format, made by tests/sandbox/workspace/test_geography.py:
all addresses from 128.0.0.0 on are in Lisbon."""


def settings(**more: Any) -> Settings:
    return Settings(
        data_center="sandbox",
        identity={"customer_id": {"cookie": "customer_id"}},
        routes=[{"path": "/", "experiences": ["homepage-banner"]}],
        fetch={"timeout": 5.0},
        **{"events": {"outbox": "memory:", "interval": 0.05}, **more},
    )


def page(config: Settings, agent: str = "Mozilla/5.0 (X11) Firefox/140.0") -> str:
    """Return alice's page, as a server for WSGI would get it."""
    templates = Environment(
        extensions=["moe_middleware.jinja.MoEngageExtension"], autoescape=True
    )
    template = templates.from_string(TEMPLATE)

    def shop(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [template.render().encode()]

    environ: dict[str, Any] = {"HTTP_COOKIE": "customer_id=alice"}
    environ["HTTP_USER_AGENT"] = agent
    setup_testing_defaults(environ)
    pieces = MoEngageWSGIMiddleware(shop, config)(environ, lambda *_: lambda _: None)
    body = b"".join(pieces).decode()
    getattr(pieces, "close", lambda: None)()
    return body


def is_counted(sandbox: Sandbox) -> bool:
    return sandbox.impressions("homepage-banner") == 1


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} seconds"
        time.sleep(0.05)


def base() -> None:
    """Pages are personalised and counted; a fetch over a socket; commands run."""
    assert "site-packages" in moe_middleware.__file__, moe_middleware.__file__
    with sandboxed(sample_workspace()) as sandbox:
        assert page(settings()) == "The first flush is yours"
        deliver()
        assert is_counted(sandbox)
        sandbox.reset()
        assert asyncio.run(_page_by_asgi()) == "The first flush is yours"
        deliver()
        assert is_counted(sandbox)
    with api() as address:
        asyncio.run(_fetch(address))
    Path("moe.yml").write_text("workspace: {data_center: sandbox}\nroutes: []\n")
    assert moe_middleware.__version__ in command("--version")
    assert "data center" in command("check").replace("_", " ")
    for name in ("browser/moe.js", "sandbox/pages/static/pages.css", "py.typed"):
        assert (Path(moe_middleware.__file__).parent / name).is_file(), name


async def _page_by_asgi() -> str:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        hero = scope["state"]["experiences"].show("homepage-banner")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = str(hero["Title"]).encode()
        await send({"type": "http.response.body", "body": body})

    # Without a lifespan, as here, a log line tells who delivers the events.
    transport = httpx.ASGITransport(MoEngageMiddleware(shop, config=settings()))
    cookies = {"customer_id": "alice"}
    headers = {"User-Agent": "Mozilla/5.0 (X11) Firefox/140.0"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://shop", cookies=cookies, headers=headers
    ) as browser:
        return (await browser.get("/")).text


def command(*arguments: str) -> str:
    """Run ``moe-middleware``, and return what it prints."""
    ran = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def sandbox() -> None:
    """The server's pages and its API answer."""
    command = [SCRIPT, "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(line.split()[-1] for line in server.stdout if "url" in line)
            with urlopen(address.removesuffix("v1"), timeout=PATIENCE) as answer:
                assert b"Tea" in answer.read()
            asyncio.run(_fetch(address))
        finally:
            server.terminate()


def fast() -> None:
    """A fetch over a socket is read by httptools."""
    with api() as address:
        asyncio.run(_fetch(address))
    assert "httptools" in sys.modules


async def _fetch(address: str) -> None:
    alice = Identity(customer_id="alice")
    async with MoEngageClient(data_center="sandbox", base_url=address) as client:
        found = await client.fetch(
            ["homepage-banner"], identity=alice, timeout=PATIENCE
        )
    assert found["homepage-banner"]["Title"] == "The first flush is yours"


@contextmanager
def api() -> Iterator[str]:
    """The sandbox behind the standard library's server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = asyncio.run(_answer(self.path, dict(self.headers), body))
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


async def _answer(path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(Sandbox(sample_workspace()))
    async with httpx.AsyncClient(transport=transport) as client:
        url = f"http://127.0.0.1{path}"
        return await client.post(url, headers=headers, content=body)


def redis() -> None:
    """The cache and the outbox are in a Redis, which a server of this machine is."""
    import redis as redis_client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    assert binary, "install redis-server or valkey-server, to try this extra"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    atexit.register(server.kill)  # after the relay has ended, which begins later
    wait_for(lambda: _listens(port), "Redis")
    address = f"redis://127.0.0.1:{port}/0"
    events = {"outbox": address, "interval": 0.05}
    assert page(settings(events=events, cache={"redis": address})) != "Welcome"
    wait_for(lambda: is_counted(embedded()), "an impression")
    assert redis_client.Redis(port=port).dbsize() > 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def geo() -> None:
    """The sandbox finds a city by an address."""
    Path("city.mmdb").write_bytes(base64.b64decode(CITIES))
    Path("workspace.yml").write_text("geography: {database: city.mmdb}\n")
    found = Sandbox("workspace.yml").workspace.geography.locate("198.51.100.1")
    assert found is not None
    assert found.city == "Lisbon"


def bots() -> None:
    """A bot counts only where its library does not know it."""
    agent = "Mozilla/5.0 (compatible; Google-InspectionTool/1.0)"
    with sandboxed(sample_workspace()) as sandbox:
        page(settings(bots={"library": "on"}), agent)
        deliver()
        assert not is_counted(sandbox)


def prometheus() -> None:
    """A page's evaluation is in the metrics."""
    from moe_middleware.telemetry.prometheus import metrics_wsgi_app

    with sandboxed(sample_workspace()):
        page(settings(observability={"prometheus": True}))
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        answer = b"".join(metrics_wsgi_app()(environ, lambda *_: lambda _: None))
    assert b'moe_evaluations_total{key="homepage-banner"' in answer


def otel() -> None:
    """A page with OpenTelemetry's API alone, without its SDK, is served and counted."""
    with sandboxed(sample_workspace()) as sandbox:
        assert page(settings(observability={"otel": True})) != "Welcome"
        deliver()
        assert is_counted(sandbox)


def openfeature() -> None:
    """A flag has the experience's value."""
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext

    from moe_middleware.openfeature import MoEngageProvider

    with sandboxed(sample_workspace()):
        api.set_provider_and_wait(MoEngageProvider(config=settings()))
        alice = EvaluationContext("alice")
        flags = api.get_client()
        title = flags.get_string_value("homepage-banner.Title", "Welcome", alice)
        api.shutdown()
    assert title == "The first flush is yours"


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check
    for check in (base, sandbox, geo, redis, bots, fast, prometheus, otel, openfeature)
}


def main(extra: str = "", check: str = "") -> None:
    """Try an extra: each check in an empty folder, and in a process of its own."""
    if check:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            CHECKS[check]()
            os.chdir("/")
        return
    names = [*MODULES] if extra == "all" else [extra] if extra else []
    for name, module in MODULES.items():
        assert (find_spec(module) is not None) == (name in names), module
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MOE_")}
    for name in ("base", *names):
        command = [sys.executable, "-I", __file__, extra, name]
        subprocess.run(command, env=environ, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
