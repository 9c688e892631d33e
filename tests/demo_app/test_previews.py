from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.testclient import TestClient

from demo_app.app import CONFIG
from demo_app.previews import PreviewDesk
from moe_middleware import Settings
from moe_middleware.sandbox import Sandbox

from ..rows import each

HERO = "homepage-banner"


def desk() -> PreviewDesk:
    return PreviewDesk(Settings.load(CONFIG, environ={}))


@each(
    ("shown", "offered"),
    [
        ("Gold members/1", "Gold members/2"),
        ("Gold members/2", "All Users/1"),
        ("All Users/2", "Gold members/1"),
        ("/", "Gold members/1"),
    ],
)
def test_the_variation_behind_the_shown_one_is_offered(
    shown: str, offered: str
) -> None:
    found = desk().offer(HERO, shown, "", "/?utm_medium=email")
    assert found is not None
    opened = desk().opened(urlsplit(found.link).path.rpartition("/")[2])

    assert found.name == offered
    assert opened is not None
    assert (opened.key, opened.variation) == (HERO, offered)
    assert opened.target == "/?utm_medium=email"


def test_templates_are_rendered_with_the_customers_attributes(sandbox: Sandbox) -> None:
    sandbox.define("hero", {"Title": "For {{ UserAttribute['first_name'] }}"})

    for_alice = desk().offer("hero", "/", "alice", "/")
    assert for_alice is not None
    opened = desk().opened(for_alice.link.rpartition("/")[2])
    assert opened is not None
    assert opened.payload == {"Title": "For Alice"}
    # Of a stranger no first name is known: the sandbox would withhold it, too.
    assert desk().offer("hero", "/", "", "/") is None


def test_what_has_no_other_variation_or_is_too_large_is_not_offered(
    sandbox: Sandbox,
) -> None:
    sandbox.define("one", {"Title": "Hello"})
    sandbox.define("large", {"Title": "".join(map(chr, range(0x4E00, 0x6000)))})

    assert desk().offer("one", "All Users/1", "", "/") is None
    assert desk().offer("no-such-key", "/", "", "/") is None
    assert desk().offer("large", "/", "", "/") is None
    assert desk().overlay("/" + "a" * 5_000) is None
    for cookie in (None, "", "forged", "a.b"):
        assert desk().opened(cookie) is None


def test_a_link_at_the_foot_turns_the_overlay_on_for_one_browser(
    shop: TestClient,
) -> None:
    page = shop.get("/?utm_medium=email").text
    link = re.search(r'href="(/_moe/o/[^"]+)">Turn the overlay on', page)
    assert link is not None and "<moe-overlay" not in page

    opened = shop.get(link[1])
    with_it = shop.get(opened.headers["location"]).text

    assert opened.headers["location"] == "/?utm_medium=email"
    assert "<moe-overlay" in with_it and "/_moe/sandbox/explain?" in with_it
    assert shop.get("/_moe/sandbox/").status_code == 200
    shop.cookies.delete("moe_overlay")
    assert "<moe-overlay" not in shop.get("/").text
