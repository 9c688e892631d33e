"""Checks payload templates when a workspace is read, and renders them for visitors.

Templates that only look up, choose and print are rendered here. Others could take long
in many ways, so a separate program renders them, and is stopped at a limit.
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
"""Seconds on the clock for one rendering; the program's own limit of processor time is
usually reached long before."""

TOGETHER = 0.5
"""Seconds on the clock for all templates of one fetch."""

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
    """The template takes too long or too much memory; it is not tried again."""


class OutOfTime(Withheld):
    """The time for the fetch's templates is used up."""


class NotAtOnce(Exception):
    """The program must render this template, but the caller cannot wait for it."""


_until: ContextVar[float] = ContextVar("until", default=float("inf"))
"""The monotonic time after which no template is begun; now means "not at all"."""


@contextmanager
def rendering_within(seconds: float) -> Iterator[None]:
    """Limit the time of all templates within a block, in seconds.

    With 0, a template that cannot be rendered at once raises ``NotAtOnce``.
    """
    token = _until.set(time.monotonic() + seconds if seconds else 0)
    try:
        yield
    finally:
        _until.reset(token)


_TOO_MUCH = "the template takes too long or too much memory"
_TOGETHER = f"templates of one fetch may take {TOGETHER:g} seconds together"


def is_template(text: str) -> bool:
    """Whether a text contains template syntax."""
    return "{{" in text or "{%" in text or "{#" in text


def check_template(text: str) -> None:
    """Check that a text is a valid template.

    Raises:
        ValueError: It is not; the text has the reason.
    """
    if not _is_plain(text):
        _worker.start()  # so that it runs when a visitor comes


def render(text: str, attributes: Mapping[str, Any]) -> str:
    """Return the text with its template rendered.

    Args:
        attributes: The values of ``UserAttribute``; None counts as missing.

    Raises:
        NotAtOnce: The program must render it, and the caller is in
            ``rendering_within(0)``.
        OutOfTime: The time of ``rendering_within`` is used up.
        Stopped: The template takes too long, or too much memory.
        Withheld: The template withholds it, an attribute without a fallback is missing,
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
    """Refuses attributes that are too large to render at once."""

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
    """Whether a template is always fast, whatever the attributes are."""
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
    """Whether a part of a template is always fast.

    Raises:
        ValueError: It uses an unknown name.
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
    """The program, started when it is first needed, and again after it was stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: set[str] = set()

    def start(self) -> None:
        """Start it, if it does not run; if it cannot start, templates are withheld."""
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
        """Stop it; the next order starts it again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def forget(self) -> None:
        """After a fork, leave the program and the lock to the parent."""
        self._lock = threading.Lock()
        self._process = None

    def _ask(self, order: bytes) -> bytes:
        """Return the answer; empty if the program ended during the order."""
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
            # It gets none of our variables; Windows starts no Python without this one.
            system = {k: v for k, v in os.environ.items() if k == "SYSTEMROOT"}
            self._process = subprocess.Popen(
                # Without the site packages' start-up code it starts faster.
                [sys.executable or "python", "-S", "-P", template_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": path} | system,
                # Ctrl-C in a terminal ends us, and we end it.
                start_new_session=True,
            )
        return self._process


_worker = _Worker()
atexit.register(_worker.stop)
register_fork_hooks(after_in_child=_worker.forget)
