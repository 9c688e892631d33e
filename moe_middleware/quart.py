"""The Quart door: the ASGI door, the tag in templates, and Quart's session."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import Any

try:
    import quart
    from quart.sessions import SecureCookieSessionInterface
    from werkzeug.datastructures import Headers
except ImportError as error:
    raise ImportError("moe_middleware.quart needs Quart: pip install quart") from error

from starlette.types import Receive, Scope, Send

from .asgi import MoEngageMiddleware
from .cookies import werkzeug_cookies
from .errors import DuplicateMiddlewareError
from .settings import Config
from .visits import Visit

logger = logging.getLogger(__name__)

NAME = "moe_middleware"
"""Its name among the app's extensions."""

SESSION = "moe_middleware.session"


class MoEngage:
    """Personalizes a Quart app.

    Sources of the kind ``session`` read the app's session, which is never written.

    Args:
        app: The app; None for an app factory, which calls ``init_app``.
        config: A settings file's path, a mapping of what stands in one, or a
            ``Settings``; by default the file that
            ``MOE_CONFIG`` names, else ``moe.yml``.
    """

    def __init__(
        self,
        app: quart.Quart | None = None,
        config: Config = None,
    ) -> None:
        self._config = config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: quart.Quart) -> None:
        """Wrap an app, and add the tag to its templates.

        Raises:
            SettingsError: The configuration is wrong; it lists every mistake.
            DuplicateMiddlewareError: The app is wrapped already.
        """
        if NAME in app.extensions:
            raise DuplicateMiddlewareError(
                f"MoEngage has been given the app {app.name!r} before: once is enough"
            )
        app.extensions[NAME] = door = _Door(app, self._config)
        app.asgi_app = door  # type: ignore[method-assign, assignment]
        app.jinja_env.add_extension("moe_middleware.jinja.MoEngageExtension")
        if door.reads_session:
            app.after_request(_note_session)


class _Door(MoEngageMiddleware):
    """The ASGI door that knows whose app it wraps."""

    def __init__(self, app: quart.Quart, config: Config) -> None:
        super().__init__(app.asgi_app, config)  # type: ignore[arg-type]
        self._quart = app
        self.reads_session = any(
            source.kind == "session" for _, source in self.runtime.settings.sources()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.reads_session and scope["type"] == "http":
            scope[SESSION] = await self._session(scope)
        await super().__call__(scope, receive, send)

    def visit_of(self, scope: Scope) -> Visit:
        visit = super().visit_of(scope)
        visit.session = scope.get(SESSION)
        visit.absent = _NO_USER
        visit.read_cookies = werkzeug_cookies
        return visit

    async def _session(self, scope: Scope) -> dict[str, Any]:
        """Return what the request's session holds, in a copy that nobody saves."""
        interface = self._quart.session_interface
        # Signed cookies need nothing of the app's; a database's session may.
        by_cookie = isinstance(interface, SecureCookieSessionInterface)
        context: Any = nullcontext() if by_cookie else self._quart.app_context()
        try:
            async with context:
                request = self._request(scope)
                return dict(await interface.open_session(self._quart, request) or {})
        except Exception as error:
            # The error's text may hold what is in the session; its class does not.
            logger.warning("session_failed error=%s", type(error).__name__)
            return {}

    def _request(self, scope: Scope) -> quart.Request:
        headers = Headers(
            [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
        )
        return self._quart.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            headers,
            scope.get("root_path", ""),
            scope["http_version"],
            send_push_promise=_push_nothing,
            scope=scope,  # type: ignore[arg-type]
        )


_NO_USER = {
    "user": "Quart has no user that we know: take the value from the session or a call"
}


async def _push_nothing(path: str, headers: Headers) -> None:
    """Stand for the server's push: nobody asks for one while a session is read."""


async def _note_session(response: Any) -> Any:
    """Let a login or a logout in the handler show."""
    noted = quart.request.scope.get(SESSION)
    if isinstance(noted, dict):
        noted.clear()
        noted.update(quart.session)
    return response
