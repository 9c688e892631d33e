"""The tag's meaning, the same in every kind of Jinja environment."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from flask import Flask, render_template_string
from jinja2 import (
    ChainableUndefined,
    DebugUndefined,
    DictLoader,
    Environment,
    FileSystemBytecodeCache,
    ModuleLoader,
    StrictUndefined,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
    select_autoescape,
)
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from moe_middleware import Experience, Experiences
from moe_middleware.jinja import MoEngageExtension
from moe_middleware.jinja.lookups import ENVIRON
from moe_middleware.personalizer.current import current
from moe_middleware.sandbox import Sandbox
from moe_middleware.wsgi import EXPERIENCES

from .makers import experience
from .sites import PAGE, Site

EXTENSIONS = ["moe_middleware.jinja.MoEngageExtension"]

Templates = dict[str, str]
Kind = Callable[[Templates], Environment]


@pytest.fixture
def experiences() -> Iterator[Experiences]:
    """What the current request has."""
    made = Experiences(
        [experience("hero", Title="Sale", Html="<b>&", key="shadowed"), experience("b")]
    )
    token = current.set(made)
    yield made
    current.reset(token)


def plain(templates: Templates, **options: Any) -> Environment:
    return Environment(
        loader=DictLoader(templates),
        extensions=EXTENSIONS,
        autoescape=True,
        **options,
    )


def asynchronous(templates: Templates) -> Environment:
    return plain(templates, enable_async=True)


def sandboxed(templates: Templates) -> Environment:
    return SandboxedEnvironment(
        loader=DictLoader(templates), extensions=EXTENSIONS, autoescape=True
    )


def immutable_and_async(templates: Templates) -> Environment:
    return ImmutableSandboxedEnvironment(
        loader=DictLoader(templates),
        extensions=EXTENSIONS,
        autoescape=True,
        enable_async=True,
    )


def overlay(templates: Templates) -> Environment:
    """Return an async overlay of a sync environment, which brings the tag."""
    base = Environment(loader=DictLoader(templates), autoescape=True)
    return base.overlay(extensions=EXTENSIONS, enable_async=True)


def selected(templates: Templates) -> Environment:
    """Return one that learns only as it renders whether to escape."""
    return Environment(
        loader=DictLoader(templates),
        extensions=EXTENSIONS,
        autoescape=select_autoescape(default=True),
    )


def among_others(templates: Templates) -> Environment:
    others = ["jinja2.ext.i18n", "jinja2.ext.do", "jinja2.ext.loopcontrols"]
    env = plain(templates, trim_blocks=True, lstrip_blocks=True)
    for name in others:
        env.add_extension(name)
    env.add_extension(MoEngageExtension)
    return env


class NeverCompiles(Environment):
    def compile(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError("it was to be read from the cache")


@pytest.fixture(
    params=[
        *(plain, asynchronous, sandboxed, immutable_and_async, overlay, selected),
        *(among_others, "bytecode", "modules"),
    ],
    ids=lambda kind: getattr(kind, "__name__", kind),
)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """A way to make an environment."""

    def from_bytecode(templates: Templates) -> Environment:
        options: dict[str, Any] = {
            "loader": DictLoader(templates),
            "extensions": EXTENSIONS,
            "autoescape": True,
            "bytecode_cache": FileSystemBytecodeCache(str(tmp_path)),
        }
        compiling = Environment(**options)
        for name in templates:
            compiling.get_template(name)
        return NeverCompiles(**options)

    def from_modules(templates: Templates) -> Environment:
        plain(templates).compile_templates(tmp_path / "compiled", zip=None)
        return NeverCompiles(
            loader=ModuleLoader(tmp_path / "compiled"),
            extensions=EXTENSIONS,
            autoescape=True,
        )

    named = {"bytecode": from_bytecode, "modules": from_modules}
    found: Kind = named.get(request.param, request.param)
    return found


async def render(
    source: str, kind: Kind, others: Templates | None = None, /, **context: Any
) -> str:
    template = kind({"page": source, **(others or {})}).get_template("page")
    if template.environment.is_async:
        return await template.render_async(**context)
    return template.render(**context)


def keys(experiences: Experiences) -> list[str]:
    return [shown.key for shown in experiences.shown]


HERO = '{% experience "hero" as h %}{{ h.Title }}{% else %}default{% endexperience %}'


def titled(title: str) -> Experiences:
    return Experiences([experience("hero", Title=title)])


BODIES = {
    "named": ('{% experience "hero" as h %}{{ h.Title }}{% endexperience %}', "Sale"),
    "unnamed": (
        '{% experience "hero" %}{{ experience.Title }}{% endexperience %}',
        "Sale",
    ),
    "item": ('{% experience "hero" as h %}{{ h["Title"] }}{% endexperience %}', "Sale"),
    "item over field": (
        '{% experience "hero" as h %}{{ h["key"] }} {{ h.key }}{% endexperience %}',
        "shadowed hero",
    ),
    "missing value": (
        '{% experience "hero" as h %}[{{ h.Nothing }}]{% endexperience %}',
        "[]",
    ),
    "escaped": (
        '{% experience "hero" as h %}{{ h.Html }}{% endexperience %}',
        "&lt;b&gt;&amp;",
    ),
    "variable key": (
        '{% set k = "hero" %}{% experience k as h %}{{ h.Title }}{% endexperience %}',
        "Sale",
    ),
    "expression key": (
        '{% experience "he" ~ "ro" as h %}{{ h.Title }}{% endexperience %}',
        "Sale",
    ),
    "loop": (
        '{% for k in ["hero", "x", "b"] %}{% experience k as h %}{{ loop.index }}'
        "{{ h.Title }} {% else %}- {% endexperience %}{% endfor %}",
        "1Sale - 3Sale ",
    ),
    "nested": (
        '{% experience "hero" as h %}{% experience "b" as b %}{{ h.Html|length }}'
        "{{ b.Title }}{% endexperience %}{% endexperience %}",
        "4Sale",
    ),
    "nested in else": (
        '{% experience "x" %}{% else %}{% experience "b" %}b{% endexperience %}'
        "{% endexperience %}",
        "b",
    ),
    "macro": (
        "{% macro show(k) %}{% experience k as h %}{{ h.Title }}{% endexperience %}"
        '{% endmacro %}{{ show("hero") }}',
        "Sale",
    ),
    "click url": (
        '{% experience "hero" as h %}{{ h.click_url("/a?b&c", "Buy") }}'
        "{% endexperience %}",
        "/a?b&amp;c",
    ),
    "methods' arguments": (
        '{% experience "hero" as h %}{{ h.get("None", default="d") }} '
        '{{ h.click_url(*["/a"], **{"b_id": "b"}) }}[{{ h.attrs() }}]'
        "{% endexperience %}",
        "d /a[]",
    ),
    "method as a value": (
        '{% experience "hero" as h %}{% set get = h.get %}{{ get("Title") }}'
        "{% endexperience %}",
        "Sale",
    ),
    "commas": (
        '{% experience "hero", impression=true, as h %}{{ h.Title }}'
        "{% endexperience %}",
        "Sale",
    ),
}


@pytest.mark.parametrize(("source", "text"), BODIES.values(), ids=BODIES.keys())
async def test_the_body_is_rendered_with_the_payload(
    experiences: Experiences, kind: Kind, source: str, text: str
) -> None:
    assert await render(source, kind) == text
    assert experiences.shown


async def test_without_a_match_the_else_branch_is_rendered(
    experiences: Experiences, kind: Kind
) -> None:
    source = (
        '{% experience "x" as x %}{{ x.Title }}{% else %}default{% endexperience %}'
    )

    assert await render(source, kind) == "default"
    assert keys(experiences) == []


async def test_outside_of_a_request_the_else_branch_is_rendered(kind: Kind) -> None:
    source = '{% experience "hero" %}x{% else %}default{% endexperience %}'

    assert await render(source, kind) == "default"


@pytest.mark.parametrize("asking", ["impression=false", "impression=counting"])
async def test_impression_false_renders_without_counting(
    experiences: Experiences, kind: Kind, asking: str
) -> None:
    source = (
        f'{{% experience "hero" {asking} as h %}}{{{{ h.Title }}}}{{% endexperience %}}'
    )

    assert await render(source, kind, counting=False) == "Sale"
    assert keys(experiences) == []


async def test_names_do_not_leak_out_of_the_tag(
    experiences: Experiences, kind: Kind
) -> None:
    source = (
        '{% set h = "outer" %}{% experience "hero" as h %}{{ h.Title }}'
        "{% endexperience %}{{ h }}"
    )

    assert await render(source, kind) == "Saleouter"


async def test_includes_see_the_experience_and_may_hold_tags(
    experiences: Experiences, kind: Kind
) -> None:
    tag = '{% experience "b" as b %}{{ b.Title }}{% endexperience %}'
    source = (
        '{% experience "hero" as h %}{% include "inner" %}{% endexperience %}'
        '{% include "tag" without context %}'
    )

    text = await render(source, kind, {"inner": "[{{ h.Title }}]", "tag": tag})

    assert text == "[Sale]Sale"
    assert keys(experiences) == ["hero", "b"]


KEPT = {
    "included": ('{% include "tag" without context %}', {"tag": "{HERO}"}),
    "included further in": (
        '{% include "outer" without context %}',
        {"outer": '[{% include "inner" %}]', "inner": "{HERO}"},
    ),
    "included twice without": (
        '{% include "outer" without context %}',
        {"outer": '[{% include "inner" without context %}]', "inner": "{HERO}"},
    ),
    "a block of what is included": (
        '{% include "child" without context %}',
        {
            "child": '{% extends "base" %}{% block main %}{HERO}{% endblock %}',
            "base": "<{% block main %}{% endblock %}>",
        },
    ),
    "imported": (
        '{% import "values" as values %}{{ values.title }}',
        {"values": "{% set title %}{HERO}{% endset %}"},
    ),
    "imported by name": (
        '{% from "values" import title %}{{ title }}',
        {"values": "{% set title %}{HERO}{% endset %}"},
    ),
    "a macro's call that is imported": (
        '{% from "values" import title %}{{ title }}',
        {
            "values": '{% from "macros" import show %}{% set title = show() %}',
            "macros": "{% macro show() %}{HERO}{% endmacro %}",
        },
    ),
}


@pytest.mark.parametrize(("source", "others"), KEPT.values(), ids=KEPT.keys())
async def test_what_jinja_keeps_of_a_template_holds_no_visitors_own(
    kind: Kind, source: str, others: Templates
) -> None:
    others = {name: text.replace("{HERO}", HERO) for name, text in others.items()}
    page = kind({"page": source, **others}).get_template("page")

    for title in ("alice's", "bob's"):
        own = titled(title)
        token = current.set(own)
        text = await page.render_async() if page.environment.is_async else page.render()
        current.reset(token)
        assert title.replace("'", "&#39;") in text
        assert keys(own) == ["hero"]


async def test_a_template_without_tags_is_still_made_once(kind: Kind) -> None:
    numbers = itertools.count(1)
    env = kind(
        {
            "page": '{% include "part" without context %}'
            f'{{% from "part" import x %}}{{{{ x }}}} {HERO}',
            "part": "{% set x = next(numbers) %}{{ x }}",
        }
    )
    env.globals.update(next=next, numbers=numbers)
    page = env.get_template("page")

    for _ in range(2):
        text = await page.render_async() if env.is_async else page.render()
        assert text == "11 default"


async def test_imported_macros_find_the_request(
    experiences: Experiences, kind: Kind
) -> None:
    macros = (
        "{% macro show(k) %}{% experience k as h %}{{ h.Html }}{% endexperience %}"
        "{% endmacro %}"
    )
    source = '{% from "macros" import show %}{{ show("hero") }}'

    assert await render(source, kind, {"macros": macros}) == "&lt;b&gt;&amp;"
    assert keys(experiences) == ["hero"]


async def test_inherited_blocks_hold_tags_and_tags_outside_them_do_not_count(
    experiences: Experiences, kind: Kind
) -> None:
    base = "<{% block main %}{% endblock %}>"
    source = (
        '{% extends "base" %}'
        '{% experience "b" %}never put out{% endexperience %}'
        '{% block main %}{% experience "hero" as h %}{{ h.Title }}{% endexperience %}'
        "{% endblock %}"
    )

    assert await render(source, kind, {"base": base}) == "<Sale>"
    assert keys(experiences) == ["hero"]


async def test_a_block_within_the_body_works(
    experiences: Experiences, kind: Kind
) -> None:
    source = (
        '{% experience "hero" as h %}{% block main scoped %}{{ h.Title }}'
        "{% endblock %}{% endexperience %}"
    )

    assert await render(source, kind) == "Sale"


@pytest.mark.parametrize(
    "body",
    [
        "{% set h = other %}HERE",
        "{% for h in [other] %}HERE{% endfor %}",
        "{% with h = other %}HERE{% endwith %}",
        "{% macro shown(h) %}HERE{% endmacro %}{{ shown(other) }}",
        '{% experience "b" as h %}{% set h = other %}HERE{% endexperience %}',
        # Not scoped: its names are those of the whole template.
        "{% block part %}HERE{% endblock %}",
    ],
)
async def test_a_body_that_gives_its_name_another_value_reads_that_as_jinja_does(
    experiences: Experiences, kind: Kind, body: str
) -> None:
    method = "{{ h.items is callable }} {{ h.title }}"
    source = f'{{% experience "hero" as h %}}{body}{{% endexperience %}}'
    other = {"items": "an item", "title": "Tea"}

    page = source.replace("HERE", method)
    assert await render(page, kind, h=other, other=other) == "True Tea"


@pytest.mark.parametrize("key", [None, 7, ["hero"]])
async def test_a_key_that_is_no_text_renders_the_else_branch_and_says_so(
    experiences: Experiences,
    kind: Kind,
    key: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for asking in BOTH_WAYS:
        source = (
            f"{{% experience key {asking} %}}x{{% else %}}default{{% endexperience %}}"
        )
        assert await render(source, kind, key=key) == "default"
    assert f"experience_key_invalid given={type(key).__name__} template=page:1" in (
        caplog.text
    )


BOTH_WAYS = ["", "impression=not uncounted"]
"""The tag finds and counts in one call, unless it may depend on what was found."""


@pytest.mark.parametrize("asking", BOTH_WAYS)
async def test_a_key_that_was_not_asked_for_says_what_to_do(
    asking: str, experiences: Experiences, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    await render(f'\n{{% experience "x" {asking} %}}{{% endexperience %}}', kind)

    assert "experience_not_requested key=x template=page:2: name it" in caplog.text


class Proxy:
    """Stands for a request where there is none, and raises at every question."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("working outside of request context")


