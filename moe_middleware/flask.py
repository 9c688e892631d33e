"""The Flask door: the WSGI door, the tag in templates, Flask's session and user."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

try:
    import flask
    from flask.sessions import SecureCookieSessionInterface
except ImportError as error:
    raise ImportError("moe_middleware.flask needs Flask: pip install flask") from error

from .errors import DuplicateMiddlewareError
from .models import EMPTY
from .settings import Config
from .visits import Visit
from .wsgi import MoEngageWSGIMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

NAME = "moe_middleware"
"""Its name among the app's extensions."""


class MoEngage:
    """Personalizes a Flask app.

    Sources of the kind ``session`` read the app's session, and those of the kind
    ``user`` flask_login's current user: neither is ever written. A user is loaded ahead
    of the handler, in a request context of its own.

    Args:
        app: The app; None for an app factory, which calls ``init_app``.
        config: A settings file's path, a mapping of what stands in one, or a
            ``Settings``; by default the file that
            ``MOE_CONFIG`` names, else ``moe.yml``.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        config: Config = None,
    ) -> None:
        self._config = config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
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
        app.wsgi_app = door  # type: ignore[method-assign]
        app.jinja_env.add_extension("moe_middleware.jinja.MoEngageExtension")


class _Door(MoEngageWSGIMiddleware):
    """The WSGI door that knows whose app it wraps."""

    def __init__(self, app: flask.Flask, config: Config) -> None:
        super().__init__(app.wsgi_app, config)
        self._flask = app

    def visit_of(self, environ: WSGIEnvironment) -> Visit:
        visit = super().visit_of(environ)
        visit.session = _Session(self._flask, environ)
        visit.user = _User(self._flask, environ)
        in_use = hasattr(self._flask, "login_manager")
        visit.absent = EMPTY if in_use else _NO_USER
        return visit


_NO_USER = {
    "user": "flask_login is not in use: this app has no login_manager; set it up, or "
    "take the value from the session or a call"
}


class _Session(Mapping[str, Any]):
    """The request's session, opened at the first look.

    The handler's own one where there is one, so that a login shows; ahead of the
    handler one that Flask never hears of, and so never saves.
    """

    def __init__(self, app: flask.Flask, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ
        self._before: Mapping[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, Any]:
        if _is_handled(self._environ):
            return flask.session
        if self._before is None:
            interface = self._app.session_interface
            # Signed cookies need nothing of the app's; a database's session may.
            by_cookie = isinstance(interface, SecureCookieSessionInterface)
            request = self._app.request_class(
                self._environ, populate_request=False, shallow=True
            )
            with nullcontext() if by_cookie else self._app.app_context():
                self._before = interface.open_session(self._app, request) or {}
        return self._before


class _User:
    """flask_login's user, loaded at the first look; nobody where it is not in use."""

    def __init__(self, app: flask.Flask, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def _now(self) -> object:
        if not hasattr(self._app, "login_manager"):
            return None
        from flask_login import current_user  # type: ignore[import-untyped]

        if _is_handled(self._environ):
            return current_user._get_current_object()
        # The body is the handler's to read.
        nothing = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
        with self._app.request_context({**self._environ, **nothing}):
            return current_user._get_current_object()


def _is_handled(environ: WSGIEnvironment) -> bool:
    """Whether this request's handler is at work here."""
    return flask.has_request_context() and flask.request.environ is environ
