"""The page of a Django request, with a session and a user in a database."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from ..cache import visitor_key
from ..models.experience import Experience
from ..models.experiences import Counting
from ..models.identity import Identity
from ..models.texts import Headers
from ..models.visits import LazySession, Visit
from ..personalizer.current import on_event_loop
from ..personalizer.fragments import note_personal
from ..personalizer.page import Page

if TYPE_CHECKING:
    from django.http import HttpRequest

T = TypeVar("T")


class DjangoPage(Page):
    """A page whose user and session may be in a database.

    The database is queried only where Django allows it: never on an event loop.

    Attributes:
        change_headers: Changes the headers of a response that has left our middleware;
            middlewares above ours may still use the experiences.
    """

    change_headers: Callable[[Callable[[Headers], Headers]], bool] | None = None
    _kept_for: object = False

    def __getitem__(self, key: str) -> Experience:
        self._note_look()
        return super().__getitem__(key)

    def show(self, key: str, counting: Counting | None = None) -> Experience:
        self._note_look()
        return super().show(key, counting)

    def __iter__(self) -> Iterator[str]:
        self._note_look()
        return super().__iter__()

    def _note_look(self) -> None:
        self.used = True
        note_personal()
        self.note_use()

    def is_of(self, request: object) -> bool:
        """Whether it belongs to this request, not to one derived from it."""
        return self._request is request

    # --- what is used, and when ----------------------------------------------

    def note_use(self) -> None:
        """Keep the response private; called at every use.

        ``cache_page`` stores a response before a middleware has seen its headers.
        """
        if self.ended:
            return
        request = self._request
        request._cache_update_cache = False
        self.see_preview_marks()
        if self.change_headers is not None:
            self._follow_use()

    def _follow_use(self) -> None:
        """Update the headers for a use by a middleware above ours, or by a stream."""
        # A visitor known since then may have been given an id by a cookie.
        if self._kept_for is self._visitor or self.change_headers is None:
            return
        self._kept_for = self._visitor
        self.change_headers(self.private_headers)

    def keeps_private(self) -> None:
        """Note that the headers make the uses so far private."""
        if self.used:
            self._kept_for = self._visitor

    def headers_leave(self, cache_control: str) -> None:
        """Note that the response has begun, so that headers can no longer change."""
        self.change_headers = None
        self._personal = False
        self.headers_left([(b"cache-control", cache_control.encode("latin-1"))])

    def see_preview_marks(self) -> None:
        """Count nothing if a CMS shows an editor an unpublished page."""
        marks = self._request.__dict__
        for name in _PREVIEW_MARKS:
            if marks.get(name):
                self.count(False)
                return
        if _TOOLBAR in marks and _is_editing(marks[_TOOLBAR]):
            self.count(False)

    def record(self, status: int, now: float | None = None) -> None:
        self.see_preview_marks()
        super().record(status, now)

    # --- what may ask the database -------------------------------------------

    async def load_session(self) -> None:
        """Load the session in a thread, so that it can be read on the event loop."""
        session = self.visit.session
        if session is not None:
            # A failing store is logged where its value is needed.
            with contextlib.suppress(Exception):
                await sync_to_async(session.get)("")

    def wait_for(self, value: Awaitable[T]) -> T:
        if on_event_loop():
            return super().wait_for(value)
        # While it waits, this thread runs calls that need Django's sync thread.
        result: T = async_to_sync(_awaited)(value)
        return result

    def forget_user(self, user: object) -> None:
        """Drop the cached answers of a customer who signs in or out now."""
        try:
            source = self._engine.settings.identity.customer_id
            if source is None or source.kind != "user":
                return
            customer = self._engine.logins.before(Visit(user=user))
            visitor = None if self.is_preview else self._visitor
            known = visitor.customer_id if visitor is not None else None
            for one in {customer, known}:
                if one is not None:
                    self._forget(visitor_key(Identity(customer_id=one)))
        except Exception as error:
            self._failed("forget_failed", error)

    # While we handle a request it holds our mark, which is copied with it.

    def __deepcopy__(self, _: object) -> DjangoPage:
        return self


async def _awaited(value: Awaitable[T]) -> T:
    return await value


_PREVIEW_MARKS = ("is_preview", "is_dummy", "in_preview_panel")
"""Wagtail's marks on the requests that it makes to show a draft."""

_TOOLBAR = "toolbar"
"""The attribute with django CMS's state of editing."""

_EDITING = ("edit_mode_active", "preview_mode_active", "structure_mode_active")


def _is_editing(toolbar: object) -> bool:
    try:
        return any(getattr(toolbar, name, False) is True for name in _EDITING)
    except Exception:
        # Another app's toolbar may have other attributes of these names.
        return False


class DjangoSession(LazySession):
    """Django's session, read without Django taking it for a use by the view."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def reading(self, read: Callable[[Any], T]) -> T:
        session = self._request.session
        accessed = getattr(session, "accessed", True)
        try:
            return read(session)
        finally:
            # Otherwise Django adds Vary: Cookie, also to pages without experiences.
            session.accessed = accessed
