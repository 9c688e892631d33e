"""The WSGI door: what a request costs at it, and every server's count of impressions.

``python -m benchmarks.doors_wsgi NAME ADDRESS`` serves its app by a server that has no
command of its own, or one that SIGTERM kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from jinja2 import DictLoader, Environment

from moe_middleware import (
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    Settings,
    SQLiteOutbox,
)
from moe_middleware.concurrency.background_loop import background

from .effort import FULL, Effort
from .ratios import NO_GOAL, Comparison, Figure, Measure, Note, Row, compare
from .servers import server
from .shop import (
    BANNER,
    HEADERS,
    PAGE,
    PERSONAL,
    PLAIN,
    PRODUCTS,
    WARM_VISITORS,
)
from .throughput import CONNECTIONS, SCRIPT, figures, wrk_is_here

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEYS = ["homepage-banner", "promo-strip"]
UNMAPPED_REQUESTS = 3_000
PAGE_REQUESTS = 500
ROUNDS = 9

PAGES = 5_000
SECONDS_OF_WRK = 1
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
PATIENCE = 30.0
"""How long to wait for the sandbox to have every impression, in seconds."""

API, OUTBOX = "MOE_BENCH_API", "MOE_BENCH_OUTBOX"
SERVED = "MOE_BENCH_SERVED"
"""Names the file that grows by a byte with every page that a server has closed."""


# --- what a request costs --------------------------------------------------


async def wsgi_doors(
    directory: Path, effort: Effort = FULL
) -> AsyncIterator[Comparison | Note]:
    """Compare an unmapped path and a cached page with the bare app's, and with a2wsgi.

    The rival of a page is the only other way to it: a2wsgi around the ASGI door around
    a2wsgi around the app.
    """
    bare = _shop(PLAIN, {"banner": BANNER, "strip": BANNER})
    settings = _settings(f"sqlite:///{directory / 'outbox.db'}")
    ours = MoEngageWSGIMiddleware(_shop(PERSONAL, {}), config=settings)
    requests, pages = effort.amount(UNMAPPED_REQUESTS), effort.amount(PAGE_REQUESTS)
    rounds = effort.rounds_of(ROUNDS)
    for environ in _visitors():
        _visit(ours, environ)
    unmapped = {**next(iter(_visitors())), "PATH_INFO": "/unmapped"}
    yield await compare(
        "WSGI: unmapped path, beside the bare app",
        ours=_cpu(ours, [unmapped], requests),
        rival=_cpu(bare, [unmapped], requests),
        unit="us CPU",
        goal=NO_GOAL,
        rounds=rounds,
    )
    yield await compare(
        "WSGI: cached page, 2 tags, 2 impressions, beside the bare app",
        ours=_cpu(ours, _visitors(), pages),
        rival=_cpu(bare, _visitors(), pages),
        unit="us CPU",
        goal="<= 20 us more",
        rounds=rounds,
    )
    if importlib.util.find_spec("a2wsgi") is None:
        yield Note(text="left out: a2wsgi is not installed")
        return
    bridged = _bridged(_shop(PERSONAL, {}), settings)
    for environ in _visitors():
        _visit(bridged, environ)
    yield await compare(
        "WSGI: cached page, beside a2wsgi and the ASGI door",
        ours=_wall(ours, _visitors(), pages),
        rival=_wall(bridged, _visitors(), pages),
        unit="us",
        goal="<= 0.8",
        rounds=rounds,
    )


def _bridged(app: WSGIApplication, settings: Settings) -> Any:
    from a2wsgi import ASGIMiddleware, WSGIMiddleware

    given: Any = app
    inner: Any = WSGIMiddleware(given)
    outer: Any = MoEngageMiddleware(inner, config=settings)
    return ASGIMiddleware(outer, loop=background.loop)


def _shop(source: str, variables: dict[str, Any]) -> WSGIApplication:
    environment = Environment(
        loader=DictLoader({"page": PAGE, "shop": source}),
        autoescape=True,
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )
    template = environment.get_template("shop")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/unmapped":
            body = b"ok"
        else:
            body = template.render(products=PRODUCTS, **variables).encode()
        headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    return app


def _settings(outbox: str, **sections: Any) -> Settings:
    return Settings(
        **{
            "workspace": {"data_center": "sandbox"},
            "identity": {"customer_id": {"cookie": "customer_id"}},
            "routes": [
                {"path": "/", "experiences": ["homepage-banner", "promo-strip"]}
            ],
            "fetch": {"timeout": 5.0},
            "cache": {"ttl": 3600.0},
            "events": {"outbox": outbox, "relay": "off", "shutdown_timeout": 0.0},
            **sections,
        }
    )


def _visitors() -> list[WSGIEnvironment]:
    told = {
        f"HTTP_{name.upper().replace('-', '_')}": it for name, it in HEADERS.items()
    }
    return [
        {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": None,
            **told,
            "HTTP_COOKIE": f"theme=dark; customer_id=customer-{customer}",
        }
        for customer in range(WARM_VISITORS)
    ]


def _visit(app: WSGIApplication, environ: WSGIEnvironment) -> None:
    body = app({**environ}, _start_response)
    for _ in body:
        pass
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _start_response(*_: Any) -> Callable[[bytes], object]:
    return lambda _: None


def _cpu(app: WSGIApplication, environs: list[WSGIEnvironment], count: int) -> Measure:
    # Of all threads: the one that commits the impressions counts as well.
    return _timed(app, environs, count, time.process_time)


def _wall(app: WSGIApplication, environs: list[WSGIEnvironment], count: int) -> Measure:
    return _timed(app, environs, count, time.perf_counter)


def _timed(
    app: WSGIApplication,
    environs: list[WSGIEnvironment],
    count: int,
    clock: Callable[[], float],
) -> Measure:
    async def measure() -> float:
        started = clock()
        for environ in itertools.islice(itertools.cycle(environs), count):
            _visit(app, environ)
        if isinstance(app, MoEngageWSGIMiddleware):
            await app.runtime.outbox.flush()
        return (clock() - started) / count * 1e6

    return measure


# --- real servers ----------------------------------------------------------

GEVENT_FIRST = "from gevent import monkey; monkey.patch_all()\n"

_OURSELVES = (sys.executable, "-m", "benchmarks.doors_wsgi")
_GUNICORN = (sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", "{at}")
_UWSGI = ("uwsgi", "--http-socket", "{at}", "--master", "--die-on-term", "-p", "2")
_APP = "benchmarks.doors_wsgi:app"

SERVERS: dict[str, tuple[str, ...]] = {
    "wsgiref": (*_OURSELVES, "wsgiref", "{at}"),
    "waitress": (*_OURSELVES, "waitress", "{at}"),
    "gunicorn sync": (*_GUNICORN, _APP),
    "gunicorn gthread": (*_GUNICORN, "-k", "gthread", "--threads", "8", _APP),
    "gunicorn sync, 3 workers preloaded": (*_GUNICORN, "-w", "3", "--preload", _APP),
    "gunicorn gthread, 3 workers preloaded": (
        *_GUNICORN,
        *("-k", "gthread", "--threads", "4", "-w", "3", "--preload", _APP),
    ),
    "gunicorn gevent": (*_GUNICORN, "-k", "gevent", _APP),
    "gunicorn gevent, 3 workers preloaded": (
        *_GUNICORN,
        *("-k", "gevent", "-w", "3", "--preload", "-c", "{gevent}", _APP),
    ),
    "uwsgi": (*_UWSGI, "--enable-threads", "--disable-logging", "--module", _APP),
}


async def wsgi_servers(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Serve pages by every WSGI server, end it by SIGTERM, and compare two counts."""
    if not wrk_is_here():
        yield Note(text="left out: wrk is not on the PATH")
        return
    (directory / "gevent.conf.py").write_text(GEVENT_FIRST)
    script = directory / "visitors.lua"
    script.write_text(SCRIPT % {"visitors": WARM_VISITORS})
    for name, command in SERVERS.items():
        if shutil.which(command[0]) is None:
            yield Note(text=f"{name}: left out, it is not installed")
            continue
        folder = directory / name.replace(" ", "-")
        folder.mkdir()
        yield await _count(name, command, folder, script, effort.amount(PAGES))


