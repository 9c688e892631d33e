"""The Flask door: the WSGI door, the tag in templates, Flask's session and user."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

try:
    import flask
    from flask.globals import request_ctx
    from flask.sessions import SecureCookieSessionInterface, SessionMixin
except ImportError as error:
    raise ImportError("moe_middleware.flask needs Flask: pip install flask") from error

from .concurrency.background_loop import background
from .jinja.app_extensions import AppExtension
from .models.experience import EMPTY
from .models.visits import LazySession, Visit
from .personalizer.current import KEY, current
from .personalizer.postponed_pages import PostponedPage, lacking
from .settings.settings import Config
from .wsgi import EXPERIENCES, MoEngageWSGIMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

PROXY_FIX = "werkzeug.proxy_fix.orig"
"""The key of the environ in which ProxyFix keeps the original values."""


class MoEngage(AppExtension[flask.Flask]):
    """Personalizes a Flask app.

    Sources of the kind ``session`` read the app's session, and those of the kind
    ``user`` flask_login's current user, without writing either. They are read in the
    app's own request, after its ``before_request`` functions and before the view, or
    when one of these functions reads an experience. The same holds for functions in the
    settings (``call``): they can use ``flask.request`` and ``flask.g``.

    Args:
        app: The app; None for an app factory, which calls ``init_app``.
        config: A settings file's path, a mapping like a file's content, or a
            ``Settings``; by default the file that ``MOE_CONFIG`` names, else
            ``moe.yml``.
    """

    def _wrap(self, app: flask.Flask, config: Config) -> object:
        door = _Door(app, config)
        app.wsgi_app = door  # type: ignore[method-assign]
        return door


class _Door(MoEngageWSGIMiddleware):
    """The WSGI door with a reference to the app that it wraps."""

    def __init__(self, app: flask.Flask, config: Config) -> None:
        super().__init__(app.wsgi_app, config)
        self._flask = app
        sources = self.runtime.settings.sources()
        if any(source.is_lazy for _, source in sources):
            self.page_class = _Page
            flask.request_started.connect(_begin, app)
            app.dispatch_request = _after_prefetch(  # type: ignore[method-assign]
                app.dispatch_request
            )

        # An iterator, so that only one of several threads gets the value.
        trusted = bool(self.runtime.settings.trusted_proxies)
        self._not_warned = iter(() if trusted else (True,))

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        came_fixed = PROXY_FIX in environ
        body = super().__call__(environ, start_response)
        if not came_fixed and PROXY_FIX in environ and next(self._not_warned, False):
            logger.warning(
                "proxy_fix_inside: werkzeug's ProxyFix stands inside of MoEngage, "
                "which takes your proxy for the visitor: wrap app.wsgi_app with "
                "ProxyFix after MoEngage(app), or name your proxies in trusted_proxies"
            )
        return body

    def visit_of(self, environ: WSGIEnvironment) -> Visit:
        visit = super().visit_of(environ)
        visit.session = _Session(self._flask, environ)
        visit.user = _User(self._flask, environ)
        in_use = hasattr(self._flask, "login_manager")
        absent = EMPTY if in_use else _NO_USER
        visit.absent = lacking(self._flask, SecureCookieSessionInterface, absent)
        return visit


_NO_USER = {
    "user": "flask_login is not in use: this app has no login_manager; set it up, or "
    "take the value from the session or a call"
}


class _Page(PostponedPage):
    """A page that is prefetched at the first use of an experience, at the latest."""

    def prefetch_now(self) -> None:
        """Fetch the experiences of the routes, if not done yet."""
        self.begin()
        if self.waits:
            self.waits = False
            if not self.answer_at_once(self.wait_for):
                background.run(self.prefetch())

    def _collect(self) -> None:
        self.prefetch_now()
        super()._collect()

    def block_on(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        self.prefetch_now()
        return super().block_on(steps, otherwise)


def _page_here() -> _Page | None:
    page = flask.request.environ.get(KEY)
    return page if isinstance(page, _Page) else None


def _begin(_: flask.Flask, **__: object) -> None:
    page = _page_here()
    if page is not None:
        page.begin()


def _after_prefetch(dispatch: Callable[P, T]) -> Callable[P, T]:
    """Return a dispatcher that prefetches before it calls the view."""

    def dispatch_request(*given: P.args, **named: P.kwargs) -> T:
        page = _page_here()
        if page is not None:
            page.prefetch_now()
        return dispatch(*given, **named)

    return dispatch_request


class _Session(LazySession):
    """The request's session, opened at its first use.

    While the app handles the request it is the app's own, so that a login shows. Our
    endpoints never reach the app; there it is a session that Flask does not know, and
    so never saves.
    """

    def __init__(self, app: flask.Flask, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ
        self._before: Mapping[str, Any] | None = None

    def reading(self, read: Callable[[Mapping[str, Any]], T]) -> T:
        if _is_handled():
            with _unnoticed() as session:
                return read(session)
        if self._before is None:
            self._before = self._opened()
        return read(self._before)

    def _opened(self) -> Mapping[str, Any]:
        app, interface = self._app, self._app.session_interface
        # Shallow: it cannot read the body, which is for our endpoint.
        request = app.request_class(self._environ, populate_request=False, shallow=True)

        def opened() -> Mapping[str, Any]:
            return interface.open_session(app, request) or {}

        # Sessions in signed cookies need no app context; those in a database may.
        if isinstance(interface, SecureCookieSessionInterface):
            return opened()
        return _read_within(app.app_context(), opened)


@contextmanager
def _unnoticed() -> Iterator[Mapping[str, Any]]:
    """Read the app's session without Flask taking it for a use by the view.

    Otherwise it adds Vary: Cookie, also to pages without experiences. For the newest
    Flask, even access to ``flask.session`` is a use.
    """
    context = request_ctx._get_current_object()  # type: ignore[attr-defined]
    there = (one for one in vars(context).values() if isinstance(one, SessionMixin))
    session = next(there, None)
    if session is None:
        yield flask.session
        return
    accessed = session.accessed
    try:
        yield session
    finally:
        session.accessed = accessed


class _User:
    """flask_login's user, loaded at its first use; None without flask_login."""

    def __init__(self, app: flask.Flask, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ

    def __getattr__(self, name: str) -> Any:
        try:
            user = self._now()
        except AttributeError as error:
            # Out of __getattr__, an AttributeError would mean a missing attribute.
            kind = type(error).__name__
            raise RuntimeError(f"the user was not loaded: {kind}") from error
        return getattr(user, name)

    def _now(self) -> object:
        if not hasattr(self._app, "login_manager"):
            return None
        from flask_login import current_user  # type: ignore[import-untyped]

        def loaded() -> object:
            return current_user._get_current_object()

        if _is_handled():
            with _unnoticed():
                return loaded()
        # On our own endpoints we read the body.
        nothing = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
        context = self._app.request_context({**self._environ, **nothing})
        return _read_within(context, loaded)


def _read_within(context: AbstractContextManager[object], read: Callable[[], T]) -> T:
    """Return the result of a read within a context of Flask's, for our own endpoints.

    Teardown functions may rely on ``before_request`` functions, which do not run here;
    the result counts whatever they raise.
    """
    value: list[T] = []
    try:
        with context:
            value.append(read())
    except Exception as error:
        if not value:
            raise
        # The error's text may contain an id; its class cannot.
        logger.warning(
            "teardown_failed error=%s: a teardown function of the app failed where no "
            "before_request function had run, as for a click link: let it expect that",
            type(error).__name__,
        )
    return value[0]


def _is_handled() -> bool:
    """Whether the handler of the page itself is running here."""
    if not flask.has_request_context():
        return False
    handled = flask.request.environ.get(EXPERIENCES)
    return handled is not None and handled is current.get()
