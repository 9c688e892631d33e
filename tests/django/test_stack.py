"""Real servers: a site with a per-site cache, a late rendering, GZip, ETags, a CSP,
languages, streams and static files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from ..servers import (
    browser,
    counted,
    fetches,
    free_port,
    sandbox_server,
    site_server,
    wait_for,
)
from .sites import Site
from .urls import stream

pytest.importorskip("whitenoise")

STYLE = Path(__file__).parent / "static" / "en" / "shop.css"

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
identity: {customer_id: {cookie: customer_id}}
routes:
  - {path: "/{lang}/{page:path}", experiences: [homepage-banner]}
fetch: {timeout: 20}
metadata: {interval: 0}
events: {outbox: "memory:", shutdown_timeout: 20}
"""

SERVERS = {
    "gunicorn": (
        *("-m", "gunicorn", "tests.django.stack:wsgi()", "--preload"),
        *("--worker-class", "gthread", "--threads", "4", "--bind", "127.0.0.1:{port}"),
    ),
    "uvicorn": (
        *("-m", "uvicorn", "--factory", "tests.django.stack:asgi"),
        *("--lifespan", "on", "--no-access-log", "--port", "{port}"),
    ),
}


STREAMS = {"gunicorn": "/en/stream/", "uvicorn": "/en/async-stream/"}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("server", SERVERS)
def test_a_grown_site_serves_everyone_their_own(server: str, tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(CONFIG)
    with sandbox_server(free_port(), tmp_path) as sandbox:
        with site_server(tmp_path, sandbox.url, *SERVERS[server]) as site:
            alice, dave = (
                _visits(site.url, name, STREAMS[server]) for name in ("alice", "dave")
            )
            fetched = fetches(sandbox)
            log = site.log()
        events = counted(sandbox)

    assert "Traceback" not in log, log
    for page in ("home", "late", "german", "stream"):
        assert "<h1>" in alice[page].text
        assert alice[page].text != dave[page].text, page
        for one in (alice[page], dave[page]):
            assert "private" in one.headers["cache-control"]
            assert "Cookie" in one.headers["vary"]
            assert one.headers["content-security-policy"]
    # A page that is the same for all is kept for all: one number, made once.
    assert alice["plain"].text == dave["plain"].text
    assert "private" not in alice["plain"].headers["cache-control"]
    assert alice["plain"].headers["content-encoding"] == "gzip"
    # A file of WhiteNoise's is everyone's, and is no page that costs a fetch.
    style = alice["style"]
    assert style.text == STYLE.read_text()
    assert "private" not in style.headers["cache-control"]
    assert "Cookie" not in style.headers.get("vary", "")
    assert "set-cookie" not in style.headers
    assert len(fetched) == 2
    number = alice["late"].text.partition("</p>")[0]
    assert dave["late"].text.startswith(number)
    assert alice["again"].status_code == 304
    assert "<h1>" in alice["preview"].text
    # The four, and once more with an ETag; the preview counts nothing.
    customers = Counter(str(event["customer_id"]) for event in events)
    assert customers == {"alice": 5, "dave": 5}, log


def test_the_server_of_runserver_and_live_server_tests(
    site: Callable[..., Site],
) -> None:
    shop = site(
        urls={"stream": stream},
        routes=[{"path": "/{page:path}", "experiences": ["homepage-banner"]}],
    )
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(WSGIHandler())
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        pages = [browser.get(url + path).text for path in ("/", "/stream")]
        # It closes a response only after it was sent.
        wait_for(lambda: shop.shown == 2, what="both to be closed")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert not [page for page in pages if "<h1>" not in page or "Welcome" in page]


def _visits(url: str, name: str, stream: str) -> dict[str, Any]:
    with httpx.Client(
        base_url=url,
        cookies={"customer_id": name},
        headers={"accept-encoding": "gzip", "accept-language": "en"},
        timeout=40,
        trust_env=False,
    ) as browser:
        pages = {
            "home": browser.get("/en/"),
            "german": browser.get("/de/"),
            "late": browser.get("/en/late/"),
            "plain": browser.get("/en/plain/"),
            # Django compresses each part of an async one by itself, which httpx
            # does not read.
            "stream": browser.get(stream, headers={"accept-encoding": "identity"}),
            "preview": browser.get("/en/preview/"),
            "style": browser.get("/en/shop.css"),
        }
        for name, page in pages.items():
            assert page.status_code == 200, f"{name}: {page.text}"
        etag = pages["home"].headers["etag"]
        pages["again"] = browser.get("/en/", headers={"if-none-match": etag})
    return pages
