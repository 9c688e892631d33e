"""Faults on demand: wrong statuses, latency, lost connections, slow or broken bodies.

All random draws use the fault's own seed, so that a run can be repeated.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import httpx
from starlette.types import Receive

HANG_UP = "moe_middleware.sandbox.hang_up"
"""The ASGI extension of our own server: a callable that cuts the connection."""

PATHS = ("fetch", "metadata", "events", "*")
Path = Literal["fetch", "metadata", "events", "*"]

NOISE = 200
"""The length of a garbage body, in bytes."""

NOT_GIVEN: Any = object()
"""The value of ``times`` if it is left out: one call, or all of them with a rate."""


class ConnectionDropped(httpx.RemoteProtocolError):
    """The connection was cut without a response.

    In process there is no connection to cut. This exception leaves the ASGI call
    instead; it is httpx's own for a server that hangs up.
    """


class FaultError(ValueError):
    """A fault's fields have invalid values.

    Attributes:
        mistakes: A sentence by field; the empty name has one about the whole fault.
    """

    def __init__(self, mistakes: Mapping[str, str]) -> None:
        super().__init__(" ".join(mistakes.values()))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error to produce, and the calls to apply it to.

    Attributes:
        path: The endpoint, or ``*`` for all three.
        status: The status of the response, instead of the real response.
        latency: Seconds that the call waits first.
        jitter: More seconds that it waits at most; drawn for each call.
        times: The number of calls to apply it to; None for all until the next reset.
            Left out it is one, or all with a rate.
        rate: The share of calls to apply it to, above 0 and up to 1.
        drop: Cut the connection without processing the call.
        lose_response: Process the call, then cut the connection.
        drip: Send the response's body slowly, at this many bytes a second.
        garbage: Send random bytes as the body, instead of JSON.
        seed: The seed for rate, jitter and noise.

    Raises:
        FaultError: A value is invalid, or the fault has no effect.
    """

    path: Path = "*"
    status: int | None = None
    latency: float = 0.0
    jitter: float = 0.0
    times: int | None = NOT_GIVEN
    rate: float = 1.0
    drop: bool = False
    lose_response: bool = False
    drip: float | None = None
    garbage: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.times is NOT_GIVEN:
            object.__setattr__(self, "times", 1 if self.rate == 1 else None)
        if mistakes := dict(self._mistakes()):
            raise FaultError(mistakes)

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield each field with an invalid value, and a sentence about it."""
        if self.path not in PATHS:
            yield "path", f"path is {self.path!r}: use one of {', '.join(PATHS)}."
        if self.status is not None and not _is_whole(self.status, 400, 599):
            yield "status", f"status is {self.status!r}: use 400 to 599."
        for name in ("latency", "jitter"):
            if not _is_number(seconds := getattr(self, name), 0, 3600):
                yield name, f"{name} is {seconds!r}: use seconds, 0 to 3600."
        if self.times is not None and not _is_whole(self.times, 1, math.inf):
            yield "times", f"times is {self.times!r}: use 1 or more, or null for all."
        if not _is_number(self.rate, 0, 1) or not self.rate:
            yield "rate", f"rate is {self.rate!r}: use more than 0, up to 1."
        if self.drip is not None and not _is_number(self.drip, 1, 10**9):
            yield "drip", f"drip is {self.drip!r}: use bytes a second, 1 or more."
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if kind == "bool" and not isinstance(value, bool):
                yield name, f"{name} is {value!r}: use true or false."
        if not _is_whole(self.seed, -math.inf, math.inf):
            yield "seed", f"seed is {self.seed!r}: use a whole number."
        if not any(getattr(self, name) for name in TROUBLES):
            yield (
                "",
                f"Set at least one of {', '.join(TROUBLES[:-1])} and {TROUBLES[-1]}.",
            )

    def describe(self) -> str:
        """Return the fault in a few words, as in ``status 503, latency 0.2``."""
        troubles = {name: getattr(self, name) for name in TROUBLES}
        return ", ".join(
            name if value is True else f"{name} {value:g}"
            for name, value in troubles.items()
            if value
        )


_KINDS = {one.name: str(one.type) for one in fields(Fault)}
"""The type of each field, as it is written above."""

TROUBLES = [name for name in _KINDS if name not in ("path", "times", "rate", "seed")]
"""The fields that have an effect; the others select the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One fault applied to one call, with its draws made.

    Attributes:
        delay: Seconds that the call waits, with jitter.
        noise: The body of a garbage response.
    """

    fault: Fault
    delay: float
    noise: bytes


@dataclass(slots=True)
class _Active:
    fault_id: int
    fault: Fault
    left: float
    draws: random.Random

    def hit(self) -> Hit:
        self.left -= 1
        fault, draws = self.fault, self.draws
        return Hit(
            fault=fault,
            delay=fault.latency + fault.jitter * draws.random(),
            noise=draws.randbytes(NOISE) if fault.garbage else b"",
        )


class FaultList:
    """The active faults; the oldest that matches a call is applied. Thread-safe.

    Args:
        standing: The faults at the start and after each reset.
    """

    def __init__(self, standing: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._active: list[_Active] = []
        self._last_id = 0
        self.reset(standing)

    def add(self, fault: Fault) -> int:
        """Apply a fault to calls from now on; return its id."""
        with self._lock:
            self._last_id += 1
            # Two faults with one seed must not select the same calls.
            draws = random.Random(f"{fault.seed}/{self._last_id}")
            left = math.inf if fault.times is None else fault.times
            self._active.append(_Active(self._last_id, fault, left, draws))
            return self._last_id

    def take(self, path: str) -> Hit | None:
        """Return the fault to apply to a call to this endpoint, and count it down."""
        # Nearly every call: not worth a lock.
        if not self._active:
            return None
        with self._lock:
            for active in self._active:
                fault = active.fault
                if fault.path not in (path, "*"):
                    continue
                if fault.rate < 1 and active.draws.random() >= fault.rate:
                    continue
                hit = active.hit()
                if active.left < 1:
                    self._active.remove(active)
                return hit
        return None

    def as_documents(self) -> list[dict[str, Any]]:
        """Return the faults as JSON values; ``times`` is the number of calls left."""
        with self._lock:
            return [
                asdict(one.fault)
                | {
                    "id": one.fault_id,
                    "times": None if math.isinf(one.left) else int(one.left),
                }
                for one in self._active
            ]

    def remove(self, fault_id: int) -> bool:
        """Remove a fault; False if there is none with this id."""
        with self._lock:
            before = len(self._active)
            self._active = [one for one in self._active if one.fault_id != fault_id]
            return len(self._active) < before

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._active.clear()

    def reset(self, standing: Iterable[Fault]) -> None:
        """Replace all faults by these, and restart their draws."""
        with self._lock:
            self._active.clear()
            self._last_id = 0
        for fault in standing:
            self.add(fault)


def parse_fault(document: object) -> Fault:
    """Return the fault of a JSON document.

    Raises:
        ValueError: It is no fault; the text has the reason.
    """
    if not isinstance(document, dict):
        raise ValueError(f"Send a JSON object with {', '.join(_KINDS)}.")
    if strange := sorted(set(document) - set(_KINDS)):
        raise ValueError(f"Unknown: {', '.join(strange)}. Use {', '.join(_KINDS)}.")
    return Fault(**document)


def parse_fault_form(pairs: Iterable[tuple[str, str]]) -> Fault:
    """Return the fault of an HTML form; empty fields are left out.

    Raises:
        ValueError: A field is unknown.
        FaultError: A field has an invalid value.
    """
    return parse_fault({name: _typed(name, text) for name, text in pairs if text})


def _typed(name: str, text: str) -> object:
    """Return a form's text as the type of its field; other text stays text."""
    kind = _KINDS.get(name, "Path")
    if kind == "bool":
        return {"on": True, "true": True, "false": False}.get(text, text)
    if name == "times" and text == "all":
        return None
    if kind == "Path":
        return text
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        return text


async def hang_up(scope: MutableMapping[str, Any], receive: Receive) -> None:
    """Cut the connection of a request.

    Raises:
        ConnectionDropped: There is no connection that can be cut.
    """
    cut = scope.get("extensions", {}).get(HANG_UP)
    if cut is None:
        raise ConnectionDropped("Server disconnected without sending a response.")
    cut()
    # If the app returned before the connection is cut, the server would send a 500.
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_whole(value: object, lowest: float, highest: float) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and lowest <= value <= highest
    )


def _is_number(value: object, lowest: float, highest: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and lowest <= value <= highest
    )
