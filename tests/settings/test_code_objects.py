"""Functions and observers that code gives as they are, where a file names them."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moe_middleware import (
    Counters,
    Observer,
    Settings,
    SettingsError,
    Visit,
    current_experiences,
)
from moe_middleware.cli import checks
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.personalizer.runtime import Runtime
from moe_middleware.sandbox import Sandbox

from .. import forks
from ..attacks.doors import DOORS, Headers, open_shop
from ..rows import each
from ..sites import settings

SECRET = "a token of the test"


def reads(visit: Visit) -> str | None:
    return visit.cookie("who")


async def reads_later(visit: Visit) -> str | None:
    return visit.cookie("who")


def reads_named(name: str, visit: Visit) -> str | None:
    return visit.cookie(name)


class Reader:
    """A reader with something to hide, which cannot be copied."""

    def __init__(self) -> None:
        self.token = SECRET

    def __call__(self, visit: Visit) -> str | None:
        return visit.cookie("who")

    def reads(self, visit: Visit) -> str | None:
        return visit.cookie("who")

    def __repr__(self) -> str:
        return f"Reader({self.token!r})"

    def __deepcopy__(self, _: object) -> Reader:
        raise AssertionError("copied")


class Watcher(Counters):
    """An observer with something to hide."""

    def __repr__(self) -> str:
        return f"Watcher({SECRET!r})"


class Plain(Observer):
    """An observer that another process can have a copy of."""


def takes_two(visit: Visit, other: object) -> None:
    """Be no function of one Visit."""


FUNCTIONS = [
    reads,
    reads_later,
    lambda visit: visit.cookie("who"),
    partial(reads_named, "who"),
    partial(reads_later),
    Reader(),
    Reader().reads,
    staticmethod(reads),
]


@pytest.mark.parametrize(
    ("door", "function"),
    [*((door, reads_later) for door in DOORS), *(("wsgi", one) for one in FUNCTIONS)],
)
def test_a_function_is_used_at_every_door(
    sandbox: Sandbox,
    door: str,
    function: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def render() -> tuple[str, Headers]:
        return str(current_experiences().identity.customer_id), ()

    sections: dict[str, Any] = {
        "identity": {"customer_id": {"call": function}},
        "attributes": {"who": {"call": function}},
        "consent": {"given_by": {"call": function}, "values": ["alice"]},
    }
    with open_shop(door, render, **sections) as shop:
        assert shop.ask(cookie="who=alice").text == "alice"
        assert shop.runtime.counters.snapshot()["answers.api"] == 2

    assert b'"who":"alice"' in sandbox.requests.latest()[0].request_body
    assert "value_failed" not in caplog.text
    assert "call_unusable" not in caplog.text


@pytest.mark.parametrize("door", DOORS)
def test_an_observer_is_called_at_every_door(sandbox: Sandbox, door: str) -> None:
    watcher = Watcher()

    with open_shop(door, lambda: ("", ()), observer=watcher) as shop:
        shop.ask(customer="alice")
        assert watcher.snapshot() == shop.runtime.counters.snapshot()

    assert watcher.snapshot()["answers.api"] == 2


def made_watcher() -> Observer:
    return Watcher()


@pytest.mark.parametrize(
    "observer", [Watcher, made_watcher, Watcher(), f"{__name__}:Watcher"]
)
def test_an_observer_is_given_or_made(sandbox: Sandbox, observer: object) -> None:
    runtime = Runtime(settings(observer=observer))

    runtime.observer.events("appended", 3)

    assert runtime.counters.snapshot()["events.appended"] == 3


# --- mistakes: as for those that are named ------------------------------------


@pytest.mark.parametrize("given", [takes_two, f"{__name__}:takes_two"])
async def test_a_function_that_takes_something_else_is_reported(
    sandbox: Sandbox, given: object, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = settings(attributes={"size": {"call": given}})

    (problem,) = checks.check(wanted)
    Runtime(wanted).start_in_background()

    about = f"'{__name__}:takes_two' takes (visit: 'Visit', other: 'object') -> 'None'"
    assert str(problem).startswith(f"attributes.size: {about}")
    assert f"call_unusable setting=attributes.size: {problem}" in caplog.text


class NeedsToken(Observer):
    def __init__(self, token: str) -> None:
        self.token = token


class Fails(Observer):
    def __init__(self) -> None:
        raise RuntimeError(SECRET)


@each(
    ("observer", "about"),
    [
        (Fails, "Fails' raised RuntimeError"),
        (object(), "object is no observer"),
        (NeedsToken, "NeedsToken' takes (token: 'str') -> 'None'"),
        (f"{__name__}:NeedsToken", "NeedsToken' takes (token: 'str') -> 'None'"),
        (lambda: 7, "is int: it must be an object of a class that inherits"),
        (reads, "takes (visit: 'Visit')"),
        ("no colon", "'no colon' is not of the form"),
        (7, "'7' is not of the form"),
        ([Watcher], "a list is not text"),
    ],
)
def test_what_is_no_observer_is_refused(observer: object, about: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Runtime(settings(observer=observer))

    (problem,) = raised.value.problems
    assert problem.where == "observer"
    assert about in problem.message
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "about"),
    [
        ({"call": 7}, "'7' is not of the form"),
        ({"call": ["reads"]}, "a list is not text"),
        ({"cookie": partial(reads_named, SECRET)}, "a function is not text"),
        (reads, "write {'call': function}"),
        ({"call": reads, "cookie": "who"}, "cookie and call given"),
    ],
)
def test_what_is_no_function_is_refused(source: object, about: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(attributes={"who": source})

    assert about in str(raised.value)
    assert SECRET not in str(raised.value)


# --- settings that hold them are values like others ------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (reads, "reads"),
        (partial(reads_named, SECRET), "reads_named"),
        (Reader(), "Reader"),
        (Reader().reads, "Reader.reads"),
        (Reader, "Reader"),
    ],
)
def test_they_are_shown_by_name(function: object, name: str) -> None:
    made = settings(attributes={"who": {"call": function}}, observer=Watcher())
    source = made.attributes["who"]

    assert source.name == f"{__name__}:{name}"
    assert str(source) == f"call {source.name}"
    for shown in (
        repr(made),
        str(made),
        made.model_dump_json(),
        str(made.model_dump()),
    ):
        assert source.name in shown
        assert f"{__name__}:Watcher" in shown
        assert SECRET not in shown


def test_copies_hold_the_very_same() -> None:
    reader, watcher = Reader(), Watcher()
    made = settings(attributes={"who": {"call": reader}}, observer=watcher)

    copies = [
        copy.copy(made),
        copy.deepcopy(made),
        made.model_copy(deep=True),
        made.model_copy(update={"log_ids": "off"}),
        copy.deepcopy([made])[0],
    ]

    for one in copies:
        assert one == made
        assert one.observer is watcher
        assert one.attributes["who"].call is reader
        assert one.fingerprint == made.fingerprint


def test_they_differ_where_their_objects_do() -> None:
    def made(function: object, observer: object) -> Settings:
        return settings(attributes={"who": {"call": function}}, observer=observer)

    first, second = (lambda visit: "1"), (lambda visit: "2")
    watcher = Watcher()

    assert made(first, watcher) == made(first, watcher)
    assert made(first, watcher) != made(second, watcher) != made(second, Watcher())
    assert made(reads, None) != made(f"{__name__}:reads", None)


def test_one_runtime_is_for_one_function() -> None:
    def configured(function: object) -> dict[str, Any]:
        source = {"call": function}
        workspace = {"data_center": "sandbox"}
        return {
            "workspace": workspace,
            "routes": [],
            "attributes": {"who": source},
            "events": {"outbox": "memory:"},
            "observer": Watcher,
        }

    first, second = (lambda visit: "1"), (lambda visit: "2")
    one = runtime_for(configured(first))

    assert runtime_for(configured(first)) is one
    assert runtime_for(configured(second)) is not one


@pytest.mark.parametrize("function", [reads, partial(reads), Plain])
def test_those_of_a_module_are_pickled(function: Callable[..., Any]) -> None:
    made = settings(attributes={"who": {"call": function}}, observer=Plain)

    again = pickle.loads(pickle.dumps(made))

    assert again.observer is Plain
    assert again.attributes["who"].name == made.attributes["who"].name
    assert again.attributes["who"].read is not None


@pytest.mark.parametrize(
    ("sections", "about"),
    [
        ({"attributes": {"who": {"call": lambda visit: None}}}, "call: '"),
        ({"observer": Watcher()}, f"observer: '{__name__}:Watcher'"),
    ],
)
def test_others_say_why_they_are_not(sections: dict[str, Any], about: str) -> None:
    with pytest.raises(pickle.PicklingError) as raised:
        pickle.dumps(settings(**sections))

    assert str(raised.value).startswith(about)
    assert "give it by name, as 'pkg.mod:object'" in str(raised.value)
    assert SECRET not in str(raised.value)


SHOP = """
import multiprocessing, sys
from moe_middleware import Observer, Settings, Visit
from moe_middleware.personalizer.runtime import Runtime

def size(visit):
    return visit.cookie("cart")

class Watcher(Observer):
    def __init__(self):
        self.seen = 0

def work(settings):
    read = settings.attributes["size"].read
    Runtime(settings)
    return read(Visit(headers=[(b"cookie", b"cart=3")]), {}), type(settings.observer)

if __name__ == "__main__":
    made = Settings(
        data_center="sandbox",
        events={"outbox": "memory:"},
        attributes={"size": {"call": size}},
        observer=Watcher(),
    )
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.apply(work, (made,)))
"""


@pytest.mark.parametrize(
    "method",
    [
        "spawn",
        pytest.param(
            "fork",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="it has no fork"),
        ),
    ],
)
def test_other_processes_have_them(tmp_path: Path, method: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP)

    ran = forks.run("-W", "error", "shop.py", method, cwd=tmp_path)

    assert ran.stdout.startswith("('3', <class '__m")
