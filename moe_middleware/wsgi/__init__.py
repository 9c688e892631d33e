"""The WSGI door (PEP 3333): wraps any WSGI app, and only adds to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Unpack

from ..browser.html_endings import UNWANTED_META
from ..concurrency.background_loop import background
from ..models.cookies import webob_cookies, wsgi_cookies
from ..models.errors import DuplicateMiddlewareError
from ..models.experiences import Experiences
from ..models.reasons import Reason
from ..models.visits import Visit
from ..personalizer.current import KEY, enter, leave
from ..personalizer.open_runtimes import WorkspaceKeywords, open_door, shows_keywords
from ..personalizer.page import Page
from ..personalizer.runtime import Runtime
from ..settings.settings import Config
from ..wrapped_apps import check_wrapped
from .body import Body, FileWrapper, ListBody, SizedBody
from .environ import method_of, path_of, read_body
from .response import Response
from .visit import SESSION, WebObVisit, WSGIVisit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

EXPERIENCES = "moe_middleware.experiences"
FILE_WRAPPER = "wsgi.file_wrapper"


class MoEngageWSGIMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``environ["moe_middleware.experiences"]``, and anywhere by
    ``current_experiences()``. Cached answers are taken on the request's own
    thread; fetches run in one event-loop thread of the process.

    Args:
        app: The WSGI app to wrap.
        config: A settings file's path, a mapping like a file's content, or a
            ``Settings``; by default the file that ``MOE_CONFIG`` names, else
            ``moe.yml``.
        workspace: ``workspace_id``, ``api_key``, ``data_center`` and ``base_url``
            override the environment and the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
        TypeError: The app is of another kind.
    """

    page_class = Page
    """The class of a request's page."""

    runtime: Runtime

    @shows_keywords
    def __init__(
        self,
        app: WSGIApplication,
        config: Config = None,
        **workspace: Unpack[WorkspaceKeywords],
    ) -> None:
        check_wrapped(app, "WSGI")
        self.app = app
        open_door(self, config, **workspace)
        kinds = {source.kind for _, source in self.runtime.settings.sources()}
        self._read_cookies = reader = wsgi_cookies(app)
        self._visit_class = WebObVisit if reader is webob_cookies else WSGIVisit
        self._needed = [kind for kind in _OUTSIDE if kind in kinds]
        self._own_prefix = self.runtime.own_paths.prefix

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        earlier = environ.get(KEY)
        if earlier is not None and earlier.is_underway:
            raise DuplicateMiddlewareError(_TWICE)
        try:
            loop = self.runtime.start_in_background()
        except Exception as error:
            logger.error("start_failed error=%s: %s", type(error).__name__, error)
            # Without us the page still has its fallbacks.
            environ[EXPERIENCES] = Experiences(missing=Reason.ERROR)
            return self.app(environ, start_response)
        path = path_of(environ)
        if self._own_prefix in path and self.runtime.own_paths.answers(path):
            return self._answer(path, environ, start_response)
        if earlier is not None and not earlier.ended:
            # A second attempt while the first is running gets an environ of its own.
            environ = {**environ}
        # A copy, as inner layers change an environ in place.
        request = {**environ}
        page = self.page_class(self.runtime.personalizer, request, self.visit_of, loop)
        environ[KEY] = page
        environ[EXPERIENCES] = page
        response = Response(page, environ, start_response)
        try:
            mapped = page.find_routes(method_of(environ), path)
            if mapped and not page.answer_at_once(page.wait_for):
                background.run(page.prefetch())
            wrapper: Any = environ.get(FILE_WRAPPER)
            # A body is compared with it below, which needs a class.
            if wrapper is not None and not isinstance(wrapper, type):
                wrapper = environ[FILE_WRAPPER] = FileWrapper(wrapper)
            if page.has_ending:
                for name in UNWANTED_META:
                    environ.pop(name, None)
            # Set and reset around each call of the app, in the thread's own context: in
            # a copy, the app would lose the values that it keeps there between
            # requests, as Django keeps its connections to caches.
            token = enter(page)
            try:
                body = self.app(environ, response.start)
            finally:
                leave(token)
            response.leave()
        except BaseException:
            response.leave()
            response.end(complete=False)
            raise
        is_file = wrapper is not None and isinstance(body, wrapper)
        if is_file:
            # The server sends the file by itself if it gets its own object back, and
            # does not report the end.
            if response.ending is not None:
                page.miss_ending("file")
            response.end(complete=True)
            return body
        kind: type[Body] = Body
        if response.ending is None:
            if type(body) is list:
                kind = ListBody
            elif hasattr(body, "__len__"):
                kind = SizedBody
        return kind(body, page, response)

    def _answer(
        self, path: str, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a request to one of our endpoints."""
        own_paths = self.runtime.own_paths
        body = read_body(environ, own_paths.max_body(path))
        reply = background.run(own_paths.reply(self.visit_of(environ), body))
        start_response(
            f"{reply.status} {HTTPStatus(reply.status).phrase}",
            [(name.decode(), text.decode("latin-1")) for name, text in reply.headers],
        )
        return [] if method_of(environ) == "HEAD" else [reply.body]

    def visit_of(self, environ: WSGIEnvironment) -> Visit:
        """Return a request as a visit."""
        visit = self._visit_class(environ, self._read_cookies)
        if self._needed:
            missing = [kind for kind in self._needed if _KEYS.get(kind) not in environ]
            visit.absent = {kind: _OUTSIDE[kind] for kind in missing}
        return visit


_KEYS = {"session": SESSION}
"""The keys of the environ with the values that kinds of sources read."""

_OUTSIDE = {
    "session": "there is no environ['beaker.session'] yet when MoEngageWSGIMiddleware "
    "runs: the session middleware is missing, or inside of it, and has to be outside: "
    "wrap the app with MoEngageWSGIMiddleware first; Flask's own session is read by "
    "moe_middleware.flask.MoEngage(app)",
    "user": "a WSGI app has no user that we know: take the value from the session, a "
    "cookie or a call; flask_login's is read by moe_middleware.flask.MoEngage(app)",
}
"""Advice for requests without the value that a kind of source reads."""

_TWICE = (
    "MoEngageWSGIMiddleware met a request that it is already personalizing: it is "
    "installed twice around this handler. Keep the outermost one."
)