REQUESTS: dict[str, Callable[[Experiences], Any]] = {
    "ASGI": lambda it: SimpleNamespace(scope={"state": {"experiences": it}}),
    "WSGI": lambda it: SimpleNamespace(environ={ENVIRON: it}),
    "Django": lambda it: SimpleNamespace(environ={}, META={}, experiences=it),
    "Sanic": lambda it: SimpleNamespace(ctx=SimpleNamespace(experiences=it)),
    "Sanic as ASGI": lambda it: SimpleNamespace(
        ctx=SimpleNamespace(), scope={"state": {"experiences": it}}
    ),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS.keys())
async def test_the_experiences_of_the_context_come_before_the_requests(
    kind: Kind, request_of: Callable[[Experiences], Any]
) -> None:
    token = current.set(titled("here"))
    request = request_of(titled("request"))

    assert await render(HERO, kind) == "here"
    assert await render(HERO, kind, request=request) == "request"
    given = {"request": request, "experiences": titled("given")}
    assert await render(HERO, kind, **given) == "given"
    current.reset(token)


WITHOUT = {
    "proxy": Proxy(),
    "nothing": None,
    "a quote": "for a bathroom",
    "OAuth": SimpleNamespace(scope="read write"),
    "ASGI": SimpleNamespace(scope={"type": "http"}),
    "ASGI of another's": SimpleNamespace(scope={"state": {"experiences": ["Goa"]}}),
    "WSGI": SimpleNamespace(environ={}),
    "no environ": SimpleNamespace(environ=7, scope={}),
    "Django of another's": SimpleNamespace(experiences=["Goa"], environ={}),
}


