"""Every WSGI framework, and every way it answers: what works bare works wrapped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from moe_middleware import MoEngageWSGIMiddleware, Settings, current_experiences
from moe_middleware.sandbox import Sandbox

from ..sites import settings
from . import wsgi_apps
from .wsgi_apps import DOWNLOAD, FRAMEWORKS, KEY, PIECE
from .wsgi_server import Answer, Probe, ask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

pytestmark = [
    # Pyramid's own.
    pytest.mark.filterwarnings("ignore:pkg_resources:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Site:
    """A framework's shop behind us, and how many impressions it counted."""

    def __init__(self, framework: str, *, experience: str = KEY) -> None:
        self.config = everywhere(experience)
        self.door: MoEngageWSGIMiddleware | None = None
        self._counted = 0
        self.app = FRAMEWORKS[framework](self._wrap)

    def _wrap(self, app: WSGIApplication) -> WSGIApplication:
        self.door = MoEngageWSGIMiddleware(app, config=self.config)
        return self.door

    def get(self, path: str, customer: str = "alice", **how: Any) -> Answer:
        headers = {"cookie": f"customer_id={customer}"}
        answer = ask(self.app, "GET", path, headers=headers, **how)
        assert not isinstance(answer.error, AssertionError), answer.error
        # After any end of the request, the thread belongs to no visitor.
        assert current_experiences()[KEY].reason == "no_request"
        return answer

    def counted(self) -> int:
        """Return how many impressions came since the last time."""
        assert self.door is not None
        before = self._counted
        self._counted = asyncio.run(self.door.runtime.outbox.count()).waiting
        return self._counted - before


def everywhere(experience: str = KEY) -> Settings:
    routes = [{"path": "/{rest:path}", "experiences": [experience]}]
    return settings(routes=routes, events={"outbox": "memory:", "relay": "off"})


@contextmanager
def open_site(framework: str, **how: Any) -> Iterator[Site]:
    of_django = framework == "django"
    with wsgi_apps.django_settings() if of_django else nullcontext():
        yield Site(framework, **how)


# --- the cells -------------------------------------------------------------


def tag(site: Site) -> None:
    """A page with our tag, rendered by Jinja."""
    alice, bob = site.get("/tag"), site.get("/tag", "bob")

    assert (alice.status, alice.error) == (200, None), alice.text
    assert alice.text.startswith("<body><h1>")
    assert "Welcome" not in alice.text + bob.text
    assert alice.text != bob.text
    assert alice.header("cache-control") == "private, max-age=0"
    assert "Cookie" in str(alice.header("vary"))
    assert site.counted() == 2


def handler(site: Site) -> None:
    _own_title(site, "/handler")


def elsewhere(site: Site) -> None:
    """A template is given the request in a thread of the app's own."""
    _own_title(site, "/elsewhere")
    assert site.counted() == 2


def _own_title(site: Site, path: str) -> None:
    titles = {who: site.get(path, who).text for who in ("alice", "bob")}
    assert len({"nobody", *titles.values()}) == 3


def stream(site: Site) -> None:
    """The experience is looked up while the body goes out, piece by piece."""
    title = site.get("/handler").text
    answer = site.get("/stream")

    assert answer.text == f"{PIECE}{title}{PIECE}"
    assert len(answer.parts) >= 3
    assert answer.header("cache-control") == "private, max-age=0"
    assert site.counted() == 1


def disconnect(site: Site) -> None:
    """The visitor leaves in the middle of a page that has shown something."""
    answer = site.get("/late", leave_after=2)

    assert answer.body == PIECE.encode() * 2
    assert site.counted() == 0


def broken(site: Site) -> None:
    """A handler that raises: 500, or the error goes on to the server."""
    answer = site.get("/broken")

    assert answer.status == 500 or isinstance(answer.error, RuntimeError)
    assert site.counted() == 0


def file(site: Site) -> None:
    """The server gets its own file wrapper back, and sends the file by itself."""
    answer = site.get("/file", validate=False)

    assert answer.body == DOWNLOAD
    assert answer.sent_as_file
    assert site.counted() == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_matrix(sandbox: Sandbox, framework: str) -> None:
    with open_site(framework) as site:
        for cell in (tag, handler, stream, disconnect, broken, file):
            cell(site)
        # Two have no request that a template finds its experiences by.
        if framework not in ("plain", "falcon"):
            elsewhere(site)


# --- transparency ----------------------------------------------------------

TERMINATED: dict[str, Any] = {"wsgi.input_terminated": True, "validate": False}

RECORDED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((method, "/tag", {}) for method in ("GET", "HEAD", "OPTIONS", "DELETE")),
    *(("GET", f"/{page}", {}) for page in ("handler", "stream", "late")),
    ("GET", "/late", {"leave_after": 2}),
    ("GET", "/file", {"validate": False}),
    *(("GET", path, {}) for path in ("/broken", "/nowhere", "/", "")),
    ("POST", "/echo", {"body": b"tea" * 3_000}),
    *(("POST", "/echo", {"body": b"tea", **how}) for how in (TERMINATED, {})),
    ("GET", "/caf\xc3\xa9", {"QUERY_STRING": "q=%00&q=\xe9", "SCRIPT_NAME": "/shop"}),
)
OURS = ("cache-control", "vary", "server-timing", "date")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_wrapping_adds_and_changes_nothing_else(
    sandbox: Sandbox, framework: str
) -> None:
    bare: list[Any] = []
    wrapped: list[Any] = []

    # A visitor whom nothing matches: what differs is our doing.
    with open_site(framework, experience="no-such-experience") as site:
        probes: list[Probe] = []

        def watched(app: WSGIApplication) -> Probe:
            probes.append(Probe(app))
            return probes[-1]

        apps = {
            "bare": (FRAMEWORKS[framework](watched), bare),
            "ours": (
                FRAMEWORKS[framework](lambda app: site._wrap(watched(app))),
                wrapped,
            ),
        }
        for (app, seen), probe in zip(apps.values(), probes, strict=True):
            for method, path, how in RECORDED:
                answer = ask(app, method, path, **how)
                seen.append(
                    (
                        *(method, path, answer.line, answer.parts, repr(answer.error)),
                        *(_others(answer), answer.sent_as_file, probe.calls.copy()),
                    )
                )
                probe.calls.clear()

    for one, other in zip(bare, wrapped, strict=True):
        assert one == other


def _others(answer: Answer) -> list[tuple[str, str]]:
    """Return a response's headers without those that we add."""
    return [
        (name, value)
        for name, value in answer.headers
        if name.lower() not in OURS and not value.startswith("moe_visitor")
    ]
