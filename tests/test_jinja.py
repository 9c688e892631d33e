from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jinja2 import DictLoader, Environment, TemplateSyntaxError

from moe_middleware import Experience, Experiences
from moe_middleware.current import current

from .makers import experience

EXTENSIONS = ["moe_middleware.jinja.MoEngageExtension"]


@pytest.fixture
def experiences() -> Iterator[Experiences]:
    """What the current request has."""
    made = Experiences(
        [experience("hero", Title="Sale", Html="<b>&", key="shadowed"), experience("b")]
    )
    token = current.set(made)
    yield made
    current.reset(token)


@pytest.fixture(params=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


async def render(
    source: str,
    asynchronous: bool,
    others: dict[str, str] | None = None,
    **context: Any,
) -> str:
    env = Environment(
        loader=DictLoader({"page": source, **(others or {})}),
        extensions=EXTENSIONS,
        autoescape=True,
        enable_async=asynchronous,
    )
    template = env.get_template("page")
    if asynchronous:
        return await template.render_async(**context)
    return template.render(**context)


def keys(experiences: Experiences) -> list[str]:
    return [shown.key for shown in experiences.shown]


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
    "commas": (
        '{% experience "hero", impression=true, as h %}{{ h.Title }}'
        "{% endexperience %}",
        "Sale",
    ),
}


@pytest.mark.parametrize(("source", "text"), BODIES.values(), ids=BODIES.keys())
async def test_the_body_is_rendered_with_the_payload(
    experiences: Experiences, asynchronous: bool, source: str, text: str
) -> None:
    assert await render(source, asynchronous) == text
    assert experiences.shown


async def test_without_a_match_the_else_branch_is_rendered(
    experiences: Experiences, asynchronous: bool
) -> None:
    source = (
        '{% experience "x" as x %}{{ x.Title }}{% else %}default{% endexperience %}'
    )

    assert await render(source, asynchronous) == "default"
    assert keys(experiences) == []


async def test_outside_of_a_request_the_else_branch_is_rendered(
    asynchronous: bool,
) -> None:
    source = '{% experience "hero" %}x{% else %}default{% endexperience %}'

    assert await render(source, asynchronous) == "default"


@pytest.mark.parametrize("asking", ["impression=false", "impression=counting"])
async def test_impression_false_renders_without_counting(
    experiences: Experiences, asynchronous: bool, asking: str
) -> None:
    source = (
        f'{{% experience "hero" {asking} as h %}}{{{{ h.Title }}}}{{% endexperience %}}'
    )

    assert await render(source, asynchronous, counting=False) == "Sale"
    assert keys(experiences) == []


async def test_names_do_not_leak_out_of_the_tag(
    experiences: Experiences, asynchronous: bool
) -> None:
    source = (
        '{% set h = "outer" %}{% experience "hero" as h %}{{ h.Title }}'
        "{% endexperience %}{{ h }}"
    )

    assert await render(source, asynchronous) == "Saleouter"


async def test_includes_see_the_experience_and_may_hold_tags(
    experiences: Experiences, asynchronous: bool
) -> None:
    tag = '{% experience "b" as b %}{{ b.Title }}{% endexperience %}'
    source = (
        '{% experience "hero" as h %}{% include "inner" %}{% endexperience %}'
        '{% include "tag" without context %}'
    )

    text = await render(source, asynchronous, {"inner": "[{{ h.Title }}]", "tag": tag})

    assert text == "[Sale]Sale"
    assert keys(experiences) == ["hero", "b"]


async def test_imported_macros_find_the_request(
    experiences: Experiences, asynchronous: bool
) -> None:
    macros = (
        "{% macro show(k) %}{% experience k as h %}{{ h.Html }}{% endexperience %}"
        "{% endmacro %}"
    )
    source = '{% from "macros" import show %}{{ show("hero") }}'

    assert await render(source, asynchronous, {"macros": macros}) == "&lt;b&gt;&amp;"
    assert keys(experiences) == ["hero"]


async def test_inherited_blocks_hold_tags_and_tags_outside_them_do_not_count(
    experiences: Experiences, asynchronous: bool
) -> None:
    base = "<{% block main %}{% endblock %}>"
    source = (
        '{% extends "base" %}'
        '{% experience "b" %}never put out{% endexperience %}'
        '{% block main %}{% experience "hero" as h %}{{ h.Title }}{% endexperience %}'
        "{% endblock %}"
    )

    assert await render(source, asynchronous, {"base": base}) == "<Sale>"
    assert keys(experiences) == ["hero"]


async def test_a_block_within_the_body_works(
    experiences: Experiences, asynchronous: bool
) -> None:
    source = (
        '{% experience "hero" as h %}{% block main scoped %}{{ h.Title }}'
        "{% endblock %}{% endexperience %}"
    )

    assert await render(source, asynchronous) == "Sale"


@pytest.mark.parametrize("key", [None, 7, ["hero"]])
async def test_a_key_that_is_no_text_renders_the_else_branch_and_says_so(
    experiences: Experiences,
    asynchronous: bool,
    key: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = "{% experience key %}x{% else %}default{% endexperience %}"

    assert await render(source, asynchronous, key=key) == "default"
    assert "experience_key_invalid template=page" in caplog.text


async def test_a_key_that_nobody_asked_for_says_what_to_do(
    experiences: Experiences, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await render('{% experience "x" %}{% endexperience %}', asynchronous)

    assert "experience_not_requested key=x template=page" in caplog.text


async def test_a_thread_without_the_context_finds_them_through_the_request(
    asynchronous: bool,
) -> None:
    class Request:
        def __init__(self) -> None:
            self.scope = {"state": {"experiences": Experiences([experience("hero")])}}

    source = '{% experience "hero" as h %}{{ h.Title }}{% endexperience %}'

    assert await render(source, asynchronous, request=Request()) == "Sale"


@pytest.mark.parametrize(
    ("source", "lineno", "said"),
    [
        (
            "\n{% experience %}{% endexperience %}",
            2,
            "unexpected 'end of statement block'",
        ),
        ('\n\n{% experience "a" as %}{% endexperience %}', 3, "expected token 'name'"),
        ('\n{% experience "a" foo %}{% endexperience %}', 2, "takes a key"),
        (
            '\n{% experience "a" impression %}{% endexperience %}',
            2,
            "expected token '='",
        ),
        ('a\n{% experience "a" %}\n\n', 2, "end of template"),
        ('{% experience "a" %}\n{% endfor %}', 2, "endfor"),
    ],
)
def test_a_syntax_mistake_names_its_line(source: str, lineno: int, said: str) -> None:
    env = Environment(extensions=EXTENSIONS, autoescape=True)

    with pytest.raises(TemplateSyntaxError, match=re.escape(said)) as raised:
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
