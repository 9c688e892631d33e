"""All experiences of one page, by key; see it as the handlers and templates do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, get_args

from .answering import OPEN, SENT, SHARED, Answering, Counting, WebSDKApi
from .events import Action
from .experience import Experience, _bind
from .identity import Identity
from .plain_values import text_of
from .reasons import Reason, Source

_NOTHING: frozenset[str] = frozenset()


class Experiences:
    """What a visitor gets, by experience key. Looking a key up never raises.

    It notes its own use: ``used`` once anything was read, so that the response is this
    visitor's own; ``shown`` for what counts as an impression when it has been sent.
    """

    __slots__ = (
        "_answering",
        "_counts",
        "_found",
        "_identity",
        "_left_to_sdk",
        "_shown",
        "_tracked",
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
        answering: Answering | None = None,
        missing: Reason = Reason.NOT_REQUESTED,
    ) -> None:
        self._identity = identity
        self.missing = missing
        self.handed_out = False
        self._found: dict[str, Experience] = {}
        self._shown: dict[str, Experience] | None = None
        self._tracked: frozenset[str] = _NOTHING
        self._left_to_sdk: frozenset[str] = _NOTHING
        self._answering = answering
        self._counts = True
        self.phase = OPEN
        self.used = False
        if found:
            self.add(found)

    def __getitem__(self, key: str) -> Experience:
        if self.phase is SHARED and not self._may_still_read(key):
            return Experience(key=str(text_of(key)), reason=Reason.TOO_LATE)
        self.used = True
        try:
            return self._found[key]
        except Exception:
            # Also where a key's own hash or comparison raises.
            return self._without(key)

    def _without(self, given: object) -> Experience:
        """Return what there is for a key that has no answer, or is no plain text."""
        key = given if type(given) is str else text_of(given) or ""
        answering = self._answering
        if answering is not None and key in answering.pending:
            self.add(answering.collect())
        if key in self._found:
            return self._found[key]
        return Experience(
            key=key,
            reason=Reason.NOT_READY if key in self.pending else self.missing,
        )

    def unasked(self, key: str, place: str) -> str | None:
        """Return what to do about a key that no route asks for; None if said before.

        Args:
            key: The key.
            place: The template, and the line if it is known.
        """
        if self._answering is None:
            return "name it in a route of moe.yml"
        return self._answering.unasked(key, place)

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
        return _detached, (tuple(self._found.values()), self.identity)

    def __repr__(self) -> str:
        answers = ", ".join(
            f"{key}={found.reason or found.source}"
            for key, found in self._found.items()
        )
        return f"<Experiences {answers or 'none'}>"

    @property
    def identity(self) -> Identity:
        """Whom this page counts for: without any id where nothing counts."""
        met = self._answering.identity if self._answering is not None else None
        if met is not None:
            return met
        if self._identity is None:
            self._identity = Identity()
        return self._identity

    def add(self, found: Iterable[Experience]) -> None:
        """Take in more answers, each of them this page's own."""
        if not found:
            return
        elements = self._answering.elements if self._answering is not None else None
        for experience in found:
            if elements is not None:
                _bind(experience, elements)
            self._found[experience.key] = experience

    async def ready(self) -> Self:
        """Wait for what the page's routes name, within what is left of its budget.

        It is for ``prefetch: concurrent``, where the handler begins before the answers
        are there; with ``blocking`` there is nothing left to wait for. Never raises for
        a failing API.
        """
        if self._answering is not None:
            self.add(await self._answering.ready())
        return self

    async def fetch(self, key: str) -> Experience:
        """Return a key's experience, asking for it where no route named it.

        Never raises for a failing API: the answer is then a fallback with its reason.
        """
        answering = self._answering
        if answering is not None:
            await self.ready()
            name = text_of(key)
            late = self.phase is SHARED and not self._may_still_read(key)
            if name is not None and name not in self._found and not late:
                self.add([await answering.fetch(name)])
        return self[key]

    def ready_sync(self) -> Self:
        """Do what ``ready`` does, in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The event loop itself runs here: it can only await ``ready``.
        """
        if self.pending and self._answering is not None:
            self._answering.block_on(self.ready(), self)
        return self

    def fetch_sync(self, key: str) -> Experience:
        """Do what ``fetch`` does, in sync code: a WSGI app, or a handler in a thread.

        Raises:
            RuntimeError: The event loop itself runs here: it can only await ``fetch``.
        """
        if text_of(key) not in self._found and self._answering is not None:
            silent = Experience(key=text_of(key) or "", reason=Reason.TIMEOUT)
            return self._answering.block_on(self.fetch(key), silent)
        return self[key]

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
        experience = self._trackable(key)
        if experience is None or experience.key in self._tracked:
            return None
        assert self._answering is not None
        # Where the browser may report it too, both report the same impression.
        sight = self._answering.sight(experience.key)
        uuid = self._track(
            Action.IMPRESSION,
            experience,
            user_attributes,
            user_timezone_offset,
            **({"uuid": sight} if sight else {}),
        )
        if uuid is not None:
            self._tracked = self._tracked | {experience.key}
        return uuid

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
        experience = self._trackable(key)
        if experience is None:
            return None
        return self._track(
            Action.CLICK, experience, user_attributes, user_timezone_offset, b_id=b_id
        )

    def _trackable(self, key: str) -> Experience | None:
        """Return a key's experience where an event of it can be counted."""
        experience = self[key]
        answering = self._answering
        if answering is None or not self._counts:
            return None
        if not experience.experience_context:
            if experience.reason in _MISTAKEN:
                answering.advise("track_ignored", experience.key, experience.reason)
            return None
        if experience.key in self._left_to_sdk or self.identity.reporting_id is None:
            return None
        return experience

    def _track(
        self,
        action: Action,
        experience: Experience,
        user_attributes: object,
        user_timezone_offset: object,
        **fields: Any,
    ) -> str | None:
        assert self._answering is not None
        return self._answering.track(
            action,
            experience,
            user_attributes=user_attributes,
            user_timezone_offset=user_timezone_offset,
            **fields,
        )

    def count(self, counts: bool = True) -> Self:
        """Choose whether this page counts: ``count(False)`` shows all, counts nothing.

        For pages that a person looks at who is no visitor: an editor's preview in a
        CMS, a screenshot, a health check. Impressions, ``track_impression``,
        ``track_click`` and the Web SDK count nothing then, links are plain ones and
        elements have no marks. Call it before the page is rendered: a link that is
        made already counts.
        """
        self._counts = counts
        if self._answering is not None:
            self._answering.count(counts)
        return self

    def forget(self) -> None:
        """Drop what is kept of this visitor's answers, so that the next page asks anew.

        For when something changed that MoEngage should judge at once, as a purchase.
        Logging in or out does it by itself where the customer_id comes from a cookie or
        the session. What this page already has, it keeps.
        """
        if self._answering is not None:
            self._answering.forget()

    def _may_still_read(self, key: object) -> bool:
        assert self._answering is not None
        if self._answering.may_still_read(str(text_of(key))):
            self.phase = OPEN
            return True
        return False

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
        if not experience.experience_context or not self._counts:
            return experience
        if self.phase is SENT and self._answering is not None:
            self._answering.advise("shown_too_late", experience.key)
        elif not self._is_watched(experience, self._known(counting, experience.key)):
            if self._shown is None:
                self._shown = {}
            self._shown.setdefault(experience.key, experience)
        return experience

    def _known(self, counting: object, key: str) -> Counting | None:
        if counting is None:
            return None
        name = text_of(counting)
        for one in get_args(Counting):
            if one == name:
                known: Counting = one
                return known
        if self._answering is not None:
            self._answering.advise("counting_unknown", key)
        return None

    def _is_watched(self, experience: Experience, counting: Counting | None) -> bool:
        """Whether the browser reports an impression, and the server does not."""
        answering, key = self._answering, experience.key
        if answering is None or key in (self._shown or ()):
            return False
        if key in self._left_to_sdk:
            return True
        if answering.sight(key) is not None:
            return True
        wanted = counting or answering.counting
        if wanted == "response" or key in self._tracked:
            return False
        if wanted == "web_sdk":
            self._leave_to_sdk(experience, answering)
            return True
        if answering.watches:
            answering.watch(key)
        return answering.watches

    def _leave_to_sdk(self, experience: Experience, answering: Answering) -> None:
        self._left_to_sdk |= {experience.key}
        answering.leave_to_sdk(experience)

    def script(self, nonce: str | None = None) -> str:
        """Return the ``<script>`` that counts clicks and what was on screen.

        It stands anywhere in a page, once; empty without a ``secret_key``.

        Args:
            nonce: Of the page's Content-Security-Policy.
        """
        if self._answering is None or not self._counts:
            return ""
        return self._answering.script(text_of(nonce))

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
        answering = self._answering
        if answering is None or not self._counts:
            return ""
        for one in keys or tuple(self._shown or ()):
            experience = self[one.key if isinstance(one, Experience) else one]
            key = experience.key
            watched = answering.sight(key) is not None
            if experience.experience_context and not (watched or key in self._tracked):
                (self._shown or {}).pop(key, None)
                if key not in self._left_to_sdk:
                    self._leave_to_sdk(experience, answering)
        return answering.web_sdk(text_of(nonce), api)

    def badge(self) -> str:
        """Return an element that says so where the page is a preview for QA.

        For a page where it is not added by itself at the end: HTML pages have it. The
        first call of a page returns it; others, and other pages', nothing.
        """
        return self._answering.badge() if self._answering is not None else ""

    @property
    def pending(self) -> Sequence[str]:
        """The keys whose answers are still on their way: see ``ready``."""
        return self._answering.pending if self._answering is not None else ()

    @property
    def sources(self) -> frozenset[Source]:
        """Where the answers that are there came from."""
        return frozenset([found.source for found in self._found.values()])

    @property
    def shown(self) -> tuple[Experience, ...]:
        """The experiences that count as shown, in the order of their first showing."""
        if not self._shown or not self._counts:
            return ()
        shown = self._shown
        return tuple([shown[key] for key in shown if key not in self._tracked])


def _detached(found: tuple[Experience, ...], identity: Identity) -> Experiences:
    return Experiences(found, identity=identity)


_MISTAKEN = frozenset(
    {Reason.NOT_REQUESTED, Reason.NO_REQUEST, Reason.NOT_READY, Reason.TOO_LATE}
)
"""Why nothing is there to be tracked through a mistake in the app."""
