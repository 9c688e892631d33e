"""Made-up WSGI apps that do whatever PEP 3333 allows: no server sees a difference."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import given
from hypothesis import strategies as some

from moe_middleware import MoEngageWSGIMiddleware, current_experiences
from moe_middleware.sandbox import embedded

from ..sites import settings
from .wsgi_apps import KEY
from .wsgi_server import Answer, ask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STATUSES = ("200 OK", "201 Created", "204 No Content", "304 Not Modified")
BAD_STATUSES = ("404 Not Found", "500 Oh")
OURS = ("cache-control", "vary", "server-timing")
Kind = Literal["list", "tuple", "generator", "iterator", "items", "sized"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an app does with one request.

    Attributes:
        late: It starts its response with the first part of the body.
        writes: Parts that it writes before it returns.
        restart: It replaces the start by an error, ``early`` or after what it wrote.
        raises: Where it raises; a number is a part of the body.
    """

    status: str
    headers: tuple[tuple[str, str], ...]
    kind: Kind
    parts: tuple[bytes, ...]
    late: bool
    writes: tuple[bytes, ...]
    restart: Literal["early", "late"] | None
    raises: Literal["call", "close"] | int | None
    leave_after: int | None


plans = some.builds(
    Plan,
    status=some.sampled_from(STATUSES + BAD_STATUSES),
    headers=some.lists(
        some.tuples(
            some.sampled_from(["Content-Type", "X-One", "ETag", "Set-Cookie"]),
            some.text(some.characters(min_codepoint=32, max_codepoint=255)),
        )
    ).map(tuple),
    kind=some.sampled_from(Kind.__args__),  # type: ignore[attr-defined]
    parts=some.lists(some.binary(max_size=3), max_size=4).map(tuple),
    late=some.booleans(),
    writes=some.lists(some.binary(max_size=3), max_size=2).map(tuple),
    restart=some.sampled_from([None, None, "early", "late"]),
    raises=some.sampled_from([None, None, None, "call", "close", 0, 1]),
    leave_after=some.sampled_from([None, None, 1, 2]),
)


class Made:
    """An app that follows a plan, and notes what it was called for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.calls: list[str] = []
        self.sees: set[object] = set()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        plan = self.plan
        self.note("call")
        if "moe_middleware.experiences" in environ:
            environ["moe_middleware.experiences"].show(KEY)
        if plan.late and plan.kind == "generator":
            return self.generate(start_response)
        self.start(start_response)
        if plan.raises == "call":
            raise LookupError("call")
        match plan.kind:
            case "list":
                return [*plan.parts]
            case "tuple":
                return plan.parts
            case "generator":
                return self.generate(None)
            case "iterator":
                return map(self.part, range(len(plan.parts)))
            case "items":
                return _Items(self)  # type: ignore[return-value]
            case "sized":
                return _Sized(self)

    def note(self, call: str) -> None:
        self.calls.append(call)
        self.sees.add(current_experiences()[KEY].source)

    def start(self, start_response: StartResponse) -> None:
        plan, headers = self.plan, [*self.plan.headers]
        write = start_response(plan.status, headers)
        if plan.restart == "early":
            self.restart(start_response)
        for part in plan.writes:
            write(part)
        if plan.restart == "late":
            self.restart(start_response)

    def restart(self, start_response: StartResponse) -> None:
        try:
            raise LookupError("half way")
        except LookupError:
            start_response("500 Restarted", [("X-Why", "half")], sys.exc_info())

    def generate(self, late: StartResponse | None) -> Iterator[bytes]:
        try:
            if late is not None:
                self.start(late)
            for number in range(len(self.plan.parts)):
                yield self.part(number)
        finally:
            self.note("closed")

    def part(self, number: int) -> bytes:
        self.note(f"part {number}")
        if self.plan.raises == number:
            raise LookupError(f"part {number}")
        return self.plan.parts[number]


class _Items:
    """Iterable by its items alone, as the oldest iterables are."""

    def __init__(self, made: Made) -> None:
        self._made = made

    def __getitem__(self, number: int) -> bytes:
        return self._made.part(number)


class _Sized:
    """A body with a length, that has to be closed."""

    def __init__(self, made: Made) -> None:
        self._made = made

    def __len__(self) -> int:
        return len(self._made.plan.parts)

    def __iter__(self) -> Iterator[bytes]:
        self._made.note("iter")
        return map(self._made.part, range(len(self)))

    def close(self) -> None:
        self._made.note("close")
        if self._made.plan.raises == "close":
            raise LookupError("close")


class _Counting:
    """What the wrapped apps share: one configuration, one outbox."""

    def __init__(self) -> None:
        self.config = settings(events={"outbox": "memory:", "relay": "off"})

    def wrap(self, app: WSGIApplication) -> MoEngageWSGIMiddleware:
        return MoEngageWSGIMiddleware(app, config=self.config)


counting = _Counting()


@given(plans)
def test_no_server_and_no_app_sees_a_difference(plan: Plan) -> None:
    bare, ours = Made(plan), Made(plan)
    door = counting.wrap(ours)
    before = _impressions(door)

    expected, answer = _visit(bare, plan), _visit(door, plan)

    assert _comparable(answer) == _comparable(expected)
    assert ours.calls == bare.calls
    assert bare.sees == {"fallback"}
    # In every call of the app's it is the request's own.
    assert ours.sees <= {"api", "cache"}
    assert _impressions(door) - before == _counts(plan, expected)


def _visit(app: WSGIApplication, plan: Plan) -> Answer:
    cookie = {"cookie": "customer_id=alice"}
    leave_after, validate = plan.leave_after, False
    return ask(app, headers=cookie, leave_after=leave_after, validate=validate)


def _comparable(answer: Answer) -> list[Any]:
    headers = [
        (name, value) for name, value in answer.headers if name.lower() not in OURS
    ]
    return [answer.line, headers, answer.parts, repr(answer.error)]


def _counts(plan: Plan, answer: Answer) -> bool:
    """Whether somebody saw the whole of a good response."""
    taken = len(answer.parts) - len(plan.writes)
    left = plan.leave_after is not None and taken >= plan.leave_after
    whole = answer.error is None or str(answer.error) == "close"
    return whole and not left and answer.line in STATUSES


def _impressions(door: MoEngageWSGIMiddleware) -> int:
    return asyncio.run(door.runtime.outbox.count()).waiting


def test_the_length_is_sent_where_the_app_sends_it() -> None:
    def app(
        body: Iterable[bytes],
    ) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
        def answer(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            start_response("200 OK", [])
            return body

        return answer

    def returned(body: Iterable[bytes]) -> Any:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        return counting.wrap(app(body))(environ, lambda *_: lambda _: None)

    assert len(returned([b"one", b"two"])) == 2
    assert not hasattr(returned(iter([b"one"])), "__len__")


def setup_module() -> None:
    embedded().reset()
