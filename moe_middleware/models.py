"""The nouns: who visits, what they get, what happened. Pure values, no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from .ids import new_id
from .links import harmless
from .plain_values import text_of

T = TypeVar("T")

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Source(StrEnum):
    """Where an answer came from."""

    API = "api"
    CACHE = "cache"
    STALE = "stale"
    FALLBACK = "fallback"
    PREVIEW = "preview"


class Reason(StrEnum):
    """Why an experience is empty, or only a stale answer."""

    NO_MATCH = "no_match"
    NOT_REQUESTED = "not_requested"
    NO_REQUEST = "no_request"
    REVALIDATING = "revalidating"
    NOT_READY = "not_ready"
    TOO_LATE = "too_late"
    NOT_ACTIVE = "not_active"
    BOT = "bot"
    NO_CONSENT = "no_consent"
    BREAKER_OPEN = "breaker_open"
    BUDGET_SPENT = "budget_spent"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID_REQUEST = "invalid_request"
    ERROR = "error"


class Action(StrEnum):
    """What can happen to an experience."""

    IMPRESSION = "impression"
    CLICK = "click"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the visitor is.

    Attributes:
        customer_id: The brand's own id of a known customer.
        visitor_id: The id of an anonymous browser.
        user_identifiers: Fallback identifiers, as in ``{"u_em": "a@b.example"}``;
            they need Identity Resolution switched on in the workspace.
    """

    customer_id: str | None = None
    visitor_id: str | None = None
    user_identifiers: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        identifiers = frozenset(self.user_identifiers.items())
        return hash((self.customer_id, self.visitor_id, identifiers))

    @property
    def reporting_id(self) -> str | None:
        """The id that events carry: the customer's, else the visitor's."""
        return self.customer_id or self.visitor_id


Counting = Literal["response", "visible", "web_sdk"]
"""When an impression counts: with a good response, once it was on screen, or where
MoEngage's Web SDK says so, and the server says nothing."""

WebSDKApi = Literal["web_p", "personalize"]
"""Which of its two documented ways the Web SDK is told: ``Moengage.web_p`` or the newer
``Moengage.personalize``."""


class Elements(Protocol):
    """Makes the links of one page's elements, and the marks that our script reads."""

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        """Return a link that counts a click and leads to ``target``."""
        ...

    def attrs(self, experience: Experience, b_id: object) -> str:
        """Return the attributes of an element that our script watches."""
        ...

    def miss(self, experience: Experience, name: str) -> None:
        """Note that a payload value was asked for which is not there."""
        ...


class _OnPage:
    """Remembers which page an experience was handed out on.

    That is no field: it takes no part in comparison, copies, pickles and JSON.
    """

    __slots__ = ("_elements",)
    _elements: Elements


def _elements_of(experience: Experience) -> Elements | None:
    try:
        return _read_elements(experience)
    except AttributeError:
        return None


