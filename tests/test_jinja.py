"""The tag's meaning, the same in every kind of Jinja environment."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
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
from jinja2.sandbox import ImmutableSandboxedEnvironment

from moe_middleware import Experiences
from moe_middleware.jinja import MoEngageExtension
from moe_middleware.jinja.lookups import ENVIRON
from moe_middleware.personalizer.current import current

from .makers import experience
from .rows import Failures, each

EXTENSIONS = ["moe_middleware.jinja.MoEngageExtension"]

Templates = dict[str, str]
Kind = Callable[[Templates], Environment]


@contextmanager
def given() -> Iterator[Experiences]:
    """Give these to the current request."""
    made = Experiences(
        [experience("hero", Title="Sale", Html="<b>&", key="shadowed"), experience("b")]
    )
    token = current.set(made)
    yield made
    current.reset(token)


@pytest.fixture
def experiences() -> Iterator[Experiences]:
    with given() as made:
        yield made


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
    """Return an async one with the strictest sandbox."""
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
    env = plain(templates, trim_blocks=True, lstrip_blocks=True)
    for name in ("i18n", "do", "loopcontrols"):
        env.add_extension(f"jinja2.ext.{name}")
    env.add_extension(MoEngageExtension)
    return env


class NeverCompiles(Environment):
    def compile(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError("it was to be read from the cache")


def from_bytecode(templates: Templates, folder: Path) -> Environment:
    options: dict[str, Any] = {
        "loader": DictLoader(templates),
        "extensions": EXTENSIONS,
        "autoescape": True,
        "bytecode_cache": FileSystemBytecodeCache(str(folder)),
    }
    compiling = Environment(**options)
    for name in templates:
        compiling.get_template(name)
    return NeverCompiles(**options)


def from_modules(templates: Templates, folder: Path) -> Environment:
    plain(templates).compile_templates(folder / "compiled", zip=None)
    return NeverCompiles(
        loader=ModuleLoader(folder / "compiled"),
        extensions=EXTENSIONS,
        autoescape=True,
    )


@pytest.fixture(params=[plain, sandboxed], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The two kinds of code that Jinja compiles to; the second one is guarded, too."""
    found: Kind = request.param
    return found


async def render(
    source: str, kind: Kind, others: Templates | None = None, /, **context: Any
) -> str:
    templates = {"page": source, **(others or {})}
    env = kind({name: tags(text) for name, text in templates.items()})
    page = env.get_template("page")
    return (
        await page.render_async(**context) if env.is_async else page.render(**context)
    )


def keys(experiences: Experiences) -> list[str]:
    return [shown.key for shown in experiences.shown]


HERO = '{% experience "hero" as h %}{{ h.Title }}{% else %}default{% endexperience %}'


def titled(title: str) -> Experiences:
    return Experiences([experience("hero", Title=title)])


def tags(text: str) -> str:
    """Write out what is shorter in these tables."""
    return text.replace("@hero", '{% experience "hero" as h %}').replace(
        "@end", "{% endexperience %}"
    )


TEMPLATES = {
    "inner": "[{{ h.Title }}]",
    "tag": '{% experience "b" as b %}{{ b.Title }}@end',
    "macros": "{% macro show(k) %}{% experience k as h %}{{ h.Html }}@end"
    "{% endmacro %}",
    "base": "<{% block main %}{% endblock %}>",
    "personal": "<{% block main %}@hero{{ h.Title }}@end{% endblock %}>",
}
OTHER = {"items": "an item", "title": "Tea"}
SHADOWED = "{{ h.items is callable }} {{ h.title }}"
"""What a page reads of ``other``, where it has the experience's name."""

