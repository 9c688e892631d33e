"""What ``Experiences`` needs from its page."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from enum import IntEnum
from typing import Any, Literal, Protocol, TypeVar

from .events import Action
from .experience import Elements, Experience
from .identity import Identity
from .reasons import Reason

T = TypeVar("T")

Counting = Literal["response", "visible", "web_sdk"]
"""When an impression counts: with a good response, once it was on screen, or where
MoEngage's Web SDK says so, and the server says nothing."""

WebSDKApi = Literal["web_p", "personalize"]
"""Which of its two documented ways the Web SDK is told: ``Moengage.web_p`` or the newer
``Moengage.personalize``."""


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
