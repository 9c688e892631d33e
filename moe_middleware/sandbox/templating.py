"""Payload templates over a customer's attributes: Jinja with its claws cut.

A template may read, choose, loop a little and use a few filters. It reaches no Python
object beyond the attributes, and its steps and the length of what it makes are limited:
whatever it says, rendering ends soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    UndefinedError,
    nodes,
    pass_context,
)
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from .template_limits import (
    LIMITED_FILTERS,
    MAX_ITEMS,
    MAX_TEXT,
    MAX_WORK,
    Withheld,
    check_operands,
    fitting,
    joined,
    limited_range,
    printable,
    size_of,
    too_long,
)

NOT_SEND = "MOE_NOT_SEND"
"""What a template says, as a tag or as a default, to withhold its experience."""

MAX_TEMPLATE = 10_000
"""The longest template, in characters."""

MAX_NESTING = 40
"""How deep brackets and blocks may nest in a template."""

_METER = "moe meter"


def is_template(text: str) -> bool:
    """Whether a text has anything to render."""
    return "{{" in text or "{%" in text or "{#" in text


def check_template(text: str) -> None:
    """Refuse a text that is no template that we render.

    Raises:
        ValueError: It is none; the text says why.
    """
    _compiled(text)


def render(text: str, attributes: Mapping[str, Any]) -> str:
    """Return the text with its template rendered.

    Args:
        text: The template.
        attributes: What ``UserAttribute`` finds; one that is None counts as missing.

    Raises:
        Withheld: The template says so, or an attribute without a fallback is missing,
            or the template goes too far.
    """
    meter = _Meter(min(MAX_ITEMS, max(10, MAX_WORK // max(1, len(text)))))
    names = {"UserAttribute": _Attributes(attributes), _METER: meter}
    try:
        rendered = "".join(_limited(_compiled(text).generate(names)))
    except Withheld:
        raise
    except UndefinedError as error:
        raise Withheld(str(error)) from error
    except Exception as error:
        # A template fails in as many ways as Python does: all of them withhold.
        raise Withheld(
            f"the template fails: {error or type(error).__name__}"
        ) from error
    if NOT_SEND in rendered:
        raise Withheld(f"the template says {NOT_SEND}")
    return rendered


class _Attributes(Mapping[str, Any]):
    """A customer's attributes, as templates may reach them."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = attributes

    def __getitem__(self, name: str) -> Any:
        value = self._attributes[name]
        if value is None:
            raise KeyError(name)
        if size_of(value) > MAX_TEXT:
            raise Withheld(f"the attribute {name!r} is too large for a template")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)


class _Missing(StrictUndefined):
    """What is not there: an error wherever it is used without a default."""

    @property
    def _undefined_message(self) -> str:
        return f"{self._undefined_name!r} is missing and has no default"


class _Meter:
    """Counts the turns of one rendering's loops."""

    def __init__(self, turns: int) -> None:
        self._turns = self._left = turns

    def turns(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                about = "turns, all that a template of its length may"
                raise Withheld(f"the template's loops take over {self._turns} {about}")
            yield item


class _NotSendTag(Extension):
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


class _Environment(SandboxedEnvironment):
    """Allows what a payload needs, and nothing that could take long."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if callable(value):
            return attr in _METHODS and isinstance(obj, _OWNERS)
        return super().is_safe_attribute(obj, attr, value)

    def is_safe_callable(self, obj: Any) -> bool:
        # Methods were looked at when the template got hold of them.
        owner = getattr(obj, "__self__", None)
        return obj is limited_range or isinstance(owner, (*_OWNERS, _NotSendTag))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operands(operator, left, right)
        return fitting(super().call_binop(context, operator, left, right))

    def _parse(
        self, source: str, name: str | None, filename: str | None
    ) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all(_FORBIDDEN):
            kind = type(node).__name__.lower()
            raise ValueError(f"line {node.lineno}: a payload has no use for {kind}")
        for loop in list(tree.find_all(nodes.For)):
            if loop.recursive:
                raise ValueError(f"line {loop.lineno}: a loop may not be recursive")
            loop.iter = _filtered(loop.iter, "_metered")
        _with_limited_joints(tree)
        return tree


_OWNERS = (str, dict, _Attributes)
_METHODS = frozenset(
    ("capitalize", "endswith", "get", "items", "keys", "lower", "lstrip", "rstrip",
     "startswith", "strip", "title", "upper", "values")
)  # fmt: skip

_FORBIDDEN = (
    nodes.Macro,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.Import,
    nodes.FromImport,
    nodes.Include,
    nodes.Extends,
    nodes.Block,
    nodes.AssignBlock,
)


def _filtered(expression: Any, name: str) -> nodes.Filter:
    found = nodes.Filter(expression, name, [], [], None, None)
    found.set_lineno(expression.lineno)
    return found


def _with_limited_joints(node: Any) -> Any:
    """Let every ``a ~ b`` pass through a filter that knows how long text may be."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            inner = [
                _with_limited_joints(one) if isinstance(one, nodes.Node) else one
                for one in value
            ]
            setattr(node, name, inner)
        elif isinstance(value, nodes.Node):
            setattr(node, name, _with_limited_joints(value))
    if isinstance(node, nodes.Concat):
        parts = nodes.List(node.nodes).set_lineno(node.lineno)
        return _filtered(parts, "_joint")
    return node


@pass_context
def _metered(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    meter = context.get(_METER)
    assert isinstance(meter, _Meter)
    return meter.turns(items)


def _build_environment() -> _Environment:
    env = _Environment(
        autoescape=False,
        undefined=_Missing,
        finalize=printable,
        extensions=[_NotSendTag],
        # Constants are worked out while rendering, under its limits.
        optimized=False,
        cache_size=0,
    )
    env.filters = {**LIMITED_FILTERS, "_metered": _metered, "_joint": joined}
    env.globals = {"range": limited_range}
    return env


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Template:
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"a template may have at most {MAX_TEMPLATE} characters")
    if _nesting(text) > MAX_NESTING:
        raise ValueError(f"a template may nest at most {MAX_NESTING} levels deep")
    try:
        return _ENVIRONMENT.from_string(text)
    except TemplateError as error:
        raise ValueError(f"this is no template: {error}") from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ValueError("this template is too deeply nested") from error


def _nesting(text: str) -> int:
    """Return how deep brackets nest at most."""
    depth = deepest = 0
    for letter in text:
        if letter in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in ")]}":
            depth = max(0, depth - 1)
    return deepest


def _limited(chunks: Iterable[str]) -> Iterator[str]:
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > MAX_TEXT:
            raise too_long()
        yield chunk


_ENVIRONMENT = _build_environment()