async def _count(
    name: str, command: tuple[str, ...], folder: Path, script: Path, pages: int
) -> Row:
    served = folder / "served"
    served.touch()
    async with server("sandbox", folder) as sandbox:
        at = f"127.0.0.1:{_free_port()}"
        filled = [
            part.format(at=at, gevent=folder.parent / "gevent.conf.py")
            for part in command
        ]
        environ = {
            **os.environ,
            SERVED: str(served),
            API: f"http://127.0.0.1:{sandbox}/v1",
            OUTBOX: f"sqlite:///{folder / 'outbox.db'}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *filled, env=environ, stdout=log, stderr=log
            )
        rates = []
        try:
            await _until_it_serves(at)
            while served.stat().st_size < pages:
                rates.append(await _wrk(at, script))
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        waiting = await _waiting(folder / "outbox.db")
        shown = served.stat().st_size
        arrived = await _arrived(sandbox, len(KEYS) * shown - len(waiting))
    impressions = len(arrived | waiting)
    said = f"{shown:,} pages, {impressions:,} impressions, {max(rates):,.0f} pages/s"
    if waiting:
        said += f", {len(waiting)} waiting"
    apart = float(abs(impressions - len(KEYS) * shown))
    return Figure(what=name, text=said, goal="0 apart", value=apart)