PAGES = [
    ('{% experience "hero" %}{{ experience.Title }}@end', "Sale | hero"),
    ('@hero{{ h["Title"] }}@end', "Sale | hero"),
    ('@hero{{ h["key"] }} {{ h.key }}@end', "shadowed hero | hero"),
    ('{% set k = "hero" %}{% experience k as h %}{{ h.Title }}@end', "Sale | hero"),
    ('{% experience "he" ~ "ro" as h %}{{ h.Title }}@end', "Sale | hero"),
    ('{% experience "hero", impression=true, as h %}{{ h.Title }}@end', "Sale | hero"),
    ('{% experience "hero" impression=false as h %}{{ h.Title }}@end', "Sale | "),
    ('{% experience "hero" impression=no as h %}{{ h.Title }}@end', "Sale | "),
    ('{% experience "x" as x %}{{ x.Title }}{% else %}none@end', "none | "),
    ("@hero{{ h.Title }}@end {{ h.title }}", "Sale Tea | hero"),
    (
        '{% for k in ["hero", "x", "b"] %}{% experience k as h %}{{ loop.index }}'
        "{{ h.Title }} {% else %}- @end{% endfor %}",
        "1Sale - 3Sale  | hero b",
    ),
    (
        '@hero{% experience "b" as b %}{{ h.Html|length }}{{ b.Title }}@end@end',
        "4Sale | hero b",
    ),
    ('{% experience "x" %}{% else %}{% experience "b" %}b@end@end', "b | b"),
    ('@hero{{ h.click_url("/a?b&c", "Buy") }}@end', "/a?b&amp;c | hero"),
    (
        '@hero{{ h.get("None", default="d") }} '
        '{{ h.click_url(*["/a"], **{"b_id": "b"}) }}[{{ h.attrs() }}]@end',
        "d /a[] | hero",
    ),
    ('@hero{% set get = h.get %}{{ get("Title") }}@end', "Sale | hero"),
    # With templates besides.
    ('@hero{% include "inner" %}@end', "[Sale] | hero"),
    ('{% include "tag" without context %}', "Sale | b"),
    ('{% from "macros" import show %}{{ show("hero") }}', "&lt;b&gt;&amp; | hero"),
    (
        '{% extends "base" %}{% experience "b" %}never put out@end'
        "{% block main %}@hero{{ h.Title }}@end{% endblock %}",
        "<Sale> | hero",
    ),
    (
        '{% if not no %}{% extends "base" %}{% endif %}'
        '{% experience "b" %}never put out@end',
        "<> | ",
    ),
    (
        '{% if no %}{% extends "base" %}{% endif %}{% experience "b" %}alone@end',
        "alone | b",
    ),
    (
        '{% extends "personal" %}{% block main %}[{{ super() }}]{% endblock %}',
        "<[Sale]> | hero",
    ),
    ("@hero{% block main scoped %}{{ h.Title }}{% endblock %}@end", "Sale | hero"),
    # The body gives another value to the name.
    (f"@hero{{% set h = other %}}{SHADOWED}@end", "True Tea | hero"),
    (f"@hero{{% for h in [other] %}}{SHADOWED}{{% endfor %}}@end", "True Tea | hero"),
    (f"@hero{{% with h = other %}}{SHADOWED}{{% endwith %}}@end", "True Tea | hero"),
    (
        f"@hero{{% macro m(h) %}}{SHADOWED}{{% endmacro %}}{{{{ m(other) }}}}@end",
        "True Tea | hero",
    ),
    (
        f'@hero{{% experience "b" as h %}}{{% set h = other %}}{SHADOWED}@end@end',
        "True Tea | hero b",
    ),
    # Not scoped: its names are those of the whole template.
    (f"@hero{{% block part %}}{SHADOWED}{{% endblock %}}@end", "True Tea | hero"),
    # Jinja puts the body somewhere else.
    (
        "{% macro frame() %}<{{ caller() }}>{% endmacro %}"
        "{% call frame() %}@hero{{ h.Title }}@end{% endcall %}",
        "<Sale> | hero",
    ),
    (
        "{% macro frame() %}<{{ caller() }}>{% endmacro %}"
        "@hero{% call frame() %}{{ h.Title }}{% endcall %}@end",
        "<Sale> | hero",
    ),
    (
        "{% macro down(n) %}@hero{{ n }}{{ h.Title }}"
        "{% if n %}{{ down(n - 1) }}{% endif %}@end{% endmacro %}{{ down(2) }}",
        "2Sale1Sale0Sale | hero",
    ),
    (
        "{% for n in [1, [2]] recursive %}@hero{% if n is iterable %}({{ loop(n) }})"
        "{% else %}{{ n }}{{ h.Title }}{% endif %}@end{% endfor %}",
        "1Sale(2Sale) | hero",
    ),
    ("{% set x %}@hero{{ h.Title }}@end{% endset %}[{{ x }}]", "[Sale] | hero"),
    ("{% filter upper %}@hero{{ h.Title }}@end{% endfilter %}", "SALE | hero"),
    (
        "{% set ns = namespace(t='') %}@hero{% set ns.t = h.Title %}@end{{ ns.t }}",
        "Sale | hero",
    ),
    ("{% autoescape no %}@hero{{ h.Html }}@end{% endautoescape %}", "<b>& | hero"),
    (
        'a  {%- experience "hero" as h -%}  b  {%- endexperience -%}  c',
        "abc | hero",
    ),
]
"""Pages, and for each its text and the keys that count."""


async def test_a_page_is_rendered_and_what_it_shows_counts(kind: Kind) -> None:
    failed = Failures()
    for source, expected in PAGES:
        with failed.of({"source": source}), given() as experiences:
            text = await render(source, kind, TEMPLATES, h=OTHER, other=OTHER, no=False)
            assert f"{text} | {' '.join(keys(experiences))}" == expected
    failed.tell()


@pytest.mark.parametrize(
    "kind", [asynchronous, overlay, selected, among_others, from_bytecode, from_modules]
)
async def test_every_kind_of_environment_renders_the_same(
    experiences: Experiences, tmp_path: Path, kind: Callable[..., Environment]
) -> None:
    compiled = (tmp_path,) if kind in (from_bytecode, from_modules) else ()
    page = (
        '{% extends "base" %}{% from "macros" import show %}{% block main %}'
        '{{ show("hero") }}{% include "tag" without context %}'
        '@hero{{ h.click_url("/a?b&c") }}[{{ h.Nothing }}]'
        '{% experience "x" impression=h.Title %}{% else %}{{ h.Title }}@end@end'
        "{% endblock %}"
    )

    def made(templates: Templates) -> Environment:
        return kind(templates, *compiled)

    assert await render(page, made, TEMPLATES) == "<&lt;b&gt;&amp;Sale/a?b&amp;c[]Sale>"
    assert keys(experiences) == ["hero", "b"]


