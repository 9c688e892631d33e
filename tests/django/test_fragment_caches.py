"""What ``{% cache %}`` and tags that inherit from it keep, and what they must not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.template import Library, engines
from django.template.context import make_context
from django.templatetags.cache import CacheNode

from moe_middleware import current_experiences

from .sites import Site

MakeSite = Callable[..., Site]

KEY = "homepage-banner"
BY_COOKIE = {"customer_id": {"cookie": "customer_id"}}

register = Library()


class PreviewAwareNode(CacheNode):
    """As Wagtail's: keeps nothing in a preview, and is Django's otherwise."""

    def render(self, context: Any) -> Any:
        if getattr(context.get("request"), "is_preview", False):
            return self.nodelist.render(context)
        return super().render(context)


def wagtailcache(parser: Any, token: Any) -> PreviewAwareNode:
    nodelist = parser.parse(("endwagtailcache",))
    parser.delete_first_token()
    _, seconds, name = token.split_contents()
    return PreviewAwareNode(nodelist, parser.compile_filter(seconds), name, [], None)


register.tag("wagtailcache", wagtailcache)


def title() -> str:
    """Stand for an app's own tag that reads the running request's experiences."""
    return str(current_experiences()[KEY].get("Title"))


register.simple_tag(title)


BANNER = '{% experience "homepage-banner" as hero %}{{ hero.Title }}{% endexperience %}'

PERSONAL = {
    "the tag": "{% cache 60 hero %}" + BANNER + "{% endcache %}",
    "the tag, of another": "{% wagtailcache 60 hero %}"
    + BANNER
    + "{% endwagtailcache %}",
    "an include": '{% cache 60 hero %}{% include "banner.html" %}{% endcache %}',
    "a cache within": "{% cache 60 hero %}<p>{% cache 60 in %}"
    + BANNER
    + "{% endcache %}</p>{% endcache %}",
    "within the tag": '{% experience "homepage-banner" as hero %}{% cache 60 in %}'
    "{{ hero.Title }}{% endcache %}{% endexperience %}",
    "an include within the tag": '{% experience "homepage-banner" as hero %}'
    '{% cache 60 in %}{% include "title.html" %}{% endcache %}{% endexperience %}',
    "a tag of the app's": "{% cache 60 hero %}{% title %}{% endcache %}",
    "another key's fingerprint": '{% experience "homepage-banner" as hero %}'
    '{% cache 60 hero request.experiences|fingerprint:"promo-strip" %}'
    "{{ hero.Title }}{% endcache %}{% endexperience %}",
    "a fingerprint in the inner one": '{% experience "homepage-banner" as hero %}'
    "{% cache 60 outer %}{% cache 60 hero request.experiences.fingerprint %}"
    "{{ hero.Title }}{% endcache %}{% endcache %}{% endexperience %}",
    "a block": '{% extends "base.html" %}{% block hero %}' + BANNER + "{% endblock %}",
}

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {
                        "banner.html": "{% load moengage %}" + BANNER,
                        "title.html": "{{ hero.Title }}",
                        "base.html": "{% load cache %}{% cache 60 hero %}"
                        "{% block hero %}{% endblock %}{% endcache %}",
                    },
                )
            ],
            "libraries": {"shop": __name__},
            "context_processors": ["django.template.context_processors.request"],
        },
    }
]


def rendering(text: str, **more: Any) -> Callable[[Any], Any]:
    loads = "{% load cache moengage shop %}"
    if text.startswith("{% extends"):
        head, _, tail = text.partition("%}")
        text = f"{head}%}}{loads}{tail}"
    else:
        text = loads + text

    def view(request: Any) -> Any:
        return HttpResponse(engines["django"].from_string(text).render(more, request))

    return view


def seen(shop: Site, *names: str) -> list[str]:
    texts = []
    for name in names:
        shop.client.cookies["customer_id"] = name
        texts.append(shop.get().content.decode())
    return texts


@pytest.mark.parametrize("text", PERSONAL.values(), ids=PERSONAL)
def test_no_fragment_cache_keeps_one_visitors_experience(
    site: MakeSite, text: str
) -> None:
    shop = site(rendering(text), identity=BY_COOKIE, project={"TEMPLATES": TEMPLATES})

    alice, bob, again = seen(shop, "alice", "bob", "alice")

    assert alice == again != bob


def test_it_says_so_once_for_a_fragment(
    site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    text = "{% cache 60 said_once %}" + BANNER + "{% endcache %}"
    shop = site(rendering(text), identity=BY_COOKIE, project={"TEMPLATES": TEMPLATES})

    seen(shop, "alice", "bob", "carol")

    assert caplog.text.count("fragment_not_kept fragment=said_once") == 1


def test_what_is_shown_from_a_fragment_counts_every_time(site: MakeSite) -> None:
    cache.clear()
    shop = site(
        rendering(PERSONAL["the tag"]),
        identity=BY_COOKIE,
        project={"TEMPLATES": TEMPLATES},
    )

    seen(shop, "alice", "bob", "alice")

    assert [one.customer_id for one in shop.events] == ["alice", "bob", "alice"]


def test_other_fragments_are_kept(site: MakeSite) -> None:
    made = []
    text = (
        "{% cache 60 menu %}{{ menu }}{% endcache %}"
        '{% experience "homepage-banner" as hero %}'
        "{% cache 60 inner %}{{ menu }}{% endcache %}{{ hero.Title }}"
        "{% endexperience %}"
        "{% wagtailcache 60 other %}{{ menu }}{% endwagtailcache %}"
    )

    def menu() -> str:
        made.append(True)
        return "menu"

    shop = site(
        rendering(text, menu=menu),
        identity=BY_COOKIE,
        project={"TEMPLATES": TEMPLATES},
    )
    alice, bob = seen(shop, "alice", "bob")

    assert alice.count("menu") == bob.count("menu") == 3
    assert alice != bob
    assert len(made) == 3


def test_a_fragment_that_varies_by_what_is_in_it_is_right_too(site: MakeSite) -> None:
    cache.clear()
    text = (
        '{% experience "homepage-banner" as hero %}'
        "{% cache 60 by hero.Title %}{{ hero.Title }}{% endcache %}{% endexperience %}"
    )
    shop = site(rendering(text), identity=BY_COOKIE, project={"TEMPLATES": TEMPLATES})

    alice, bob = seen(shop, "alice", "bob")

    assert alice != bob


KEYED = (
    '{% experience "homepage-banner" as hero %}'
    '{% cache 60 keyed request.experiences|fingerprint:"homepage-banner" %}'
    "{{ hero.Title }} BODY{{ made }}{% endcache %}{% endexperience %}"
)


@pytest.mark.parametrize(
    ("body", "times", "kept"),
    [
        ("", 2, True),
        ("{{ hero.Nowhere }}", 2, True),
        ("{% if hero.Title %}{{ hero|value:'CTA Label' }}{% endif %}", 2, True),
        # Made for one visitor, or counted: each time anew.
        ("{% click_url hero '/shop' 'Shop' %}", 4, False),
        ("<a {% attrs hero 'Shop' %}>", 4, False),
        ("{% click_url hero '/shop' as link %}{{ link }}", 4, False),
        ('{% experience "homepage-banner" %}{% endexperience %}', 4, False),
    ],
)
def test_a_fingerprint_in_its_key_lets_a_fragment_be_kept(
    site: MakeSite,
    caplog: pytest.LogCaptureFixture,
    body: str,
    times: int,
    kept: bool,
) -> None:
    cache.clear()
    made: list[bool] = []

    def count() -> str:
        made.append(True)
        return ""

    name = f"keyed{len(body)}"
    shop = site(
        rendering(KEYED.replace("BODY", body).replace("keyed", name), made=count),
        identity=BY_COOKIE,
        secret_key="0123456789abcdef0123456789abcdef",
        project={"TEMPLATES": TEMPLATES},
    )

    alice, dave, again, dave_again = seen(shop, "alice", "dave", "alice", "dave")

    titles = [one[:12] for one in (alice, dave, again, dave_again)]
    assert titles == ["The first fl", "A golden cup"] * 2
    assert len(made) == times
    assert (f"fragment_not_kept fragment={name} " in caplog.text) is not kept
    # The tag around it counts, whether the text came from the cache or not.
    assert len(shop.events) == 4


def test_what_comes_from_an_inner_fragment_is_personal_in_the_outer_one(
    site: MakeSite,
) -> None:
    cache.clear()
    inner = (
        "{% cache 60 within prints %}{{ hero.Title }}{% endcache %}"  # by a variable
    )
    parts = {"in": inner, "out": "{% cache 60 around %}" + inner + "{% endcache %}"}

    def view(request: Any) -> Any:
        text = '{% experience "homepage-banner" as hero %}PART{% endexperience %}'
        part = parts[request.COOKIES["part"]]
        prints = request.experiences.fingerprint("homepage-banner")
        return rendering(text.replace("PART", part), prints=prints)(request)

    shop = site(view, identity=BY_COOKIE, project={"TEMPLATES": TEMPLATES})

    texts = []
    for part in ("in", "out"):
        shop.client.cookies["part"] = part
        texts += seen(shop, "alice", "dave")

    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


def test_mistakes_in_the_tag_are_djangos_own(site: MakeSite) -> None:
    shop = site(
        rendering("{% cache nothing hero %}{% endcache %}"),
        project={"TEMPLATES": TEMPLATES},
    )

    assert shop.get().status_code == 500


def test_threads_that_render_one_template_do_not_meet(site: MakeSite) -> None:
    site(project={"TEMPLATES": TEMPLATES})
    template: Any = engines["django"].from_string(
        "{% load cache %}{% cache 60 by who %}{{ who }}{% endcache %}"
    )
    texts: list[str] = []

    def render(who: str) -> None:
        texts.extend(template.template.render(make_context({"who": who})) for _ in "12")

    threads = [threading.Thread(target=render, args=(f"t{n}",)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(texts) == sorted(f"t{n}" for n in range(8) for _ in "12")