@pytest.mark.parametrize("request_without", WITHOUT.values(), ids=WITHOUT.keys())
async def test_a_request_without_any_leaves_it_to_the_current_one(
    experiences: Experiences, request_without: Any
) -> None:
    context = {"request": request_without, "experiences": ["a trip to Goa"]}

    assert await render(HERO, plain, **context) == "Sale"


def test_the_doors_agree_on_the_name_in_the_environ() -> None:
    assert ENVIRON == EXPERIENCES


def test_flasks_proxies_are_no_trouble_outside_of_a_request() -> None:
    app = Flask(__name__)
    app.jinja_env.add_extension(MoEngageExtension)
    app.jinja_env.loader = DictLoader(
        {"macros": f"{{% macro show() %}}{HERO}{{% endmacro %}}"}
    )
    importing = '{% from "macros" import show %}{{ show() }}'

    with app.app_context():
        assert render_template_string(HERO + importing) == "defaultdefault"
    with app.test_request_context(environ_base={ENVIRON: titled("request")}):
        assert render_template_string(HERO + importing) == "requestrequest"


async def test_visitors_rendered_at_the_same_time_get_their_own() -> None:
    page = asynchronous(
        {"page": "{{ wait() }}{% import 'm' as m %}" + HERO + "{{ m.show() }}"}
        | {"m": f"{{% macro show() %}}{HERO}{{% endmacro %}}"}
    ).get_template("page")

    async def visit(title: str) -> tuple[str, list[str]]:
        own = titled(title)
        current.set(own)
        text = await page.render_async(wait=lambda: asyncio.sleep(0, ""))
        return text, keys(own)

    visits = await asyncio.gather(*(visit(f"{number} ") for number in range(20)))

    assert visits == [(f"{number} " * 2, ["hero"]) for number in range(20)]


