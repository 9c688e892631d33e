"""docs/reference/logs.md lists every event that the package logs, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import moe_middleware

PACKAGE = Path(moe_middleware.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "reference" / "logs.md"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
ROW = re.compile(r"^\| `([a-z_]+)` \| ([a-z, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def event_of(text: str) -> str | None:
    """Return the event that a log line begins with: ``fetch_failed reason=%s``."""
    found = re.match(r"[a-z]+(_[a-z]+)*(?=[ :,]|$)", text)
    return found[0] if found else None


def texts_below(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value


def events_below(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the events among all texts; an event of one word is no event there."""
    found = {event_of(text) for text in texts_below(nodes)}
    return {event for event in found if event is not None and "_" in event}


def is_log_call(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and ast.unparse(node.func.value).endswith("logger")
    )


def own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of a function or module, without those of inner functions."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, Function):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from own_calls(child)


def logged() -> set[str]:
    """Return the package's events.

    Where a log call's event is not a literal, its function is a helper: its events are
    then the literals that the package passes to it, and those of ``_EVENTS``.
    """
    found: set[str] = set()
    helpers: set[str] = set()
    texts = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py")]
    modules = [[*ast.walk(ast.parse(text))] for text in texts]
    for source, nodes in zip(texts, modules, strict=True):
        if "logger" not in source:
            continue
        for function in (node for node in nodes if isinstance(node, Function)):
            for call in filter(is_log_call, own_calls(function)):
                is_log = (
                    isinstance(call.func, ast.Attribute) and call.func.attr == "log"
                )
                first = call.args[1 if is_log else 0]
                text = first.value if isinstance(first, ast.Constant) else None
                event = event_of(text) if isinstance(text, str) else None
                if "_EVENTS[" in ast.unparse(call):
                    continue
                if event is None:
                    helpers.add(function.name)
                else:
                    found.add(event)
    for nodes in modules:
        for node in nodes:
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", None))
                if name in helpers:
                    found |= events_below(node.args)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                is_table = ast.unparse(node.target) == "_EVENTS"
                found |= events_below([node.value]) if is_table else set()
    return found


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall(DOCUMENT.read_text(encoding="utf-8"))


def test_every_event_has_a_line_in_the_docs_and_no_other_has() -> None:
    assert {event for event, *_ in rows()} == logged()


def test_every_line_says_the_level_the_meaning_and_what_to_do() -> None:
    events = [event for event, *_ in rows()]

    assert len(events) == len(set(events)) > 50
    for event, levels, meaning, advice in rows():
        assert set(levels.split(", ")) <= LEVELS, event
        assert meaning.endswith((".", "?")), event
        assert advice.endswith((".", "?")), event
    assert DOCUMENT.read_text("utf-8").count("\n| `") == len(events)