async def test_the_names_in_bytecode_of_earlier_versions_do_what_they_did(
    experiences: Experiences, kind: Kind
) -> None:
    earlier = (
        '{% set a = "hero"|moe_middleware.meet(1, true) %}{{ a.Title }}'
        '{% set b = "b"|moe_middleware.meet(1, false) %}'
        '{% set found = "x"|moe_middleware.meet(1, true) %}{{ found.reason }}'
        '{% set c = "hero"|moe_middleware.find(1) %}{{ c[0].Title }}'
        "{{ c[1]|moe_middleware.show(b, true) }}"
    )

    assert await render(earlier, kind) == "Salenot_requestedSale"
    assert keys(experiences) == ["hero", "b"]


async def test_outside_of_a_request_the_else_branch_is_rendered(kind: Kind) -> None:
    assert await render(HERO, kind) == "default"


KEPT = [
    ('{% include "tag" without context %}', {"tag": HERO}),
    (
        '{% include "outer" without context %}',
        {"outer": '[{% include "inner" %}]', "inner": HERO},
    ),
    (
        '{% include "outer" without context %}',
        {"outer": '[{% include "inner" without context %}]', "inner": HERO},
    ),
    (
        '{% include "child" without context %}',
        {
            "child": f'{{% extends "base" %}}{{% block main %}}{HERO}{{% endblock %}}',
            "base": "<{% block main %}{% endblock %}>",
        },
    ),
    (
        '{% import "values" as values %}{{ values.title }}',
        {"values": f"{{% set title %}}{HERO}{{% endset %}}"},
    ),
    (
        '{% from "values" import title %}{{ title }}',
        {
            "values": '{% from "macros" import show %}{% set title = show() %}',
            "macros": f"{{% macro show() %}}{HERO}{{% endmacro %}}",
        },
    ),
]


@pytest.mark.parametrize(("source", "others"), KEPT)
async def test_what_jinja_keeps_of_a_template_holds_no_visitors_own(
    kind: Kind, source: str, others: Templates
) -> None:
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


@each("request_of", REQUESTS.values())
async def test_the_experiences_of_the_context_come_before_the_requests(
    request_of: Callable[[Experiences], Any],
) -> None:
    token = current.set(titled("here"))
    request = request_of(titled("request"))

    assert await render(HERO, plain) == "here"
    assert await render(HERO, plain, request=request) == "request"
    given = {"request": request, "experiences": titled("given")}
    assert await render(HERO, plain, **given) == "given"
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


@each("asking", BOTH_WAYS)
def test_native_environments_keep_the_values_kind(asking: str) -> None:
    env = NativeEnvironment(extensions=EXTENSIONS)
    day = date(2024, 9, 2)
    own = Experiences([experience("hero", Day=day, Sizes=[36, 37])])

    def value(name: str) -> Any:
        tag = f'{{% experience "hero" {asking} as h %}}{{{{ h.{name} }}}}'
        return env.from_string(f"{tag}{{% endexperience %}}").render(experiences=own)

    assert value("Day") is day
    assert value("Sizes") == [36, 37]
    assert keys(own) == ["hero"]


@each("asking", BOTH_WAYS)
def test_a_finalize_sees_the_templates_own_outputs_alone(asking: str) -> None:
    env = plain({}, finalize=lambda value: "nothing" if value in ("", None) else value)
    own = Experiences([experience("hero", Title=None)])
    source = HERO.replace("as h", f"{asking} as h")

    assert env.from_string(source).render(experiences=own) == "nothing"
    assert keys(own) == ["hero"]


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


def test_adding_the_extension_again_changes_nothing(experiences: Experiences) -> None:
    env = plain({})
    kind = env.template_class

    env.add_extension(MoEngageExtension)
    over = env.overlay(extensions=EXTENSIONS)

    assert env.template_class is over.template_class is kind
    assert over.from_string(HERO).render() == "Sale"


@each(
    ("tag", "lineno", "message"),
    [
        ("experience", 2, ""),
        ('experience "a" as', 2, ""),
        ('experience "a" impresion=false', 2, "takes a key, then"),
        ('experience "a" impresion=false', 2, "not 'impresion'"),
        ('experience "a" as true', 2, ""),
        ('experience "a" impression', 2, ""),
        ("experience homepage-banner", 2, "put the key in quotes"),
        ("experience promo-strip as hero", 2, "put the key in quotes"),
        ('experience "a" %}\n{% endfor', 3, ""),
    ],
)
def test_a_syntax_mistake_names_its_line(tag: str, lineno: int, message: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=re.escape(message) or ".") as raised:
        plain({}).from_string(f"\n{{% {tag} %}}{{% endexperience %}}")

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