async def test_streamed_bodies_count_as_they_are_rendered(
    experiences: Experiences,
) -> None:
    source = 'first{% experience "hero" as h %}{{ h.Title }}{% endexperience %}last'
    page = plain({"page": source}).get_template("page")
    async_page = asynchronous({"page": source}).get_template("page")

    async def slowly(pieces: Iterator[str]) -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    for pieces in (
        slowly(page.generate()),
        slowly(page.stream()),
        async_page.generate_async(),
    ):
        own = titled("Sale")
        token = current.set(own)
        assert await anext(pieces) == "first"
        assert own.shown == ()
        rest = [piece async for piece in pieces]
        assert "".join(rest) == "Salelast"
        assert keys(own) == ["hero"]
        current.reset(token)


async def test_a_body_that_breaks_off_before_the_tag_counts_nothing() -> None:
    own = titled("Sale")
    page = plain({"page": f"first{HERO}"}).get_template("page")

    pieces = page.generate(experiences=own)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]

    assert own.shown == ()


LATER = {
    "caller": (
        "{% macro frame() %}<{{ caller() }}>{% endmacro %}"
        f"{{% call frame() %}}{HERO}{{% endcall %}}",
        "<Sale>",
    ),
    "call within the body": (
        "{% macro frame() %}<{{ caller() }}>{% endmacro %}"
        '{% experience "hero" as h %}{% call frame() %}{{ h.Title }}{% endcall %}'
        "{% endexperience %}",
        "<Sale>",
    ),
    "recursive macro": (
        '{% macro down(n) %}{% experience "hero" as h %}{{ n }}{{ h.Title }}'
        "{% if n %}{{ down(n - 1) }}{% endif %}{% endexperience %}{% endmacro %}"
        "{{ down(2) }}",
        "2Sale1Sale0Sale",
    ),
    "recursive loop": (
        '{% for n in [1, [2]] recursive %}{% experience "hero" as h %}'
        "{% if n is iterable %}({{ loop(n) }}){% else %}{{ n }}{{ h.Title }}{% endif %}"
        "{% endexperience %}{% endfor %}",
        "1Sale(2Sale)",
    ),
    "set block": (f"{{% set x %}}{HERO}{{% endset %}}[{{{{ x }}}}]", "[Sale]"),
    "filter block": (f"{{% filter upper %}}{HERO}{{% endfilter %}}", "SALE"),
    "with": (f"{{% with h = 1 %}}{HERO}{{{{ h }}}}{{% endwith %}}", "Sale1"),
    "set in the body": (
        '{% experience "hero" as h %}{% set t = h.Title %}{{ t }}{% endexperience %}',
        "Sale",
    ),
    "namespace": (
        "{% set ns = namespace(t='') %}"
        '{% experience "hero" as h %}{% set ns.t = h.Title %}{% endexperience %}'
        "{{ ns.t }}",
        "Sale",
    ),
    "autoescape chosen late": (
        "{% autoescape no %}"
        '{% experience "hero" as h %}{{ h.Html }}{% endexperience %}'
        "{% endautoescape %}",
        "<b>&",
    ),
    "whitespace control": (
        'a  {%- experience "hero" as h -%}  b  {%- endexperience -%}  c',
        "abc",
    ),
}