def note_missing(experience: Experience, name: str) -> None:
    """Let the log say once that a page asked for a payload value that is not there."""
    elements = _elements_of(experience) if experience.payload else None
    if elements is not None:
        elements.miss(experience, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience(_OnPage):
    """One experience as this visitor gets it; falsy where there is none.

    It is a plain value: its payload and its context are dicts of JSON values. A copy
    of it belongs to no page, so its links do not count.

    Payload values are reached as items and as attributes: ``hero["CTA Label"]``,
    ``hero.Title``. An item is always a payload value; an attribute gives way to the
    fields below.

    Attributes:
        key: The experience key.
        payload: The variation's values, already unwrapped; empty without a match.
        experience_context: What MoEngage wants back with every event, untouched.
        source: Where the answer came from.
        reason: Why it is empty, or stale; None for a fresh match.
    """

    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    experience_context: Mapping[str, Any] = field(default_factory=dict)
    source: Source = Source.FALLBACK
    reason: Reason | None = None

    def __bool__(self) -> bool:
        return bool(self.payload or self.experience_context)

    def __hash__(self) -> int:
        return hash((self.key, self.source, self.reason))

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and str.__str__(name) in self.payload

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the payload's values."""
        return iter(self.payload)

    def __len__(self) -> int:
        return len(self.payload)

    def __getattr__(self, name: str) -> Any:
        # Unpickling asks for dunders before the fields exist.
        if not name.startswith("__") and name in self.payload:
            return self.payload[name]
        if not name.startswith("_"):
            note_missing(self, name)
        raise AttributeError(f"experience {self.key!r} has no payload value {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a payload value, or ``default`` where there is none."""
        return self.payload[str.__str__(name)] if name in self else default

    def click_url(self, target: object = None, b_id: object = None) -> str:
        """Return the link for an element of this experience, which counts its clicks.

        It is signed, and leads nowhere but to ``target``. Without a ``secret_key`` in
        the settings, and where nothing matched, it is the target itself. A target that
        runs a script or hides its host is replaced by ``#``.

        Args:
            target: Where the link leads: a path of this site, beginning with ``/``, or
                an address on one of ``clicks.hosts``. Others are not counted. A text,
                or what stands for one: a URL object, a lazy text.
            b_id: Which element it is, as in ``"Shop Now"``.
        """
        elements = _elements_of(self)
        if elements is None or not self.experience_context:
            return harmless(target)
        return elements.click_url(self, target, b_id)

    def attrs(self, b_id: object = None) -> str:
        """Return HTML attributes that let our script count for an element.

        With a ``b_id`` its clicks count; where the impression is ``visible``, it counts
        too, once half the element was on screen for a second. Where it is ``web_sdk``,
        the SDK is told of the clicks, with the ``b_id`` as their ``widget_id``; else
        this takes a ``secret_key`` in the settings. It is empty where there is nothing
        to count.

        Args:
            b_id: Which element it is, as in ``"Shop Now"``.
        """
        elements = _elements_of(self)
        if elements is None or not self.experience_context:
            return ""
        return elements.attrs(self, b_id)


# The slot's own descriptor passes the frozen class by, and costs least.
_slot: Any = _OnPage.__dict__["_elements"]
_read_elements: Callable[[Experience], Elements] = _slot.__get__
_bind: Callable[[Experience, Elements], None] = _slot.__set__

_NOTHING: frozenset[str] = frozenset()


class Answering(Protocol):
    """What ``Experiences`` needs from its request's page."""

    @property
    def identity(self) -> Identity | None:
        """Whom the page counts for; None before the visitor is known."""
        ...

    @property
    def elements(self) -> Elements:
        """Makes the links and marks of the page's elements."""
        ...

    @property
    def watches(self) -> bool:
        """Whether elements can tell of what was on screen."""
        ...

    def watch(self, key: str) -> None:
        """Let a key's impression count once one of its elements was on screen."""
        ...

    def sight(self, key: str) -> str | None:
        """Return the uuid of a watched key's impression, None for other keys."""
        ...

    @property
    def counting(self) -> Counting:
        """When impressions count, where a tag does not say."""
        ...

    def script(self, nonce: str | None) -> str:
        """Return the element that loads our script; empty where nothing needs it."""
        ...

    def leave_to_sdk(self, experience: Experience) -> None:
        """Let the Web SDK report an experience from now on."""
        ...

    def web_sdk(self, nonce: str | None, api: WebSDKApi) -> str:
        """Return the elements that tell the Web SDK what was left to it."""
        ...

    def unasked(self, key: str, place: str) -> str | None:
        """Return what to do about a key that no route asks for; None if said before."""
        ...

    def badge(self) -> str:
        """Return what says that a page is a preview, once; empty where it is none."""
        ...

    @property
    def pending(self) -> Sequence[str]:
        """The keys that a fetch beside the handler will still answer."""
        ...

    def collect(self) -> Sequence[Experience]:
        """Return what that fetch has brought, if it has ended just now."""
        ...

    async def ready(self) -> Sequence[Experience]:
        """Do so once it has ended, or the page's time is up."""
        ...

    async def fetch(self, key: str) -> Experience:
        """Return a key's experience, asking for it. Never raises."""
        ...

    def block_on(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Return what an async call returns, for a thread without an event loop.

        Where the page's event loop does not answer in time, that is ``otherwise``.
        """
        ...

    def may_still_read(self, key: str) -> bool:
        """Whether a response that has begun as it was may still become personal."""
        ...

    def count(self, counts: bool) -> None:
        """Let the page's links and marks count, or not."""
        ...

    def forget(self) -> None:
        """Drop what is kept of this visitor's answers."""
        ...

    def track(
        self, action: Action, experience: Experience, **fields: Any
    ) -> str | None:
        """Store an event that happened just now; return its uuid, None if it cannot."""
        ...

    def advise(self, event: str, key: object, reason: Reason | None = None) -> None:
        """Write a log line about a key that cannot be had, or counted, in this way."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, as it is kept until MoEngage has it.

    Attributes:
        uuid: Minted once, when it happened; MoEngage deduplicates by it.
        customer_id: The id of the fetch: the customer's, else the visitor's.
        action: An impression or a click.
        occurred_at: When, in whole unix seconds.
        experience_context: The context that came with the variation, whole.
        platform: ``web``, ``android``, ``ios`` or ``tv``.
        b_id: For a click, which element.
        user_attributes: Profile attributes to update along the way.
        user_timezone_offset: The visitor's offset from UTC, in seconds.
    """

    uuid: str
    customer_id: str
    action: Action
    occurred_at: int
    experience_context: Mapping[str, Any]
    platform: str = "web"
    b_id: str | None = None
    user_attributes: Mapping[str, Any] = field(default_factory=dict)
    user_timezone_offset: int | None = None

    def __hash__(self) -> int:
        return hash(self.uuid)

    @classmethod
    def impression(
        cls, experience: Experience, customer_id: str, **fields: Any
    ) -> Self:
        """Return the event that this experience was shown, now, with a uuid of its own.

        Args:
            experience: A match; one that did not match has nothing to report.
            customer_id: The id that the experience was fetched with.
            fields: Other fields of the event, to set instead of their defaults.
        """
        return cls._of(Action.IMPRESSION, experience, customer_id, fields)

    @classmethod
    def click(
        cls,
        experience: Experience,
        customer_id: str,
        *,
        b_id: str | None = None,
        **fields: Any,
    ) -> Self:
        """Return the event that an element of this experience was clicked, now."""
        fields["b_id"] = b_id
        return cls._of(Action.CLICK, experience, customer_id, fields)

    @classmethod
    def _of(
        cls,
        action: Action,
        experience: Experience,
        customer_id: str,
        fields: dict[str, Any],
    ) -> Self:
        if not experience.experience_context:
            raise ValueError(
                f"experience {experience.key!r} has no experience_context: only one "
                "that matched can be reported"
            )
        return cls(
            uuid=fields.pop("uuid", None) or new_id(),
            occurred_at=fields.pop("occurred_at", None) or int(time.time()),
            action=action,
            customer_id=customer_id,
            experience_context=experience.experience_context,
            **fields,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperienceMetadata:
    """One line of the workspace's list of experiences.

    Attributes:
        key: The experience key.
        name: Its name in the dashboard.
        status: ``Active``, ``Paused`` or ``Scheduled``.
    """

    key: str
    name: str
    status: str
