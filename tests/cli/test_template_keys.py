from __future__ import annotations

import pytest
from jinja2 import Environment, TemplateSyntaxError
from jinja2.ext import Extension

from moe_middleware.cli.template_keys import tagged_keys

from ..rows import each

SOURCES = {
    "named": ('{% experience "a" as x %}{% endexperience %}', [("a", 1)]),
    "bare": ("{% experience 'a' %}{% endexperience %}", [("a", 1)]),
    "trimmed": ('{%- experience "a" -%}{%- endexperience -%}', [("a", 1)]),
    "without counting": ('{% experience "a" impression=false %}', [("a", 1)]),
    "comma": ('{% experience "a", as x %}', [("a", 1)]),
    "two literals": ('{% experience "a" "b" %}', [("ab", 1)]),
    "escapes": (r'{% experience "\u00e9\"" %}', [('é"', 1)]),
    "each line": (
        '\n{% experience "a" %}\n{% else %}{% experience "b" %}\n{% experience\n"c" %}',
        [("a", 2), ("b", 3), ("c", 4)],
    ),
    "the same twice": ('{% experience "a" %}{% experience "a" %}', [("a", 1)] * 2),
    "name": ("{% experience key as x %}", []),
    "joined": ('{% experience "a" ~ b %}', []),
    "chosen": ('{% experience "a" if b else "c" %}', []),
    "filtered": ('{% experience "a"|lower as x %}', []),
    "none": ("{% experience %}", []),
    "other tag": ('{% experiences "a" %}{% load "experience" %}', []),
    "raw": ('{% raw %}{% experience "a" %}{% endraw %}', []),
    "comment": ('{# {% experience "a" %} #}', []),
    "text": ('experience "a" {{ experience("a") }}', []),
    "unknown tags around": (
        '{% load moengage %}{% url "shop" x=1 %}{% experience "a" %}{% trans "b" %}',
        [("a", 1)],
    ),
    "Django's comment": (
        '{% comment "old" %}{% experience "a" %}{% endcomment %}{% experience "b" %}',
        [("b", 1)],
    ),
    "Django's verbatim": (
        '{% verbatim %}{% experience "a" %}{% endverbatim %}{% experience "b" %}',
        [("b", 1)],
    ),
    "no Jinja in Django's comment": (
        '{% comment %}\nit\'s {{ \' {% " %}{% endcomment %}{% experience "b" %}',
        [("b", 2)],
    ),
    "Django's verbatim, named": (
        "{% verbatim x %}{% endverbatim %} it's {{ ' }}{% endverbatim x %}"
        '{% experience "b" %}',
        [("b", 1)],
    ),
    "a comment in a comment": (
        '{# {% comment %} #}{% experience "a" %}{% comment %}{# {% endcomment %}'
        '{% raw %}{% comment %}{% endraw %}{% experience "b" %}',
        [("a", 1), ("b", 1)],
    ),
    "Django's filters": ('{{ a|default:"b" }}{% experience "a" as x %}', [("a", 1)]),
}


@each(("source", "keys"), SOURCES.values())
def test_keys_written_as_text_are_found_with_their_lines(
    source: str, keys: list[tuple[str, int]]
) -> None:
    assert tagged_keys(Environment(autoescape=True), source) == keys


def test_the_environments_delimiters_are_the_templates() -> None:
    environment = Environment(
        block_start_string="<%",
        block_end_string="%>",
        line_statement_prefix="#",
        autoescape=True,
    )
    source = '<% experience "a" %>\n# experience "b" as b\n{% experience "c" %}'

    assert tagged_keys(environment, source) == [("a", 1), ("b", 2)]


class ShortTags(Extension):
    """Writes ``@hero`` for a tag."""

    def preprocess(
        self, source: str, name: str | None, filename: str | None = None
    ) -> str:
        return source.replace("@hero", '{% experience "hero" %}{% endexperience %}')


def test_extensions_that_rewrite_the_source_come_first() -> None:
    environment = Environment(extensions=[ShortTags], autoescape=True)

    assert tagged_keys(environment, '@hero {% experience "b" %}') == [
        ("hero", 1),
        ("b", 1),
    ]


def test_what_cannot_be_read_raises_with_its_line() -> None:
    with pytest.raises(TemplateSyntaxError) as raised:
        tagged_keys(Environment(autoescape=True), '\n{% experience "a $ %}')

    assert raised.value.lineno == 2