@pytest.mark.parametrize(("source", "text"), LATER.values(), ids=LATER.keys())
async def test_the_body_works_wherever_jinja_puts_it(
    experiences: Experiences, kind: Kind, source: str, text: str
) -> None:
    assert await render(source, kind, no=False) == text
    assert keys(experiences) == ["hero"]


async def test_super_brings_the_tags_of_the_parent(
    experiences: Experiences, kind: Kind
) -> None:
    base = f"<{{% block main %}}{HERO}{{% endblock %}}>"
    source = '{% extends "base" %}{% block main %}[{{ super() }}]{% endblock %}'

    assert await render(source, kind, {"base": base}) == "<[Sale]>"


async def test_a_parent_chosen_late_leaves_out_what_is_outside_of_blocks(
    experiences: Experiences, kind: Kind
) -> None:
    source = (
        '{% if extending %}{% extends "base" %}{% endif %}'
        '{% experience "b" %}alone{% endexperience %}'
    )

    assert await render(source, kind, {"base": "base"}, extending=True) == "base"
    assert keys(experiences) == []
    assert await render(source, kind, {"base": "base"}, extending=False) == "alone"
    assert keys(experiences) == ["b"]


def test_a_macro_called_long_after_its_template_finds_the_request_of_the_call(
    experiences: Experiences,
) -> None:
    macros: Any = (
        plain({"m": f"{{% macro show() %}}{HERO}{{% endmacro %}}"})
        .get_template("m")
        .module
    )

    assert str(macros.show()) == "Sale"
    token = current.set(titled("another's"))
    assert str(macros.show()) == "another&#39;s"
    current.reset(token)


