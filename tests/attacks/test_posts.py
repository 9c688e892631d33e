"""Beacons from elsewhere, of other shapes, without end, and of ten megabytes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx

from moe_middleware.browser.marks import MAX_BODY
from moe_middleware.sandbox import Sandbox

from ..sites import Site
from .doors import HOST, SECRET, Answer, Body, Headers, Shop

OWN = ("sec-fetch-site", "same-origin")
TEN_MEGABYTES = 10 * 1024 * 1024
EVIL = "http://evil.example"

# Whatever a page of another site can make a browser send, and what proxies may add.
FROM_ELSEWHERE: dict[str, Headers] = {
    "cross-site": [("sec-fetch-site", "cross-site")],
    "same-site": [("sec-fetch-site", "same-site")],
    "by hand": [("sec-fetch-site", "none")],
    "in capitals": [("sec-fetch-site", "SAME-ORIGIN-NOT")],
    "empty": [("sec-fetch-site", "")],
    "own origin, but cross-site": [
        ("sec-fetch-site", "cross-site"),
        ("origin", f"http://{HOST}"),
    ],
    "nothing": [("accept", "*/*")],
    "another origin": [("origin", EVIL)],
    "no origin": [("origin", "null")],
    "an empty one": [("origin", "")],
    "no origin, without a host": [("origin", "null"), ("host", "")],
    "an empty one, without a host": [("origin", ""), ("host", "")],
    "a subdomain": [("origin", f"http://evil.{HOST}")],
    "a longer name": [("origin", f"http://{HOST}.evil.example")],
    "another port": [("origin", f"http://{HOST}:8080")],
    "the host as a user": [("origin", f"http://{HOST}@evil.example")],
    "the host as a path": [("origin", f"http://evil.example/{HOST}")],
    "no address": [("origin", "http://[evil")],
    "the host as a scheme": [("origin", f"{HOST}:evil")],
    "a forwarded host": [("origin", EVIL), ("x-forwarded-host", "evil.example")],
    "a forwarded by": [("origin", EVIL), ("forwarded", "host=evil.example")],
    "an original host": [("origin", EVIL), ("x-original-host", "evil.example")],
    "a referer": [("referer", f"http://{HOST}/")],
    "a form": [
        ("origin", EVIL),
        ("content-type", "application/x-www-form-urlencoded"),
    ],
    "a script's header": [("origin", EVIL), ("x-requested-with", "XMLHttpRequest")],
}


def test_a_page_of_the_site_counts_and_gives_an_id_and_no_other(shop: Shop) -> None:
    beacon = f"c {shop.mark()} 1".encode()
    for name, origin in FROM_ELSEWHERE.items():
        for answer in (
            shop.tell(beacon, customer="alice", origin=origin),
            hand_over(shop, DEVICE.encode(), origin=origin),
        ):
            assert (answer.status, answer.get("set-cookie")) == (403, None), name
            assert not allowed_elsewhere(answer), name
    assert shop.clicks == 0
    for own in ([OWN], [("origin", f"http://{HOST}")]):
        assert shop.tell(beacon, customer="alice", origin=own).status == 204
    assert shop.clicks == 1


def allowed_elsewhere(answer: Answer) -> list[str]:
    """Return the headers by which a page of another site may read an answer."""
    names = [name for name, _ in answer.headers]
    return [name for name in names if name.startswith("access-control")]


def test_no_other_method_tells_anything(shop: Shop) -> None:
    body = f"c {shop.mark()} 1".encode()
    disguises = [("x-http-method-override", "POST"), ("x-method-override", "POST")]
    methods = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
    paths = ["/_moe/e", "/_moe/e/", "/_moe/e/x.css"]

    for method, path in itertools.product(methods, paths):
        answer = shop.ask(
            path, method=method, customer="alice", headers=[OWN, *disguises], body=body
        )

        # Also what asks whether another site may: nothing says that it may.
        assert (answer.status, answer.get("allow")) == (405, "POST"), (method, path)
        assert not allowed_elsewhere(answer), (method, path)
    assert shop.clicks == 0


# --- sizes ---------------------------------------------------------------------


def test_ten_megabytes_are_not_read(shop: Shop, door: str) -> None:
    # It begins well: nothing of it counts nevertheless.
    content = f"c {shop.mark()} 1\n".encode().ljust(TEN_MEGABYTES, b"x")
    for length in (str(TEN_MEGABYTES), None, "70000", "-1", "65537"):
        body = Body(content, length)

        answer = shop.tell(body, customer="alice")

        assert answer.status == (413 if body.read > MAX_BODY else 400), length
        if door != "django-async":
            # Under ASGI, Django puts it into a file before any middleware is asked.
            assert body.read <= 2 * MAX_BODY, length
        assert all(0 <= size <= MAX_BODY + 1 for size in body.reads), length
    assert shop.clicks == 0


def test_a_length_that_is_none_counts_nothing(shop: Shop, door: str) -> None:
    # An ASGI server reads the body by itself, whatever the header says.
    whole = door in ("asgi", "django-async")
    content = f"c {shop.mark()} 1".encode()
    digit = "٣".encode().decode("latin-1")
    for length in ("0", "5", "x", "-5", "", " ", "0x10", "1e9", digit):
        body = Body(content, length)

        answer = shop.tell(body, customer="alice")

        assert answer.status == (204 if whole else 400), length
        assert all(0 <= size <= MAX_BODY + 1 for size in body.reads), length
    assert shop.clicks == int(whole)


def test_what_is_no_beacon_counts_nothing(shop: Shop) -> None:
    # The shapes are those of tests/browser/test_marks.py.
    mark = shop.mark().encode()
    for body in (b"", b"c %b 1\r\nc %b 2", b"c %b 1\nx %b 1", b"c A.B 1\nc %b 1"):
        answer = shop.tell(body.replace(b"%b", mark), customer="alice")
        assert answer.status == 400, body
    assert shop.clicks == 0


def test_its_content_type_changes_nothing(shop: Shop) -> None:
    mark = shop.mark()
    types = [
        *("text/plain;charset=UTF-8", "application/json", "image/png", "x"),
        *("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"),
    ]
    for number, content_type in enumerate(types, start=1):
        body = f"c {mark} {number}".encode()
        headers = [("content-type", content_type), ("content-encoding", "gzip")]

        answer = shop.tell(body, customer="alice", headers=headers)

        # None of them opens another way in: no form is parsed, nothing is unpacked.
        assert (answer.status, answer.body) == (204, b""), content_type
        assert shop.clicks == number, content_type


async def test_a_body_that_never_ends_holds_no_other_up(sandbox: Sandbox) -> None:
    site = Site(secret_key=SECRET)
    begun, over = asyncio.Event(), asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        begun.set()
        for letter in b"c never-ending":
            yield bytes([letter])
        await over.wait()
        yield b" 1"

    transport = httpx.ASGITransport(site.app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as one:
        dripping = asyncio.ensure_future(
            one.post("/_moe/e", content=drip(), headers=[OWN])
        )
        await begun.wait()
        others = [await one.get("/") for _ in range(3)]
        assert not dripping.done()
        over.set()
        answer = await dripping

    assert [other.status_code for other in others] == [200] * 3
    # Nothing of it was looked at before it was whole, and then it is none of ours.
    assert answer.status_code == 400


# --- device ids ----------------------------------------------------------------

DEVICE = "0b6e1a52-7c53-4f4e-9d0e-6b7a1c2d3e4f"


def hand_over(shop: Shop, body: bytes | Body, **given: Any) -> Answer:
    headers = given.pop("origin", [OWN])
    return shop.ask("/_moe/d", method="POST", headers=headers, body=body, **given)


def test_what_is_no_device_id_is_not_kept(shop: Shop) -> None:
    for body in (
        *(b"", b"alice", b"{}", DEVICE[:-1].encode(), f" {DEVICE}"[:36].encode()),
        *(DEVICE.replace("-", "").encode(), f"{DEVICE}\r\n".encode()),
        *(f"{DEVICE}; Domain=evil.example".encode(), b"x" * TEN_MEGABYTES),
        *(b"\xff" * 36, b"\r\nset-cookie: moe_visitor=alice; x=".ljust(36, b"x")[:36]),
        DEVICE.replace("e", "\u0435").encode(),
    ):
        answer = hand_over(shop, body)

        assert answer.status in (400, 413), body[:40]
        assert answer.get("set-cookie") is None, body[:40]


def test_a_device_id_is_taken_once_and_kept_from_scripts(shop: Shop) -> None:
    first = hand_over(shop, DEVICE.encode())
    [cookie] = first.all("set-cookie")
    other = DEVICE.replace("0b6e", "1111").encode()
    second = hand_over(shop, other, cookie=f"moe_device={DEVICE}")
    third = hand_over(shop, other, cookie="moe_uuid=the-sdks-own")

    assert first.status == 204 and cookie.startswith(f"moe_device={DEVICE}; ")
    assert {"httponly", "samesite=lax"} <= {*cookie.lower().split("; ")}
    assert second.all("set-cookie") == third.all("set-cookie") == []
