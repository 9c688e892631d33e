"""Renders payload templates over a customer's attributes, with Jinja's own sandbox.

Templates that could take long are rendered by this file as a separate program, which
can be stopped. It is started as a script, so it imports nothing of this package.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Template, Undefined, UndefinedError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOT_SEND = "MOE_NOT_SEND"
"""The word, as a tag or a default, by which a template withholds its experience."""

MAX_TEXT = 20_000
"""The longest result of a template, in characters."""

MAX_SECONDS = 0.25
"""Seconds of processor time for one rendering."""

MAX_MEMORY = 512 * 1024 * 1024
"""The program's memory limit in bytes, where the system supports one."""


class Withheld(Exception):
    """The experience is withheld; the text has the reason."""


class Attributes(Mapping[str, Any]):
    """A customer's attributes for templates: null counts as missing."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = attributes

    def __getitem__(self, name: str) -> Any:
        value = self._attributes[name]
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)


class _Missing(StrictUndefined):
    """A missing attribute: an error if it is used without a default."""

    @property
    def _undefined_message(self) -> str:
        return f"{self._undefined_name!r} is missing and has no default"


class NotSendTag(Extension):
    """``{% MOE_NOT_SEND("reason") %}``: the reason and the brackets may be missing."""

    tags = {NOT_SEND}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        reason: nodes.Expr = nodes.Const("")
        if not parser.stream.current.test("block_end"):
            reason = parser.parse_expression()
        call = self.call_method("_withhold", [reason])
        return nodes.Output([call]).set_lineno(line)

    def _withhold(self, reason: object) -> NoReturn:
        raise Withheld(f"the template says {NOT_SEND}{f': {reason}' if reason else ''}")


def build_environment() -> ImmutableSandboxedEnvironment:
    """Return the environment of payload templates: nothing is escaped."""
    return ImmutableSandboxedEnvironment(
        autoescape=False,
        undefined=_Missing,
        finalize=_printable,
        extensions=[NotSendTag],
        # The callers keep compiled templates.
        cache_size=0,
    )


def rendered(template: Template, attributes: Mapping[str, Any]) -> str:
    """Render a template with a customer's attributes.

    Raises:
        Withheld: The template withholds it, an attribute without a fallback is missing,
            or the template fails.
    """
    pieces: list[str] = []
    length = 0
    try:
        for piece in template.generate(UserAttribute=attributes):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_TEXT:
                raise Withheld(f"the template makes over {MAX_TEXT} characters")
    except Withheld:
        raise
    except UndefinedError as error:
        raise Withheld(str(error)) from error
    except Exception as error:
        # A template can fail in any way that Python can: all of them withhold.
        why = str(error)[:200] or type(error).__name__
        raise Withheld(f"the template fails: {why}") from error
    text = "".join(pieces)
    if NOT_SEND in text:
        raise Withheld(f"the template says {NOT_SEND}")
    return text


def _printable(value: Any) -> Any:
    """Return a value as text, unless its text would be Python's."""
    if value is None:
        raise Withheld("the template prints an attribute that is null")
    if isinstance(value, str | int | float | list | tuple | dict | Undefined):
        return value
    raise Withheld("the template prints an object that is no value")


# --- the program -----------------------------------------------------------------


def main() -> None:
    """Process orders, one line of JSON each, until the input ends."""
    _limit_memory()
    env = build_environment()
    compiled = lru_cache(maxsize=1024)(env.from_string)
    for line in sys.stdin.buffer:
        template, attributes = json.loads(line)
        _limit_time(MAX_SECONDS)
        try:
            answer = [rendered(compiled(template), Attributes(attributes)), None]
        except Exception as error:
            answer = [None, str(error)]
        _limit_time(0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _limit_time(seconds: float) -> None:
    # By default this signal ends the process, whatever it is doing.
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


if __name__ == "__main__":
    main()