def test_line_statements_are_tags_too(experiences: Experiences) -> None:
    page = plain(
        {"page": '# experience "hero" as h\n{{ h.Title }}\n# else\nx\n# endexperience'},
        line_statement_prefix="#",
    ).get_template("page")

    assert page.render().strip() == "Sale"


def test_translations_stand_in_the_body(experiences: Experiences) -> None:
    env: Any = among_others({})
    env.install_gettext_callables(
        lambda text: text.replace("Hello", "Namaste"),
        lambda one, many, n: one if n == 1 else many,
        newstyle=True,
    )
    source = (
        '{% experience "hero" as h %}{% trans to=h.Html %}Hello {{ to }}{% endtrans %}'
        "{% endexperience %}"
    )

    assert env.from_string(source).render() == "Namaste &lt;b&gt;&amp;"
    assert [found[2][0] for found in env.extract_translations(source)] == [
        "Hello %(to)s"
    ]


def test_native_environments_keep_the_values_kind() -> None:
    env = NativeEnvironment(extensions=EXTENSIONS)
    day = date(2024, 9, 2)
    own = Experiences([experience("hero", Day=day, Sizes=[36, 37])])

    def value(name: str) -> Any:
        tag = f'{{% experience "hero" as h %}}{{{{ h.{name} }}}}{{% endexperience %}}'
        return env.from_string(tag).render(experiences=own)

    assert value("Day") is day
    assert value("Sizes") == [36, 37]
    assert keys(own) == ["hero"]


