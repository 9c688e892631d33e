"""Protects the pages and tools against requests of other sites' pages.

Any page open in a browser on this machine can send requests to localhost, and read the
responses after DNS rebinding. The API needs credentials instead; the Web SDK's stand-in
is meant for other sites' pages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from hmac import compare_digest
from ipaddress import ip_address

from starlette.datastructures import URL, Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from .protocol.refusals import Refusal

OPEN = ("/openapi.json", "/_sandbox/web_sdk.js", "/_sandbox/web_sdk/events")
"""Paths that other sites' pages may request, beside the API."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#@\\\s]+)")
_DEFAULT_PORT = re.compile(r":(80|443)$")
_READING = ("GET", "HEAD")


def check_site(scope: Scope, hosts: Collection[str], token: str) -> Response | None:
    """Check a request.

    Args:
        scope: The request.
        hosts: The allowed host names, beside addresses and names without a dot.
        token: The token that a request needs; empty for none: its Host must then be one
            of this machine.

    Returns:
        None if the request is allowed; else a redirect that sets the cookie.

    Raises:
        Refusal: The request is not allowed.
    """
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path in OPEN or path.startswith("/v1/"):
        return None
    headers = Headers(scope=scope)
    _check_origin(scope, headers, hosts)
    if token:
        return _check_token(scope, token)
    for host in headers.getlist("host"):
        if not _is_own_host(host, scope, hosts):
            raise Refusal(
                403,
                "Unknown host",
                f"The sandbox does not answer for the host {host[:100]!r}, which "
                "another site could have: use localhost or an IP address, or allow "
                "the name by sandbox.hosts.add().",
            )
    return None


def _check_origin(scope: Scope, headers: Headers, hosts: Collection[str]) -> None:
    """Refuse requests that another site's page sends; following links is allowed."""
    reading = scope["method"] in _READING
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site not in (None, "same-origin"):
        followed = headers.get("sec-fetch-mode") == "navigate"
        whole_page = headers.get("sec-fetch-dest", "document") == "document"
        if not reading or not (site == "none" or (followed and whole_page)):
            raise _elsewhere()
    # Older browsers send no Sec-Fetch-Site, but an Origin with whatever may change
    # data.
    if origin is not None and not _is_own_origin(origin, headers, hosts):
        raise _elsewhere()


def _is_own_origin(origin: str, headers: Headers, hosts: Collection[str]) -> bool:
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        return False
    place = _DEFAULT_PORT.sub("", found[1])
    own = {_DEFAULT_PORT.sub("", host.lower()) for host in headers.getlist("host")}
    return place in own or _name_of(place) in hosts


def _is_own_host(host: str, scope: Scope, hosts: Collection[str]) -> bool:
    """Whether no other site can have this name.

    Addresses are not resolved, so they cannot be rebound. Names without a dot, as of
    containers and test clients, are in no public DNS.
    """
    name = _name_of(host.lower())
    if not name:
        return False
    if "." not in name or name.endswith(".localhost") or name in hosts:
        return True
    # In process no name is resolved: a client chooses it freely.
    server, _ = scope.get("server") or ("", None)
    return name == str(server).lower() or _is_address(name)


def _name_of(host: str) -> str:
    """Return a host without its port; empty if it is malformed."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").removesuffix(".") if found else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _check_token(scope: Scope, token: str) -> Response | None:
    request = Request(scope)
    cookie = f"moe_sandbox_{hashlib.sha256(token.encode()).hexdigest()[:8]}"
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    shown = request.query_params.get("token", "")
    given = (
        shown,
        bearer.strip() if scheme.lower() == "bearer" else "",
        request.cookies.get(cookie, ""),
    )
    if not any(compare_digest(one.encode(), token.encode()) for one in given):
        raise Refusal(
            401,
            "Token needed",
            "The sandbox listens to other machines and asks for the token that it "
            "printed at its start: open /?token=TOKEN, or send Authorization: Bearer "
            "TOKEN.",
        )
    if not shown or "text/html" not in request.headers.get("accept", ""):
        return None
    # Later requests carry the cookie; the redirect drops the token from the URL.
    response = RedirectResponse(URL(scope=scope).remove_query_params("token"), 303)
    response.set_cookie(cookie, token, httponly=True, samesite="lax")
    return response


def _elsewhere() -> Refusal:
    return Refusal(403, "Forbidden", "This comes from another site's page.")
