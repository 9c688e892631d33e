"""Renders pages: templates, links that respect a mount, safe headers."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import anyio.to_thread
import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ..memory.state import State
from ..protocol.bodies import read_body
from . import words

HERE = Path(__file__).parent

# Payloads and events are untrusted text: nothing in them may run or send requests, even
# if a template forgot to escape it.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

MINUTE = 60.0
"""Seconds until a page shows that a schedule has changed a status."""

MAX_FORM = 16 * 1024
"""The largest form, in bytes: ours have a dozen short fields."""

Build = Callable[[], dict[str, Any]]
Endpoint = Callable[[Request], Awaitable[Response]]
Values = Callable[[State, Request], dict[str, Any]]
"""Returns the values of a page's template."""


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the addresses of pages, below the sandbox's mount.

    Attributes:
        root: The mount, as in ``/sandbox``; empty for none.
    """

    root: str

    def __call__(self, path: str = "", **query: object) -> str:
        """Return the address of ``path``, with the keyword arguments as its query."""
        encoded = urlencode({k: v for k, v in query.items() if v not in (None, "")})
        address = f"{self.root}/{quote(path, safe='/')}"
        return f"{address}?{encoded}" if encoded else address

    def experience(self, key: str) -> str:
        """Return the address of one experience's page."""
        return f"{self.root}/experiences/{quote(key, safe='')}"

    def static(self, name: str) -> str:
        """Return the address of a file, which changes with its content."""
        return f"{self.root}/static/{name}?v={_fingerprint(name)}"


def links_of(request: Request) -> Links:
    """Return the maker of addresses for this request."""
    return Links(str(request.scope.get("root_path", "")).rstrip("/"))


def address_of(request: Request) -> str:
    """Return the sandbox's URL as the reader sees it, with its mount."""
    return f"{request.url.scheme}://{request.url.netloc}{links_of(request).root}"


async def render(
    sandbox: State,
    request: Request,
    template: str,
    build: Build = dict,
    *,
    status: int = 200,
) -> Response:
    """Render a page.

    Args:
        build: Returns the template's values. It may read the store for a while, so it
            runs in a thread, and the API stays responsive.
    """

    def work() -> str:
        everywhere = {
            "link": links_of(request),
            "workspace": sandbox.workspace,
            "state": state_of(sandbox),
            "tally": sandbox.store.count(),
            "armed": sandbox.faults.as_documents(),
            "problems": sandbox.problems,
        }
        return environment().get_template(template).render(everywhere | build())

    page = await anyio.to_thread.run_sync(work)
    return HTMLResponse(page, status, headers=HEADERS)


def page(sandbox: State, template: str, values: Values) -> Endpoint:
    """Return the endpoint of a page."""

    async def show(request: Request) -> Response:
        return await render(
            sandbox, request, template, lambda: values(sandbox, request)
        )

    return show


def go(request: Request, path: str, status: int = 303) -> Response:
    """Redirect the browser to another page; by default after a form."""
    return RedirectResponse(links_of(request)(path), status, headers=HEADERS)


def state_of(sandbox: State) -> str:
    """Return a short digest of everything that a page may show."""
    seen = (
        sandbox.store.last_id(),
        sandbox.store.count(),
        [one.number for one in sandbox.requests.latest(1)],
        sandbox.faults.as_documents(),
        # A workspace is replaced, never changed.
        id(sandbox.workspace),
        sandbox.problems,
        sandbox.clock() // MINUTE,
    )
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


@cache
def environment() -> jinja2.Environment:
    """Return the environment of the pages' templates, with autoescaping."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # A misspelled name is an error, not an empty text.
        undefined=jinja2.StrictUndefined,
    )
    env.filters |= words.FILTERS
    return env


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:10]


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        HTTPException: The form is too large.
    """
    body = await read_body(request.receive, MAX_FORM)
    if body is None:
        raise HTTPException(413, "The form is too large.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