async def _until_it_serves(at: str) -> None:
    async with asyncio.timeout(START_TIMEOUT), httpx.AsyncClient() as browser:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await browser.get(f"http://{at}/ready")).status_code == 404:
                    return
            await asyncio.sleep(0.05)


async def _wrk(at: str, script: Path) -> float:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS_OF_WRK}s", "-s", str(script)),
        *("--timeout", "30s", f"http://{at}/"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    # A server that closes each connection makes "read errors" of good answers.
    kept = [line for line in output.decode().splitlines() if "Socket err" not in line]
    return figures("\n".join(kept))[1]


async def _waiting(path: Path) -> set[str]:
    """Return the uuids of what a server that has ended left in its outbox."""
    outbox = SQLiteOutbox(str(path))
    waiting = await outbox.waiting(limit=100_000)
    outbox.close()
    return {orjson.loads(event.body)["uuid"] for event in waiting}


async def _arrived(sandbox: int, expected: int) -> set[str]:
    """Return the uuids that the sandbox has, once they are as many as expected."""
    url = f"http://127.0.0.1:{sandbox}/_sandbox/events"
    until = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(timeout=60) as browser:
        while True:
            events = (await browser.get(url)).json()["events"]
            uuids = {event["moe_event_uuid"] for event in events}
            if len(uuids) >= expected or time.monotonic() > until:
                return uuids
            await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# --- within a server -------------------------------------------------------


class _Served:
    """Counts the good pages whose last byte was handed over, on its own."""

    def __init__(self, app: WSGIApplication, path: str) -> None:
        self._app = app
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        return self._watch(self._app(environ, start_response))

    def _watch(self, body: Iterable[bytes]) -> Iterable[bytes]:
        try:
            yield from body
            os.write(self._file, b".")
        finally:
            body.close()  # type: ignore[attr-defined]


def _served_app() -> WSGIApplication:
    settings = _settings(
        os.environ[OUTBOX],
        workspace={
            "id": "sandbox",
            "api_key": "sandbox-key",
            "base_url": os.environ[API],
        },
        fetch={"timeout": 30.0},
        budget={"calls_per_minute": 1_000_000},
        events={
            "outbox": os.environ[OUTBOX],
            "interval": 0.1,
            "shutdown_timeout": 30.0,
        },
    )
    ours = MoEngageWSGIMiddleware(_shop(PERSONAL, {}), config=settings)
    return _Served(ours, os.environ[SERVED])


def _serve(name: str, at: str) -> None:
    # By default SIGTERM ends Python at once, its exit handlers unheard.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if name == "waitress":
        import waitress  # type: ignore[import-untyped]

        waitress.serve(app, listen=at)
        return
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    host, _, port = at.partition(":")
    make_server(host, int(port), app, handler_class=Quiet).serve_forever()


if SERVED in os.environ:
    app = _served_app()

if __name__ == "__main__":
    _serve(*sys.argv[1:])