def test_a_finalize_of_the_environment_sees_the_templates_own_outputs_alone() -> None:
    env = plain({}, finalize=lambda value: "nothing" if value in ("", None) else value)
    own = Experiences([experience("hero", Title=None)])

    assert env.from_string(HERO).render(experiences=own) == "nothing"
    assert keys(own) == ["hero"]


def test_autoescape_off_is_the_templates_decision(experiences: Experiences) -> None:
    env = Environment(extensions=EXTENSIONS)

    source = '{% experience "hero" as h %}{{ h.Html }}{% endexperience %}'
    assert env.from_string(source).render() == "<b>&"


@pytest.mark.parametrize(
    ("undefined", "looked_up", "text"),
    [
        (Undefined, "h.Missing", ""),
        (Undefined, 'h["Missing one"]', ""),
        (Undefined, 'h.Missing|default("d")', "d"),
        (Undefined, "h.Missing.more", UndefinedError),
        (ChainableUndefined, "h.Missing.more", ""),
        (DebugUndefined, "h.Missing", "no such element"),
        (StrictUndefined, "h.Missing", UndefinedError),
        (StrictUndefined, 'h["Missing one"]', UndefinedError),
        (StrictUndefined, 'h.Missing|default("d")', "d"),
        (StrictUndefined, "h.Title", "Sale"),
    ],
)
def test_a_value_that_is_missing_is_what_the_environment_calls_undefined(
    experiences: Experiences,
    undefined: type[Undefined],
    looked_up: str,
    text: str | type[Exception],
) -> None:
    env = plain({}, undefined=undefined)
    page = env.from_string(
        f'{{% experience "hero" as h %}}{{{{ {looked_up} }}}}{{% endexperience %}}'
    )

    if isinstance(text, str):
        assert text in page.render()
        assert text or page.render() == ""
    else:
        with pytest.raises(text, match="Missing"):
            page.render()


def test_a_key_that_is_undefined_is_a_mistake_to_strict_environments_alone(
    experiences: Experiences, caplog: pytest.LogCaptureFixture
) -> None:
    source = "{% experience nope %}x{% else %}default{% endexperience %}"

    assert plain({}).from_string(source).render() == "default"
    assert "experience_key_invalid given=Undefined template=<template>:1" in caplog.text
    with pytest.raises(UndefinedError, match="nope"):
        plain({}, undefined=StrictUndefined).from_string(source).render()


