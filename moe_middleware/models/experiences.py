"""The experiences of one page by key, as its handlers and templates see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, Literal, Self, Unpack

from .arguments import identity_of
from .events import EventDetails
from .experience import Experience
from .identity import Identity
from .payloads import Payloads
from .plain_values import text_of
from .reasons import Reason, Source

Counting = Literal["response", "visible", "web_sdk"]
"""When an impression counts: with a good response, once visible on the screen, or when
MoEngage's Web SDK reports it instead of the server."""

WebSDKApi = Literal["web_p", "personalize"]
"""The form of the Web SDK's calls: ``Moengage.web_p`` or the newer
``Moengage.personalize``."""


class Phase(IntEnum):
    """The progress of a response, as far as it limits reading experiences."""

    OPEN = 0
    """Its headers can still change."""
    SHARED = 1
    """Its headers are sent, and allow shared caching."""
    SENT = 2
    """It is sent completely."""


OPEN, SHARED, SENT = Phase


class Experiences(Payloads):
    """A visitor's experiences by key. Looking a key up never raises.

    Objects of this very class belong to no request: they fetch nothing and count
    nothing. Those of a request are a subclass (``personalizer.page``), which does.

    It notes its use: ``used`` once anything was read, so that the response becomes
    private; ``shown`` has the impressions that count after a good response.
    """

    # Defaults that only some requests change.
    missing = Reason.NOT_REQUESTED
    handed_out = False
    used = False
    phase: Phase = OPEN
    _identity: Identity | None = None
    _shown: dict[str, Experience] | None = None
    _counts = True

    def __init__(
        self,
        found: Iterable[Experience] = (),
        *,
        identity: Identity | None = None,
        missing: Reason = Reason.NOT_REQUESTED,
    ) -> None:
        self._identity = None if identity is None else identity_of(identity)
        self.missing = missing
        # A page keeps cached answers as bytes until they are read.
        try:
            self._found: dict[str, Experience | bytes] = {one.key: one for one in found}
        except (AttributeError, TypeError) as error:
            raise TypeError(
                "Experiences takes experiences, as in "
                "Experiences([Experience(key='hero', payload={'Title': 'Sale'})])"
            ) from error

    def __getitem__(self, key: str) -> Experience:
        if self.phase is SHARED and not self._may_still_read(key):
            return Experience(key=str(text_of(key)), reason=Reason.TOO_LATE)
        self.used = True
        try:
            found = self._found[key]
        except Exception:
            # The key's own hash or comparison may raise, too.
            return self._without(key)
        return found if type(found) is Experience else self._made(key, found)

    def _made(self, key: str, found: Experience | bytes) -> Experience:
        """Return an answer as an experience."""
        assert isinstance(found, Experience)
        return found

    def _without(self, given: object) -> Experience:
        """Return the experience of a key without an answer, or of no plain text."""
        key = given if type(given) is str else text_of(given) or ""
        if key in self.pending:
            self._collect()
        if key in self._found:
            return self._made(key, self._found[key])
        late = key in self.pending
        return Experience(key=key, reason=Reason.NOT_READY if late else self.missing)

    def _may_still_read(self, key: object) -> bool:
        """Whether the response can still become private."""
        return True

    def _collect(self) -> None:
        """Take the pending answers, if they have just arrived."""

    def advice_on(self, key: str, place: str) -> str | None:
        """Return advice on a key that no route has; None if it was logged before.

        Args:
            key: The key.
            place: The template, and the line if it is known.
        """
        return "name it in a route of moe.yml"

    def __contains__(self, key: object) -> bool:
        """Whether the visitor has a match for this key."""
        return isinstance(key, str) and bool(self[key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys with an answer."""
        if self.phase is SHARED and not self._may_still_read("all"):
            return iter(())
        self.used = True
        # A copy: reading one may add others.
        return iter(tuple(self._found))

    def __len__(self) -> int:
        return len(self._found)

    # As in a mapping: ``dict(experiences)`` has the answers, as plain values.
    get = Mapping.get
    keys = Mapping.keys
    values = Mapping.values
    items = Mapping.items

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy or a pickle belongs to no page, so nothing in it counts.
        return partial(Experiences, identity=self.identity), (self._all(),)

    def __repr__(self) -> str:
        answers = ", ".join(
            f"{one.key}={one.reason or one.source}" for one in self._all()
        )
        return f"<Experiences {answers or 'none'}>"

    @property
    def identity(self) -> Identity:
        """The visitor's ids for events; without any if nothing counts."""
        if self._identity is None:
            self._identity = Identity()
        return self._identity

    def add(self, found: Iterable[Experience]) -> None:
        """Add answers."""
        self._found.update((one.key, one) for one in found)

    # --- what is asked for ---------------------------------------------------

    @property
    def pending(self) -> Sequence[str]:
        """The keys whose answers are pending: see ``ready``."""
        return ()

    async def ready(self) -> Self:
        """Wait for the experiences of the page's routes, within the rest of its budget.

        It is for ``prefetch: concurrent``, with which a handler starts before the
        answers arrive; with ``blocking`` it returns at once. Never raises for a failing
        API.
        """
        return self

    async def fetch(self, key: str) -> Experience:
        """Return a key's experience; fetch it if no route has it.

        Never raises for a failing API: the result is then a fallback with a reason.
        """
        return self[key]

    def ready_sync(self) -> Self:
        """Do the same as ``ready`` in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The caller is on the event loop: await ``ready`` instead.
        """
        return self

    def fetch_sync(self, key: str) -> Experience:
        """Do the same as ``fetch`` in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The caller is on the event loop: await ``fetch`` instead.
        """
        return self[key]

    def forget(self) -> None:
        """Drop this visitor's cached answers, so that the next page fetches them again.

        Call it after a change that affects targeting at once, such as a purchase.
        Logging in or out does so automatically if the customer_id comes from a cookie
        or the session. This page keeps its answers.
        """

    # --- what counts -----------------------------------------------------------

    def show(self, key: str, counting: Counting | None = None) -> Experience:
        """Return a key's experience and count its impression, once per response.

        The impression is recorded after the last byte of a good response was sent; or,
        if it is ``visible``, when the browser reports it for an element with the
        experience's ``attrs``. The template tag calls this method.

        Args:
            key: An experience of this request.
            counting: ``response``, ``visible`` or ``web_sdk``; None takes the route's
                ``impression``. The first call for a key decides.
        """
        experience = self[key]
        if self._counts and experience:
            if self._shown is None:
                self._shown = {}
            self._shown.setdefault(experience.key, experience)
        return experience

    @property
    def shown(self) -> tuple[Experience, ...]:
        """The experiences with an impression, in the order of their first ``show``."""
        return tuple((self._shown or {}).values()) if self._counts else ()

    def track_impression(self, key: str, **details: Unpack[EventDetails]) -> str | None:
        """Count an impression now, whatever happens to the response.

        Once per request: if ``show`` or a tag shows it too, it still counts once. It
        never blocks: the event is delivered in the background.

        Args:
            key: An experience of this request.
            details: ``user_attributes``, a mapping of attributes to update in the
                customer's profile (dates, decimals and the like become text and
                numbers); ``user_timezone_offset``, the visitor's offset from UTC in
                seconds; ``platform``, one of ``web``, ``android``, ``ios`` and ``tv``;
                ``uuid``, one of version 4 that a client made, so that a report that
                it sends again counts once. A value that cannot be reported refuses the
                event, with a log line. Left out, the settings' ``events`` have the
                offset and the platform, and a new uuid is made.

        Returns:
            The event's uuid; None without a match, without an id to count for, if it
            was counted already, or if the Web SDK reports it.
        """
        self[key]
        return None

    def track_click(
        self, key: str, b_id: str | None = None, **details: Unpack[EventDetails]
    ) -> str | None:
        """Count a click on an experience, now. It never blocks.

        Args:
            key: An experience of this request.
            b_id: The clicked element, as in ``"Shop Now"``.
            details: As for ``track_impression``.

        Returns:
            The event's uuid; None without a match, without an id to count for, or if
            the Web SDK reports it.
        """
        self[key]
        return None

    def count(self, counts: bool = True) -> Self:
        """Choose whether this page counts; with ``False`` it shows all, counts nothing.

        For pages that are no visitor's: an editor's preview in a CMS, a screenshot, a
        health check. Impressions, ``track_impression``, ``track_click`` and the Web SDK
        then count nothing, links are plain and elements have no marks. Call it before
        the page is rendered: links made earlier count.
        """
        self._counts = counts
        return self

    # --- what a page holds for browsers ---------------------------------------------

    def script(self, nonce: str | None = None) -> str:
        """Return the ``<script>`` that reports clicks and views.

        Put it anywhere in a page, once; empty without a ``secret_key``.

        Args:
            nonce: The nonce of the page's Content-Security-Policy.
        """
        return ""

    def web_sdk(
        self,
        *keys: str | Experience,
        nonce: str | None = None,
        api: WebSDKApi = "web_p",
    ) -> str:
        """Return the elements that let MoEngage's Web SDK report events instead of us.

        Once the SDK is initialised, our script passes it the experience_context of each
        for an impression, and for the clicks of elements with ``attrs``. The server
        reports none of these events. Put it after the experiences' elements. It is
        empty where nothing may be counted: without consent, for bots and in previews.
        If a visitor's device id is unknown, the script also reports it.

        Args:
            keys: The experiences or keys that the SDK reports; without any, all shown
                so far that are not ``visible``.
            nonce: The nonce of the page's Content-Security-Policy.
            api: ``web_p``, or ``personalize`` for the newer calls of the Personalize
                SDK.
        """
        return ""

    def badge(self) -> str:
        """Return an element that labels a preview for QA, if the page is one.

        HTML pages have it at their end automatically; call it for other pages. The
        first call of a page returns it; further calls, and other pages, an empty text.
        """
        return ""

    @property
    def sources(self) -> frozenset[Source]:
        """The sources of the answers so far."""
        return frozenset([one.source for one in self._all()])

    def _all(self) -> tuple[Experience, ...]:
        return tuple([self._made(*answer) for answer in [*self._found.items()]])
