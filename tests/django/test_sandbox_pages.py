"""The embedded sandbox's pages at a Django site's own address."""

from __future__ import annotations

from collections.abc import Callable

from moe_middleware.sandbox import embedded

from .sites import Site

CONFIG = {
    "workspace": {"data_center": "sandbox", "pages": "on"},
    "routes": [{"path": "/", "experiences": ["homepage-banner"]}],
    "events": {"outbox": "memory:"},
}
HTML = {"Accept": "text/html"}


def test_pages_are_at_the_sites_own_address(site: Callable[..., Site]) -> None:
    shop = site(project={"MOENGAGE": CONFIG})

    page = shop.get("/_moe/sandbox/", HTTP_HOST="localhost", headers=HTML)
    posted = shop.client.post(
        "/_moe/sandbox/faults",
        "preset=outage",
        content_type="application/x-www-form-urlencoded",
        HTTP_HOST="localhost",
    )

    assert page.status_code == 200
    assert b"<h1>Overview</h1>" in page.content
    assert b'href="/_moe/sandbox/events"' in page.content
    assert (posted.status_code, posted["location"]) == (303, "/_moe/sandbox/faults")
    assert len(embedded().faults.as_documents()) == 1
    embedded().reset()


async def test_async_site_has_them_too(site: Callable[..., Site]) -> None:
    shop = site(project={"MOENGAGE": CONFIG})

    embedded().hosts.add("testserver")
    page = await shop.aget("/_moe/sandbox/explain?customer_id=alice", headers=HTML)

    embedded().hosts.remove("testserver")

    assert page.status_code == 200
    assert b"alice gets" in page.content


async def test_query_of_djangos_async_test_client_is_read(
    site: Callable[..., Site],
) -> None:
    shop = site(
        identity={"customer_id": {"query": "who"}},
        attributes={"utm_medium": {"query": "utm_medium"}},
    )

    await shop.aget("/?who=alice&utm_medium=email")

    (event,) = shop.events
    assert event.customer_id == "alice"
