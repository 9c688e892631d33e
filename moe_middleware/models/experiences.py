"""All experiences of one page, by key, as its handlers and templates see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Literal, Self

from .experience import Experience
from .identity import Identity
from .plain_values import text_of
from .reasons import Reason, Source

Counting = Literal["response", "visible", "web_sdk"]
"""When an impression counts: with a good response, once it was on screen, or where
MoEngage's Web SDK says so, and the server says nothing."""

WebSDKApi = Literal["web_p", "personalize"]
"""Which of its two documented ways the Web SDK is told: ``Moengage.web_p`` or the newer
``Moengage.personalize``."""


class Phase(IntEnum):
    """How far a response has come, for what may still be read."""

    OPEN = 0
    """It may still become personal, or is."""
    SHARED = 1
    """Its headers have left, and let anybody be served with it."""
    SENT = 2
    """Its last byte has left."""


OPEN, SHARED, SENT = Phase


class Experiences:
    """What a visitor gets, by experience key. Looking a key up never raises.

    This class alone belongs to no request: it has what it was given, asks for nothing
    and counts nothing. A request's own are a page, which does (``personalizer.page``).

    It notes its own use: ``used`` once anything was read, so that the response is this
    visitor's own; ``shown`` for what counts as an impression when it has been sent.
    """

    __slots__ = (
        "_counts",
        "_found",
        "_identity",
        "_shown",
        "handed_out",
        "missing",
        "phase",
        "used",
    )

    def __init__(
        self,
        found: Iterable[Experience] = (),
        *,
        identity: Identity | None = None,
        missing: Reason = Reason.NOT_REQUESTED,
    ) -> None:
        self._identity = identity
        self.missing = missing
        self.handed_out = False
        # A page keeps what its cache has as bytes, until somebody looks at it.
        self._found: dict[str, Experience | bytes] = {one.key: one for one in found}
        self._shown: dict[str, Experience] | None = None
        self._counts = True
        self.phase = OPEN
        self.used = False

    def __getitem__(self, key: str) -> Experience:
        if self.phase is SHARED and not self._may_still_read(key):
            return Experience(key=str(text_of(key)), reason=Reason.TOO_LATE)
        self.used = True
        try:
            found = self._found[key]
        except Exception:
            # Also where a key's own hash or comparison raises.
            return self._without(key)
        return found if type(found) is Experience else self._made(key)

    def _made(self, key: str) -> Experience:
        """Return the experience of a key whose answer is there."""
        found = self._found[key]
        assert isinstance(found, Experience)
        return found

    def _without(self, given: object) -> Experience:
        """Return what there is for a key that has no answer, or is no plain text."""
        key = given if type(given) is str else text_of(given) or ""
        if key in self.pending:
            self._collect()
        if key in self._found:
            return self._made(key)
        late = key in self.pending
        return Experience(key=key, reason=Reason.NOT_READY if late else self.missing)

    def _may_still_read(self, key: object) -> bool:
        """Whether a response that has begun as it was may still become personal."""
        return True

    def _collect(self) -> None:
        """Take in what was pending, if it has come just now."""

    def unasked(self, key: str, place: str) -> str | None:
        """Return what to do about a key that no route asks for; None if said before.

        Args:
            key: The key.
            place: The template, and the line if it is known.
        """
        return "name it in a route of moe.yml"

    def __contains__(self, key: object) -> bool:
        """Whether the visitor has a match for this key."""
        return isinstance(key, str) and bool(self[key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that were answered."""
        if self.phase is SHARED and not self._may_still_read("all"):
            return iter(())
        self.used = True
        return iter(tuple(self._found))

    def __len__(self) -> int:
        return len(self._found)

    # As a mapping's: ``dict(experiences)`` are the answers, as plain values.
    get = Mapping.get
    keys = Mapping.keys
    values = Mapping.values
    items = Mapping.items

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, or a pickle, belongs to no page, so that nothing in it counts.
        return _detached, (tuple(map(self._made, self._found)), self.identity)

    def __repr__(self) -> str:
        found = [self._made(key) for key in self._found]
        answers = ", ".join(f"{one.key}={one.reason or one.source}" for one in found)
        return f"<Experiences {answers or 'none'}>"

    @property
    def identity(self) -> Identity:
        """Whom this page counts for: without any id where nothing counts."""
        if self._identity is None:
            self._identity = Identity()
        return self._identity

    def add(self, found: Iterable[Experience]) -> None:
        """Take in more answers."""
        self._found.update((one.key, one) for one in found)

    # --- what is asked for ---------------------------------------------------

    @property
    def pending(self) -> Sequence[str]:
        """The keys whose answers are still on their way: see ``ready``."""
        return ()

    async def ready(self) -> Self:
        """Wait for what the page's routes name, within what is left of its budget.

        It is for ``prefetch: concurrent``, where the handler begins before the answers
        are there; with ``blocking`` there is nothing left to wait for. Never raises for
        a failing API.
        """
        return self

    async def fetch(self, key: str) -> Experience:
        """Return a key's experience, asking for it where no route named it.

        Never raises for a failing API: the answer is then a fallback with its reason.
        """
        return self[key]

    def ready_sync(self) -> Self:
        """Do what ``ready`` does, in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The event loop itself runs here: it can only await ``ready``.
        """
        return self

    def fetch_sync(self, key: str) -> Experience:
        """Do what ``fetch`` does, in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The event loop itself runs here: it can only await ``fetch``.
        """
        return self[key]

    def forget(self) -> None:
        """Drop what is kept of this visitor's answers, so that the next page asks anew.

        For when something changed that MoEngage should judge at once, as a purchase.
        Logging in or out does it by itself where the customer_id comes from a cookie or
        the session. What this page already has, it keeps.
        """

    # --- what counts -----------------------------------------------------------

    def show(self, key: str, counting: Counting | None = None) -> Experience:
        """Return a key's experience and count it as shown, once per response.

        The impression is recorded only after a good response's last byte was sent; or,
        where it counts when it is ``visible``, once the browser says so of an element
        with the experience's ``attrs``. The template tag does this by itself.

        Args:
            key: An experience of this request.
            counting: ``response``, ``visible`` or ``web_sdk``; None takes the route's
                ``impression``. The first showing of a key decides.
        """
        experience = self[key]
        if self._counts and experience:
            self._note_shown(experience, counting)
        return experience

    def _note_shown(self, experience: Experience, counting: Counting | None) -> None:
        if self._shown is None:
            self._shown = {}
        self._shown.setdefault(experience.key, experience)

    @property
    def shown(self) -> tuple[Experience, ...]:
        """The experiences that count as shown, in the order of their first showing."""
        return tuple((self._shown or {}).values()) if self._counts else ()

    def track_impression(
        self,
        key: str,
        *,
        user_attributes: Mapping[str, Any] | None = None,
        user_timezone_offset: int | None = None,
    ) -> str | None:
        """Count an experience as shown now, whatever becomes of the response.

        Once per request: where ``show`` or a tag shows it too, it still counts once.
        It never blocks: the event is delivered in the background.

        Args:
            key: An experience of this request.
            user_attributes: Profile attributes to update along the way. Dates, decimals
                and the like become text and numbers; what JSON cannot hold refuses the
                event, with a log line.
            user_timezone_offset: The visitor's offset from UTC, in seconds; None takes
                the settings' ``events.user_timezone_offset``.

        Returns:
            The event's uuid; None where there is no match, no id to count it for, it
            was counted already, or the Web SDK reports it.
        """
        self[key]
        return None

    def track_click(
        self,
        key: str,
        b_id: str | None = None,
        *,
        user_attributes: Mapping[str, Any] | None = None,
        user_timezone_offset: int | None = None,
    ) -> str | None:
        """Count a click on an experience, now. It never blocks.

        Args:
            key: An experience of this request.
            b_id: Which element was clicked, as in ``"Shop Now"``.
            user_attributes: As for ``track_impression``.
            user_timezone_offset: As for ``track_impression``.

        Returns:
            The event's uuid; None where there is no match, no id to count it for, or
            the Web SDK reports it.
        """
        self[key]
        return None

    def count(self, counts: bool = True) -> Self:
        """Choose whether this page counts: ``count(False)`` shows all, counts nothing.

        For pages that a person looks at who is no visitor: an editor's preview in a
        CMS, a screenshot, a health check. Impressions, ``track_impression``,
        ``track_click`` and the Web SDK count nothing then, links are plain ones and
        elements have no marks. Call it before the page is rendered: a link that is
        made already counts.
        """
        self._counts = counts
        return self

    # --- what a page holds for browsers ---------------------------------------------

    def script(self, nonce: str | None = None) -> str:
        """Return the ``<script>`` that counts clicks and what was on screen.

        It stands anywhere in a page, once; empty without a ``secret_key``.

        Args:
            nonce: Of the page's Content-Security-Policy.
        """
        return ""

    def web_sdk(
        self,
        *keys: str | Experience,
        nonce: str | None = None,
        api: WebSDKApi = "web_p",
    ) -> str:
        """Return the elements that let MoEngage's Web SDK count instead of us.

        Once the SDK is initialised, our script gives it the experience_context of each
        for an impression, and of the elements with ``attrs`` for their clicks. The
        server then reports nothing of them. It stands behind what it is about; empty
        where nobody may be counted: without consent, for bots and in previews. A
        visitor whose device id we do not know yet has it handed over.

        Args:
            keys: What the SDK is to count, as keys or experiences; without any, all
                that was shown so far and is not ``visible``.
            nonce: Of the page's Content-Security-Policy.
            api: ``web_p``, or ``personalize`` for the newer calls of the Personalize
                SDK.
        """
        return ""

    def badge(self) -> str:
        """Return an element that says so where the page is a preview for QA.

        For a page where it is not added by itself at the end: HTML pages have it. The
        first call of a page returns it; others, and other pages', nothing.
        """
        return ""

    @property
    def sources(self) -> frozenset[Source]:
        """Where the answers that are there came from."""
        return frozenset([self._made(key).source for key in self._found])


def _detached(found: tuple[Experience, ...], identity: Identity) -> Experiences:
    return Experiences(found, identity=identity)
