"""What a newcomer gets wrong on a page is told, in one line that says what to do."""

from __future__ import annotations

import pytest

from moe_middleware.sandbox import Sandbox

from .sites import Site, rendered

HERO = '{% experience "homepage-banner" as hero %}'
END = "{% endexperience %}"


@pytest.mark.parametrize("wrong", ["hero.Titel", "hero['Titel']"])
async def test_a_payload_value_that_is_not_there_is_told_once_with_the_nearest(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    shown = f"{{{{ {wrong} }}}}" * 2
    optional = "{% if hero.Nothing_alike %}{% endif %}"
    site = Site(rendered(f"{HERO}{shown}{optional}{END}"))
    for _ in range(2):
        assert (await site.get(customer="alice")).text == ""

    said = [one for one in caplog.messages if one.startswith("payload_value_missing")]
    assert said == [
        "payload_value_missing key=homepage-banner name=Titel: did you mean 'Title'?"
    ]


async def test_without_a_secret_key_links_that_should_count_are_told_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    link = """<a href="{{ hero.click_url('/shop', 'b') }}" {{ hero.attrs('b') }}>"""
    site = Site(rendered(f"{HERO}{link}{END}{{{{ moe_script() }}}}"))
    for _ in range(2):
        assert 'href="/shop"' in (await site.get(customer="alice")).text

    assert caplog.text.count("secret_key_wanted by=click_url") == 1


async def test_a_link_without_a_target_says_how_to_give_one(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(rendered(f"{HERO}{{{{ hero.click_url() }}}}{END}"))

    assert (await site.get(customer="alice")).text == "#"
    assert "click_target_missing" in caplog.text
