"""The tag, the filter and the link of ``{% load moengage %}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.http import HttpResponse
from django.template import Context, Engine, RequestContext, TemplateSyntaxError
from django.test import RequestFactory
from django.test.utils import override_settings

from moe_middleware import Experiences
from moe_middleware.personalizer.current import current
from moe_middleware.sandbox import Sandbox

from ..makers import experience
from ..rows import each
from . import project
from .sites import Site
from .urls import KEY

assert project.TEMPLATES


@pytest.fixture
def experiences() -> Iterator[Experiences]:
    with shown() as made:
        yield made


@contextmanager
def shown() -> Iterator[Experiences]:
    """Give the current request these experiences."""
    made = Experiences(
        [
            experience(
                "hero",
                **{
                    "Title": "Sale",
                    "Html": "<b>&",
                    "key": "shadow",
                    "CTA Label": "<Buy>",
                },
            ),
            experience("b"),
        ]
    )
    token = current.set(made)
    yield made
    current.reset(token)


def engine(**templates: str) -> Engine:
    loader = ("django.template.loaders.locmem.Loader", templates)
    return Engine(
        loaders=[loader],
        libraries={"moengage": "moe_middleware.templatetags.moengage"},
        builtins=["moe_middleware.templatetags.moengage"],
    )


def render(
    source: str, *, templates: dict[str, str] | None = None, **values: Any
) -> str:
    made = engine(**(templates or {}), page=source).get_template("page")
    return str(made.render(Context(values)))


def keys(experiences: Experiences) -> list[str]:
    return [one.key for one in experiences.shown]


HERO = '{% experience "hero" as h %}'
END = "{% endexperience %}"

BODIES = {
    "named": (HERO + "{{ h.Title }}" + END, "Sale"),
    "unnamed": ('{% experience "hero" %}{{ experience.Title }}' + END, "Sale"),
    "value over field": (HERO + "{{ h.key }} {{ h.reason }}" + END, "shadow None"),
    "missing value": (HERO + "[{{ h.Nothing }}]" + END, "[]"),
    "missing inner value": (HERO + "[{{ h.Title.inner.most }}]" + END, "[]"),
    "escaped": (HERO + "{{ h.Html }}" + END, "&lt;b&gt;&amp;"),
    "safe where asked": (HERO + "{{ h.Html|safe }}" + END, "<b>&"),
    "autoescape off": (
        "{% autoescape off %}" + HERO + "{{ h.Html }}" + END + "{% endautoescape %}",
        "<b>&",
    ),
    "filtered": (HERO + "{{ h.Title|upper }}" + END, "SALE"),
    "awkward name": (HERO + '{{ h|value:"CTA Label" }}' + END, "&lt;Buy&gt;"),
    "awkward missing": (HERO + '[{{ h|value:"No Such" }}]' + END, "[]"),
    "value of nothing": (HERO + '[{{ nothing|value:"CTA Label" }}]' + END, "[]"),
    "with": (HERO + '{% with t=h|value:"Title" %}{{ t }}{% endwith %}' + END, "Sale"),
    "payload": (
        HERO + "{% for name, it in h.payload.items %}{{ name }} {% endfor %}" + END,
        "Title Html key CTA Label ",
    ),
    "truth": (HERO + "{% if h %}yes{% endif %}" + END, "yes"),
    "variable key": (
        '{% with k="hero" %}{% experience k as h %}{{ h.Title }}'
        + END
        + "{% endwith %}",
        "Sale",
    ),
    "filtered key": (
        '{% experience "HERO"|lower as h %}{{ h.Title }}' + END,
        "Sale",
    ),
    "loop": (
        '{% for k in "hero,x,b"|cut:" "|make_list %}{% endfor %}'
        "{% for k in ks %}{% experience k as h %}{{ forloop.counter }}{{ h.Title }} "
        "{% else %}- {% endexperience %}{% endfor %}",
        "1Sale - 3Sale ",
    ),
    "nested": (
        HERO + '{% experience "b" as b %}{{ h.Html|length }}{{ b.Title }}' + END + END,
        "4Sale",
    ),
    "nested in else": (
        '{% experience "x" %}{% else %}{% experience "b" %}b' + END + END,
        "b",
    ),
    "if within": (
        HERO + "{% if h.Nothing %}a{% else %}b{% endif %}{% else %}c" + END,
        "b",
    ),
    "counting": ('{% experience "hero" impression=true %}x' + END, "x"),
    "options in any order": (
        '{% experience "hero" as h impression=True %}{{ h.Title }}' + END,
        "Sale",
    ),
    "name does not leak": (HERO + "{{ h.Title }}" + END + "{{ h }}", "Saleouter"),
}


@each(("source", "text"), BODIES.values())
def test_the_body_is_rendered_with_the_payload(source: str, text: str) -> None:
    with shown() as experiences:
        assert render(source, ks=["hero", "x", "b"], h="outer") == text
        assert experiences.shown


TEMPLATES = {
    "inner": "[{{ h.Title }}]",
    "tag": '{% experience "b" as b %}{{ b.Title }}' + END,
    "base": "<{% block main %}{% endblock %}>",
    "body": HERO + "{% block main %}{{ h.Title }}{% endblock %}" + END,
}


@each(
    ("source", "text", "counted"),
    [
        (
            '{% experience "x" as x %}{% else %}[{{ x.Title }}]default' + END,
            *("[]default", []),
        ),
        ('{% experience "x" %}x' + END, "", []),
        (
            '{% experience "hero" impression=False as h %}{{ h.Title }}' + END,
            "Sale",
            [],
        ),
        (
            '{% experience "hero" impression=false as h %}{{ h.Title }}' + END,
            "Sale",
            [],
        ),
        ('{% experience "hero" impression=c as h %}{{ h.Title }}' + END, "Sale", []),
        (
            HERO + '{% include "inner" %}' + END + '{% include "tag" only %}',
            *("[Sale]Sale", ["hero", "b"]),
        ),
        (
            '{% extends "base" %}{% experience "b" %}never put out'
            f"{END}{{% block main %}}{HERO}{{{{ h.Title }}}}{{{{ block.super }}}}{END}"
            "{% endblock %}",
            *("<Sale>", ["hero"]),
        ),
        ('{% extends "body" %}', "Sale", ["hero"]),
        (
            '{% extends "body" %}{% block main %}{{ block.super }}!{% endblock %}',
            *("Sale!", ["hero"]),
        ),
    ],
)
def test_what_is_rendered_counts(source: str, text: str, counted: list[str]) -> None:
    with shown() as experiences:
        assert render(source, templates=TEMPLATES, c=0) == text
        assert keys(experiences) == counted


def test_outside_of_a_request_the_else_branch_is_rendered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert render('{% experience "hero" %}x{% else %}default' + END) == "default"
    assert not caplog.records


def test_a_key_that_was_not_asked_for_says_what_to_do(
    experiences: Experiences, caplog: pytest.LogCaptureFixture
) -> None:
    render('{% experience "x" %}' + END)

    assert "experience_not_requested key=x template=page" in caplog.text


@each(
    ("source", "message"),
    [
        ("{% experience %}" + END, "takes a key"),
        ('{% experience "a" as %}' + END, "takes a key"),
        ('{% experience "a" as "b" %}' + END, "takes a key"),
        ('{% experience "a" foo %}' + END, "takes a key"),
        ('{% experience "a" impression %}' + END, "takes a key"),
        ('{% experience "a" limit=1 %}' + END, "takes a key"),
        (
            "{% experience homepage-banner as h %}" + END,
            "'experience', put it in quotes",
        ),
        ('{% experience "hero" impresion=False %}' + END, "not 'impresion=False'"),
        ('{% experience "a" %}', ""),
        ('{% experience "a" %}{% else %}{% else %}' + END, ""),
        ('{% experience "a" %}{% endfor %}', ""),
    ],
)
def test_a_syntax_mistake_is_reported(source: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=re.escape(message) or "."):
        render(source)


def test_an_error_in_the_body_names_its_place(experiences: Experiences) -> None:
    made = Engine(
        debug=True, libraries={"moengage": "moe_middleware.templatetags.moengage"}
    ).from_string("{% load moengage %}\n" + HERO + "\n{% include missing %}" + END)

    with pytest.raises(Exception) as raised:
        made.render(Context({"missing": "nowhere"}))

    assert raised.value.template_debug["line"] == 3  # type: ignore[attr-defined]


# --- where they are found ----------------------------------------------------


def test_those_in_the_context_come_first_then_the_requests(
    experiences: Experiences,
) -> None:
    request: Any = RequestFactory().get("/")
    request.experiences = Experiences([experience("hero", Title="request")])
    given = Experiences([experience("hero", Title="given")])
    made = engine(page=HERO + "{{ h.Title }}" + END).get_template("page")

    found = [
        made.render(RequestContext(request, {"experiences": given})),
        made.render(RequestContext(request, {"experiences": "the app's own"})),
        made.render(Context({"request": request})),
        made.render(Context({"request": RequestFactory().get("/")})),
    ]

    assert found == ["given", "request", "request", "Sale"]


# --- links -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{% click_url h "/shop" "Shop Now" %}', "/shop"),
        ('{% click_url h target b_id="Shop Now" %}', "/a?b&amp;c"),
        ("{% click_url h target as url %}{{ url }}", "/a?b&amp;c"),
        ("{% click_url nothing target %}", "/a?b&amp;c"),
    ],
)
def test_a_link_leads_to_its_target(
    experiences: Experiences, source: str, text: str
) -> None:
    assert render(HERO + source + END, target="/a?b&c").startswith(text)


# --- in a project ------------------------------------------------------------


def test_load_finds_the_library_of_an_installed_app(
    site: Callable[..., Site],
) -> None:
    shop = site()

    assert b"Welcome" not in shop.get().content
    assert shop.shown == 1


def test_load_finds_the_library_by_its_name_too(experiences: Experiences) -> None:
    backend = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"libraries": {"moe": "moe_middleware.templatetags.moengage"}},
    }
    with override_settings(TEMPLATES=[backend]):
        from django.template import engines

        source = "{% load moe %}" + HERO + "{{ h.Title }}" + END
        assert engines["django"].from_string(source).render() == "Sale"


def test_a_tag_waits_in_a_thread_and_not_on_the_event_loop(
    site: Callable[..., Site], sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    from asgiref.sync import async_to_sync

    from .urls import async_page, page

    shop = site(
        page,
        urls={"async": async_page},
        routes=[{"path": "/{all:path}", "experiences": ["homepage-banner"]}],
        fetch={"prefetch": "concurrent", "timeout": 30},
    )
    sandbox.fault(path="fetch", latency=0.05)

    waited = async_to_sync(shop.aget)("/")
    shop.async_client.cookies.clear()
    could_not = async_to_sync(shop.aget)("/async")

    assert b"Welcome" not in waited.content
    assert b"Welcome" in could_not.content
    assert "experience_not_ready key=homepage-banner template=page.html" in caplog.text


def test_a_page_rendered_by_hand_counts_too(site: Callable[..., Site]) -> None:
    source = "{% load moengage %}" + HERO.replace("hero", "homepage-banner") + "x" + END

    def view(request: Any) -> Any:
        from django.template import engines

        return HttpResponse(engines["django"].from_string(source).render({}, request))

    shop = site(view)

    assert shop.get().content == b"x"
    assert shop.shown == 1


@pytest.mark.parametrize(
    ("wrong", "name", "near"),
    [
        ("hero.Titel", "Titel", "Title"),
        ("hero|value:'CTA Labell'", "CTA Labell", "CTA Label"),
    ],
)
def test_a_payload_value_that_is_not_there_is_reported_once_with_the_nearest(
    site: Callable[..., Site],
    caplog: pytest.LogCaptureFixture,
    wrong: str,
    name: str,
    near: str,
) -> None:
    inner = f"{{{{ {wrong} }}}}" * 2
    text = f'{{% experience "{KEY}" as hero %}}{inner}{{% endexperience %}}'
    template = engine(page=text).get_template("page")

    def view(request: Any) -> HttpResponse:
        return HttpResponse(template.render(RequestContext(request)))

    made = site(view)
    assert [made.get().content for _ in range(2)] == [b"", b""]

    logged = [one for one in caplog.messages if one.startswith("payload_value_missing")]
    assert logged == [
        f"payload_value_missing key={KEY} name={name}: did you mean {near!r}?"
    ]


def test_a_key_that_is_no_text_is_reported_once(
    experiences: Experiences, caplog: pytest.LogCaptureFixture
) -> None:
    source = "{% experience key %}x{% else %}default" + END
    template = engine(page=source).get_template("page")
    for key in (None, 7, 7, ["hero"]):
        assert template.render(Context({"key": key})) == "default"
    assert caplog.text.count("experience_key_invalid template=page") == 1


def test_a_request_that_did_not_pass_the_middleware_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = HERO + "{% else %}default" + END
    template = engine(page=source).get_template("page")
    context = RequestContext(RequestFactory().get("/"))
    assert template.render(context) == "default"
    assert "middleware_not_met template=page" in caplog.text
    assert "MIDDLEWARE" in caplog.text

    caplog.clear()
    assert template.render(Context({"request": "a wish"})) == "default"
    assert not caplog.messages
