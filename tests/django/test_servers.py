"""The middleware in real servers: what was counted is what was served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connections
from django.test import Client

from ..servers import (
    Process,
    browser,
    counted,
    free_port,
    sandbox_server,
    site_server,
    wait_for,
)
from .sites import Site
from .urls import stream

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
routes:
  - {path: "/{page:path}", experiences: [homepage-banner]}
fetch: {timeout: 20}
metadata: {interval: 0}
events: {outbox: "memory:", shutdown_timeout: 20}
"""
VISITORS = 8

SERVERS = {
    "gunicorn": (
        *("-m", "gunicorn", "tests.django.served:wsgi()", "--preload"),
        *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
        *("--bind", "127.0.0.1:{port}"),
    ),
    "uvicorn": (
        *("-m", "uvicorn", "--factory", "tests.django.served:asgi"),
        *("--lifespan", "on", "--no-access-log", "--port", "{port}"),
    ),
}
STREAMS = {"gunicorn": "/stream", "uvicorn": "/async-stream"}


def signed_in(name: str) -> tuple[str, str]:
    """Return a user's pk and a session cookie of theirs."""
    user, client = get_user_model().objects.get(username=name), Client()
    client.force_login(user)
    return str(user.pk), client.cookies["sessionid"].value


def visit(site: Process, paths: list[str], session: str) -> int:
    """Visit pages over one connection; return how many came personalised."""
    headers = {"cookie": f"sessionid={session}"}
    with httpx.Client(headers=headers, timeout=40, trust_env=False) as visitor:
        pages = [visitor.get(site.url + path) for path in paths]
    assert all(page.status_code == 200 for page in pages)
    return sum("<h1>" in page.text and "Welcome" not in page.text for page in pages)


@pytest.mark.parametrize("server", SERVERS)
def test_impressions_equal_pages(server: str, tmp_path: Path, database: None) -> None:
    (tmp_path / "moe.yml").write_text(CONFIG)
    customers = [signed_in(name) for name in ("alice", "bob")]
    paths = ["/", "/async", STREAMS[server], "/?page=2"] * 7
    sessions = [session for _, session in customers] * (VISITORS // len(customers))

    with sandbox_server(free_port(), tmp_path) as sandbox:
        with site_server(
            tmp_path,
            sandbox.url,
            *SERVERS[server],
            DJANGO_DATABASE=str(connections["default"].settings_dict["NAME"]),
        ) as site:
            with ThreadPoolExecutor(VISITORS) as visitors:
                served = sum(
                    visitors.map(visit, [site] * VISITORS, [paths] * VISITORS, sessions)
                )
            log = site.log()
        events = counted(sandbox)

    assert served == len(paths) * VISITORS, log
    known = Counter(str(event["customer_id"]) for event in events)
    assert {pk: known[pk] for pk, _ in customers} == {
        pk: served // len(customers) for pk, _ in customers
    }


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
