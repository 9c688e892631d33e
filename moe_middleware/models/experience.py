"""One experience of one visitor, with the links of its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from .reasons import Reason, Source
from .urls import harmless

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Elements(Protocol):
    """Makes the links of one page's elements, and the attributes for our script."""

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        """Return a link that counts a click and redirects to ``target``."""
        ...

    def attrs(self, experience: Experience, b_id: object) -> str:
        """Return the attributes of an element whose events our script reports."""
        ...

    def miss(self, experience: Experience, name: str) -> None:
        """Note that a missing payload value was read."""
        ...


class _OnPage:
    """Keeps a reference from an experience to its page.

    It is no field: comparison, copies, pickles and JSON ignore it.
    """

    __slots__ = ("_context", "_elements")
    _context: bytes
    """The context's JSON, until it is read for the first time."""
    _elements: Elements


def elements_of(experience: Experience) -> Elements | None:
    """Return the elements that an experience is bound to, if it is."""
    try:
        return _read_elements(experience)
    except AttributeError:
        return None


def note_missing(experience: Experience, name: str) -> None:
    """Log once that a page has read a missing payload value."""
    elements = elements_of(experience) if experience.payload else None
    if elements is not None:
        elements.miss(experience, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience(_OnPage):
    """One experience as this visitor gets it; falsy without a match.

    It is a plain value: its payload and its context are dicts of JSON values. A copy
    belongs to no page, so its links do not count.

    Payload values are items and attributes: ``hero["CTA Label"]``, ``hero.Title``. An
    item is always a payload value; an attribute is one unless it has the name of a
    field below, of a method, ``variation`` or ``audience``.

    Attributes:
        key: The experience key.
        payload: The values of the variation; empty without a match.
        experience_context: Returned to MoEngage with every event, unchanged.
        source: The source of the answer.
        reason: The reason if it is empty or stale; None for a fresh match.
    """

    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    experience_context: Mapping[str, Any] = field(default_factory=dict)
    source: Source = Source.FALLBACK
    reason: Reason | None = None

    def __bool__(self) -> bool:
        return bool(self.payload or self.experience_context)

    def __hash__(self) -> int:
        # Not the payload: it is a dict, and the page may change it.
        return hash((self.key, self.source, self.reason))

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]

    def __contains__(self, name: object) -> bool:
        # A subclass of str may have a hash of its own, which raises.
        return isinstance(name, str) and str.__str__(name) in self.payload

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the payload's values."""
        return iter(self.payload)

    def __len__(self) -> int:
        return len(self.payload)

    def __getattr__(self, name: str) -> Any:
        # Most pages hand it on as the bytes that came, and never read it.
        if name == "experience_context":
            context = orjson.loads(kept_context(self))
            _set_context(self, context)
            return context
        # Unpickling reads dunder names before the fields exist.
        if name[:2] != "__" and name in (payload := self.payload):
            return payload[name]
        if not name.startswith("_"):
            note_missing(self, name)
        why = f" ({self.reason})" if name[:2] != "__" and self.reason else ""
        raise AttributeError(
            f"experience {self.key!r}{why} has no payload value {name!r}: "
            f"take .get({name!r}, a default), or test the experience before"
        )

    @property
    def variation(self) -> str | None:
        """The id of its variation, from the context; None without one."""
        return id_of(self.experience_context, "moe_variation_id")

    @property
    def audience(self) -> str | None:
        """The name of its audience, from the context; None without one."""
        return id_of(self.experience_context, "audience_name")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a payload value, or ``default`` if it is missing."""
        return self.payload[str.__str__(name)] if name in self else default

    def click_url(self, target: object = None, b_id: object = None) -> str:
        """Return a link for an element of this experience that counts its clicks.

        It is signed, and redirects only to ``target``. Without a ``secret_key`` in the
        settings, and without a match, it is the target itself. A target that runs a
        script or hides its host is replaced by ``#``.

        Args:
            target: A path of this site, beginning with ``/``, or an address on one of
                ``clicks.hosts``; links to others are not counted. A text or a text-like
                value, as a URL object or a lazy text.
            b_id: The element, as in ``"Shop Now"``.
        """
        elements = elements_of(self)
        if elements is None or context_json(self) == b"{}":
            return harmless(target)
        return elements.click_url(self, target, b_id)

    def attrs(self, b_id: object = None) -> str:
        """Return HTML attributes by which our script reports events of an element.

        With a ``b_id`` its clicks count. With the impression ``visible`` the impression
        counts, too, after half of the element was on screen for a second. With
        ``web_sdk``, the SDK reports the clicks, with the ``b_id`` as their
        ``widget_id``; otherwise a ``secret_key`` is needed in the settings. Empty if
        there is nothing to count.

        Args:
            b_id: The element, as in ``"Shop Now"``.
        """
        elements = elements_of(self)
        if elements is None or context_json(self) == b"{}":
            return ""
        return elements.attrs(self, b_id)


def id_of(context: Mapping[str, Any], name: str) -> str | None:
    """Return a name or an id in a context as text; None where there is none."""
    found = context.get(name)
    return str(found) if isinstance(found, str | int) and found != "" else None


class Draft(_OnPage):
    """An experience that is being made: it has the same slots, and is not frozen.

    Setting the slots of the frozen class takes several times as long.
    """

    __slots__ = tuple(one.name for one in fields(Experience))
    key: str
    payload: Mapping[str, Any]
    experience_context: Mapping[str, Any]
    source: Source
    reason: Reason | None


_page_slots: Mapping[str, Any] = _OnPage.__dict__
kept_context: Callable[[Experience], bytes] = _page_slots["_context"].__get__
"""Returns the JSON of a context that was not read yet, else AttributeError."""
_read_elements: Callable[[Experience], Elements] = _page_slots["_elements"].__get__
_set_elements: Callable[[Experience, Elements], None]
_set_elements = _page_slots["_elements"].__set__
_set_context: Callable[[Experience, Mapping[str, Any]], None]
_set_context = vars(Experience)["experience_context"].__set__


def context_json(experience: Experience) -> bytes:
    """Return an experience's context as JSON: as it came, or the app's own.

    Raises:
        TypeError: The app made it, and it is no JSON.
    """
    try:
        return kept_context(experience)
    except AttributeError:
        return orjson.dumps(dict(experience.experience_context))


def bind(experience: Experience, elements: Elements) -> None:
    """Bind an experience to a page's elements."""
    _set_elements(experience, elements)


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