def test_tools_see_no_variable_of_ours() -> None:
    env = plain({})
    source = (
        "{% experience key as h %}{{ h.Title }}{{ inside }}{% else %}{{ h.reason }}"
        "{% endexperience %}"
        '{% experience "b" %}{{ experience.Title }}{% endexperience %}'
    )

    assert meta.find_undeclared_variables(env.parse(source)) == {"key", "inside"}


def test_expressions_reach_the_payload(experiences: Experiences) -> None:
    title = plain({}).compile_expression('experiences["hero"].Title')

    assert title(experiences=experiences) == "Sale"


@pytest.mark.parametrize(
    "tried",
    ["h.Sizes.append(1)", "h.payload.update(x=1)", "h.__class__.__mro__"],
)
def test_an_immutable_sandbox_guards_the_payload(tried: str) -> None:
    env = ImmutableSandboxedEnvironment(extensions=EXTENSIONS, autoescape=True)
    own = Experiences([experience("hero", Sizes=[36])])
    page = env.from_string(
        f'{{% experience "hero" as h %}}{{{{ {tried} }}}}{{% endexperience %}}'
    )

    with pytest.raises((SecurityError, UndefinedError)):
        page.render(experiences=own)

    assert own["hero"].payload == {"Sizes": [36]}


async def test_a_sync_template_in_a_thread_waits_for_what_is_on_its_way(
    sandbox: Sandbox,
) -> None:
    page = plain({"page": PAGE}).get_template("page")

    def handler(request: Request) -> Response:
        return HTMLResponse(page.render(request=request))

    shop = Starlette(routes=[Route("/", handler)])
    site = Site(app=shop, fetch={"prefetch": "concurrent", "timeout": 30})
    sandbox.fault(path="fetch", latency=0.05)

    response = await site.get(customer="alice")

    assert response.text.startswith("<h1>")
    assert "Welcome" not in response.text


def test_adding_the_extension_again_changes_nothing(experiences: Experiences) -> None:
    env = plain({})
    kind = env.template_class

    env.add_extension(MoEngageExtension)
    over = env.overlay(extensions=EXTENSIONS)

    assert env.template_class is over.template_class is kind
    assert over.from_string(HERO).render() == "Sale"


@pytest.mark.parametrize(
    ("source", "lineno", "message"),
    [
        ("\n{% experience %}{% endexperience %}", 2, ""),
        ('\n\n{% experience "a" as %}{% endexperience %}', 3, ""),
        ('\n{% experience "a" foo %}{% endexperience %}', 2, "takes a key"),
        ('\n{% experience "a" as true %}{% endexperience %}', 2, ""),
        ('\n{% experience "a" impression %}{% endexperience %}', 2, ""),
        ('a\n{% experience "a" %}\n\n', 2, ""),
        ('{% experience "a" %}\n{% endfor %}', 2, ""),
    ],
)
def test_a_syntax_mistake_names_its_line(
    source: str, lineno: int, message: str
) -> None:
    env = Environment(extensions=EXTENSIONS, autoescape=True)

    with pytest.raises(TemplateSyntaxError, match=re.escape(message) or ".") as raised:
        env.from_string(source)

    assert raised.value.lineno == lineno


def test_an_error_in_the_body_names_the_templates_line() -> None:
    env = Environment(extensions=EXTENSIONS, autoescape=True)
    template = env.from_string(
        '\n{% experience "a" %}{% else %}\n\n{{ 1 / 0 }}{% endexperience %}'
    )

    with pytest.raises(ZeroDivisionError) as raised:
        template.render()

    lines = [
        frame.lineno for frame in raised.traceback if "template" in str(frame.path)
    ]
    assert lines[-1] == 3


def test_an_experience_in_a_template_is_no_markup() -> None:
    shown = Experience(key="k", payload={"x": "<"}, experience_context={"cid": "1"})

    assert not hasattr(shown.payload["x"], "__html__")
