"""Payload templates: checked when a workspace is read, rendered for each visitor.

What only looks up, chooses and prints is rendered here. Everything else could take long
in one of many ways, so it is rendered by a program that is stopped when it does.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes

from ...concurrency.fork_hooks import register_fork_hooks
from . import template_worker
from .template_worker import MAX_TEXT, Attributes, Withheld, build_environment, rendered

MAX_TEMPLATE = 10_000
"""The longest template, in characters."""

MAX_PLAIN = 1_000
"""The longest template that is rendered here, in characters."""

PATIENCE = 5.0
"""How long a rendering may take by the clock, in seconds; the program's own limit, of
the processor's time, is reached long before on most systems."""

TOGETHER = 0.5
"""How long all templates of one fetch may take by the clock, in seconds."""

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name,
    nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.List,
    nodes.Add, nodes.Sub, nodes.ExtensionAttribute,
)  # fmt: skip
_PLAIN_FILTERS = frozenset(
    ("capitalize", "count", "d", "default", "e", "escape", "float", "int", "length",
     "lower", "title", "trim", "upper")
)  # fmt: skip

_environment = build_environment()


class Stopped(Withheld):
    """The template took too long or too much memory just now; it is not tried again."""


class OutOfTime(Withheld):
    """The fetch's other templates, or those of others, took its time."""


class NotAtOnce(Exception):
    """The program renders this template, and the caller cannot wait for it."""


_until: ContextVar[float] = ContextVar("until", default=float("inf"))
"""When no further template is begun, on the monotonic clock; now is "not at all"."""


@contextmanager
def rendering_within(seconds: float) -> Iterator[None]:
    """Bound what all templates together may take in a block, in seconds.

    With 0 what cannot be rendered at once raises ``NotAtOnce``.
    """
    token = _until.set(time.monotonic() + seconds if seconds else 0)
    try:
        yield
    finally:
        _until.reset(token)


_TOO_MUCH = "the template takes too long or too much memory"
_TOGETHER = f"templates of one fetch may take {TOGETHER:g} seconds together"


def is_template(text: str) -> bool:
    """Whether a text has anything to render."""
    return "{{" in text or "{%" in text or "{#" in text


def check_template(text: str) -> None:
    """Refuse a text that is no template.

    Raises:
        ValueError: It is none; the text says why.
    """
    if not _is_plain(text):
        _worker.start()  # so that it is there when a visitor comes


def render(text: str, attributes: Mapping[str, Any]) -> str:
    """Return the text with its template rendered.

    Args:
        text: The template.
        attributes: What ``UserAttribute`` finds; one that is None counts as missing.

    Raises:
        NotAtOnce: It would take a while, and the caller is in ``rendering_within(0)``.
        OutOfTime: It was not begun, as ``rendering_within`` says.
        Stopped: The template takes too long, or too much memory.
        Withheld: The template says so, or an attribute without a fallback is missing,
            or the template fails.
    """
    try:
        plain = _is_plain(text)
    except ValueError as error:
        raise Withheld(str(error)) from error
    if plain:
        return rendered(_compiled(text), _SmallAttributes(attributes))
    return _worker.render(text, attributes)


class _SmallAttributes(Attributes):
    """Refuses attributes that are too large to be worked on in no time."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        super().__init__(attributes)
        self._seen: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._seen:
            value = super().__getitem__(name)
            if len(json.dumps(value, default=str)) > MAX_TEXT:
                raise Withheld(f"the attribute {name!r} is too large for a template")
            self._seen[name] = value
        return self._seen[name]


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    """Whether a template cannot take long, whatever the attributes are."""
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"a template may have at most {MAX_TEMPLATE} characters")
    try:
        tree = _environment.parse(text)
        found = [tree, *tree.find_all(nodes.Node)]
    except TemplateError as error:
        raise ValueError(f"this is no template: {error}") from error
    except RecursionError as error:
        raise ValueError("this template is too deeply nested") from error
    plain = {_check(node) for node in found}
    return plain == {True} and len(text) <= MAX_PLAIN


def _check(node: nodes.Node) -> bool:
    """Whether a part of a template is plain.

    Raises:
        ValueError: It names what there is not.
    """
    if isinstance(node, nodes.Filter | nodes.Test):
        of_filters = isinstance(node, nodes.Filter)
        known = _environment.filters if of_filters else _environment.tests
        if node.name not in known:
            kind = "filter" if of_filters else "test"
            raise ValueError(f"this is no template: there is no {kind} {node.name!r}")
        return node.name in _PLAIN_FILTERS or not of_filters
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.ExtensionAttribute)  # our own tag
    return isinstance(node, _PLAIN)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Template:
    return _environment.from_string(text)


class _Worker:
    """The program, started when it is first needed and again when it was stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: set[str] = set()

    def start(self) -> None:
        """See that it runs; where it cannot, templates are withheld and say why."""
        with self._lock, suppress(OSError):
            self._running()

    def render(self, text: str, attributes: Mapping[str, Any]) -> str:
        if text in self._stopped:
            raise Withheld(_TOO_MUCH)
        until = _until.get()
        if not until:
            raise NotAtOnce
        order = json.dumps([text, dict(attributes)], default=str).encode()
        left = max(0.0, until - time.monotonic())
        if not (left and self._lock.acquire(timeout=min(left, threading.TIMEOUT_MAX))):
            raise OutOfTime(_TOGETHER)
        try:
            answer = self._ask(order + b"\n")
        finally:
            self._lock.release()
        if not answer:
            self._stopped.add(text)  # so that no further visitor waits for it
            raise Stopped(_TOO_MUCH)
        made, why = json.loads(answer)
        if made is None:
            raise Withheld(why)
        return str(made)

    def stop(self) -> None:
        """End it; the next order starts it again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def forget(self) -> None:
        """Leave it to the parent: after a fork it and the lock are the parent's."""
        self._lock = threading.Lock()
        self._process = None

    def _ask(self, order: bytes) -> bytes:
        """Return the answer, or nothing of a program that ended over it."""
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(PATIENCE, process.kill)
            timer.daemon = True
            timer.start()
            try:
                process.stdin.write(order)
                process.stdin.flush()
                answer = process.stdout.readline()
            finally:
                timer.cancel()
        except BrokenPipeError:
            answer = b""
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Withheld(f"its program cannot start: {why}") from error
        if answer.endswith(b"\n"):
            return answer
        self.stop()
        return b""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is None:
            path = os.pathsep.join(filter(None, sys.path))
            system = {k: v for k, v in os.environ.items() if k == "SYSTEMROOT"}
            self._process = subprocess.Popen(
                [sys.executable or "python", "-S", "-P", template_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": path} | system,
                start_new_session=True,
            )
        return self._process


_worker = _Worker()
atexit.register(_worker.stop)
register_fork_hooks(after_in_child=_worker.forget)
