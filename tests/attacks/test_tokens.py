"""Tokens: forged, cut, bent, taken elsewhere, replayed."""

from __future__ import annotations

import asyncio
import itertools
import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import orjson
from itsdangerous import Signer

from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.browser.tokens import MAX_TOKEN, Tokens
from moe_middleware.sandbox import Sandbox

from ..sites import Site, rendered
from .conftest import MakeShop
from .doors import HOST, KEY, SECRET, Answer, Shop

FORCED = "Forced for a preview"
TOKEN = rb"[\w-]{60,}\.[\w-]{43}"


def preview_token(shop: Shop, *, secret: str = SECRET, lasts: int = 3_600) -> str:
    links = PreviewLinks([secret], path="", clock=shop.clock)
    until = int(shop.clock()) + lasts
    made = Preview(KEY, "B", {"Title": FORCED}, "/", until)
    return links.make(made)


def tokens_of(shop: Shop) -> dict[str, str]:
    """Return a good token of each purpose, by the path that takes it."""
    return {
        "c": shop.link().rpartition("/")[2],
        "e": shop.mark(),
        "p": preview_token(shop),
    }


def use(shop: Shop, place: str, token: str, customer: str = "alice") -> Answer:
    if place == "e":
        body = f"c {token} 1".encode("utf-8", "surrogateescape")
        return shop.tell(body, customer=customer)
    return shop.ask(f"/_moe/{place}/{token}", customer=customer)


def is_refused(shop: Shop, answer: Answer) -> bool:
    """Whether a token did nothing at all."""
    nothing = (answer.get("location"), answer.get("set-cookie")) == (None, None)
    return answer.status in (400, 404, 410) and nothing and shop.clicks == 0


BENDS: dict[str, Callable[[str], str]] = {
    "cut by one": lambda token: token[:-1],
    "cut in half": lambda token: token[: len(token) // 2],
    "without its signature": lambda token: token.partition(".")[0],
    "with an empty signature": lambda token: token.partition(".")[0] + ".",
    "the signature alone": lambda token: "." + token.partition(".")[2],
    "another first letter": lambda token: _other(token[0]) + token[1:],
    "another last letter": lambda token: token[:-1] + _other(token[-1]),
    "the last letter's idle bits": lambda token: _idle_bits(token),
    "in capitals": str.upper,
    "signed by nobody": lambda token: token.partition(".")[0] + "." + "A" * 43,
    "junk within the signature": lambda token: token[:-9] + "!!!!" + token[-9:],
    "a line break behind it": lambda token: token + "\r\n\r\n",
    "a header behind it": lambda token: token + "\r\n!\r\n:",
    "an attribute behind it": lambda token: f"{token};;;;",
    "quotes behind it": lambda token: token + '""',
    "padded": lambda token: token + "=",
    "a NUL behind it": lambda token: token + "\0\0\0\0",
    "twice": lambda token: token + token,
    "too long": lambda token: token + "A" * MAX_TOKEN,
    "a path behind it": lambda token: f"{token}/..//evil.example",
    "nothing": lambda token: "",
}


def _other(letter: str) -> str:
    return "B" if letter == "A" else "A"


def _idle_bits(token: str) -> str:
    """Return another spelling of a token: base64 has idle bits in its last letter."""
    last = urlsafe_b64decode(f"{token[-43:]}=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for letter in alphabet:
        other = token[:-1] + letter
        if other != token and urlsafe_b64decode(f"{other[-43:]}=") == last:
            return other
    raise AssertionError("base64 has changed")


def test_a_token_does_nothing_where_it_is_bent_or_of_another_purpose(
    shop: Shop,
) -> None:
    tokens = tokens_of(shop)
    for bend, (place, token) in itertools.product(BENDS, tokens.items()):
        answer = use(shop, place, BENDS[bend](token))

        assert is_refused(shop, answer), (bend, place)
        assert HOST not in answer.text and "evil" not in answer.text
    for own, place in itertools.permutations(tokens, 2):
        assert is_refused(shop, use(shop, place, tokens[own])), (own, place)
    # Halves of two good ones make no third.
    for place, other in tokens_of(shop).items():
        mixed = tokens[place].partition(".")[0] + "." + other.partition(".")[2]
        assert mixed == other or is_refused(shop, use(shop, place, mixed)), place

    # The same ones, unbent.
    statuses = [use(shop, place, token).status for place, token in tokens.items()]
    assert statuses == [302, 204, 302]
    assert shop.clicks == 2


BODIES = {
    "nothing": b"",
    "no version": bytes(40),
    "a later version": b"\x02" + bytes(40),
    "cut in the head": b"\x01" + bytes(9),
    "not packed": b"\x01" + bytes(28) + b'["https://evil.example","x",{}]',
    "packed otherwise": b"\x01" + bytes(28) + zlib.compress(b"[1,2,3]"),
    "a bomb": b"\x01" + bytes(28) + zlib.compress(bytes(2_500_000), 9)[2:],
    "open within itself": b"\x01" + bytes(28) + zlib.compress(b"[" * 60_000)[2:-4],
}
PLACES = {"c": "click", "e": "beacon", "p": "preview"}


def signed(body: bytes, secret: str, purpose: str) -> str:
    """Return a token of any content, signed as ours are."""
    key = Signer(
        secret,
        salt=f"moe_middleware.token.{purpose}",
        key_derivation="hmac",
        digest_method=sha256,
    ).derive_key()
    text = urlsafe_b64encode(body).rstrip(b"=")
    signer = Signer(key, key_derivation="none", digest_method=sha256)
    return signer.sign(text).decode()


def content(token: str) -> bytes:
    text = token.partition(".")[0]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_what_others_signed_and_what_is_no_message_does_nothing(shop: Shop) -> None:
    good = {place: content(token) for place, token in tokens_of(shop).items()}
    for place, purpose in PLACES.items():
        tokens = {
            "another secret": signed(good[place], "a secret of somebody else", purpose),
            "no secret": signed(good[place], "", purpose),
            "another purpose": signed(good[place], SECRET, "session"),
        }
        bodies = BODIES | {
            f"version {version}": bytes([version]) + good[place][1:]
            for version in (0, 2, 255)
        }
        tokens |= {name: signed(body, SECRET, purpose) for name, body in bodies.items()}
        for name, token in tokens.items():
            assert len(token) <= MAX_TOKEN
            assert is_refused(shop, use(shop, place, token)), (place, name)
    # It was the signature, or the content, that was missing.
    for place, purpose in PLACES.items():
        again = use(shop, place, signed(good[place], SECRET, purpose))
        assert again.status in (302, 204), place


def test_a_token_holds_nothing_of_the_visitor(make_shop: MakeShop) -> None:
    """Everybody who has the page can read its tokens."""
    shop = make_shop(
        identity={
            "customer_id": {"cookie": "customer_id"},
            "user_identifiers": {"u_em": {"header": "X-Email"}},
        },
        attributes={"city": {"header": "X-City"}, "utm_medium": {"query": "utm"}},
    )
    page = shop.ask(
        "/",
        query="utm=newsletter",
        cookie="customer_id=alice; other=a-cookie",
        headers=[("x-email", "alice@mail.example"), ("x-city", "Reykjavik")],
    )
    [link, mark] = re.findall(TOKEN, page.body)

    for purpose, token in (("click", link.decode()), ("beacon", mark.decode())):
        read = Tokens([SECRET], purpose, fields=3, head_size=28).read(token)
        assert read is not None
        text = read[0] + orjson.dumps(read[1])
        for personal in (b"alice", b"newsletter", b"Reykjavik", b"cookie"):
            assert personal not in text


def test_no_digest_tells_the_visitors_id_or_that_two_tokens_are_theirs(
    shop: Shop,
) -> None:
    heads = [content(one)[1:25] for one in (shop.mark(), shop.mark())]

    assert len({head[16:] for head in heads}) == 2
    for head in heads:
        token_id, digest = head[:16], head[16:]
        for guess in (b"alice", token_id + b"alice", b"alice" + token_id):
            plain = blake2b(guess, digest_size=8).digest(), sha256(guess).digest()[:8]
            assert digest not in plain


def test_others_tokens_do_not_count(shop: Shop) -> None:
    link, mark = shop.link("alice"), shop.mark("alice")
    others: list[dict[str, Any]] = [
        {"customer": "mallory"},
        {"customer": "ALICE"},
        {"customer": "alice "[:5] + "%20x"},
        {"cookie": "moe_visitor=alice"},
        {"cookie": "moe_device=alice"},
        {"cookie": "customer_id=m; customer_id=alice; customer_id=m"},
        {"cookie": 'customer_id="mallory"; xcustomer_id=alice'},
        {},
    ]
    for who in others:
        followed = shop.ask(link, **who)
        answered = shop.tell(f"c {mark} 1".encode(), **who)

        assert (followed.get("location"), answered.status) == ("/shop", 204), who
        assert shop.clicks == 0, who


def test_what_expired_does_not_count(make_shop: MakeShop) -> None:
    shop = make_shop(clicks={"max_age": 60})
    link, mark, preview = shop.link(), shop.mark(), preview_token(shop, lasts=60)
    shop.clock.now += 61

    followed = shop.ask(link, customer="alice")
    answered = shop.tell(f"c {mark} 1".encode(), customer="alice")
    opened = shop.ask(f"/_moe/p/{preview}", customer="alice")

    assert (followed.get("location"), answered.status) == ("/shop", 204)
    assert (opened.status, opened.get("location")) == (410, None)
    assert shop.clicks == 0


# --- the preview's cookie ------------------------------------------------------


NOT_IN_COOKIES = ("a", "an", "nothing", "quotes")
IN_COOKIES = [one for one in BENDS if one.partition(" ")[0] not in NOT_IN_COOKIES]
"""Those that a cookie can bring; it ends at a line break or a semicolon."""


def test_a_bent_preview_cookie_shows_nothing_and_goes_and_a_good_one_stays(
    shop: Shop,
) -> None:
    cookies = {name: BENDS[name](preview_token(shop)) for name in IN_COOKIES}
    cookies["a click's"] = shop.link().rpartition("/")[2]
    cookies["a beacon's"] = shop.mark()
    cookies["expired"] = preview_token(shop, lasts=-1)
    for name, bent in cookies.items():
        page = shop.ask(cookie=f"customer_id=alice; {COOKIE}={bent}")

        assert FORCED not in page.text and "Preview of" not in page.text, name
        [gone] = [one for one in page.all("set-cookie") if one.startswith(COOKIE)]
        assert gone.startswith((f"{COOKIE}=; ", f'{COOKIE}=""; ')), name
        assert "max-age=0" in gone.lower(), name
    counted = len(shop.events)
    page = shop.ask(cookie=f"customer_id=alice; {COOKIE}={preview_token(shop)}")
    assert FORCED in page.text and page.get("cache-control") == "no-store"
    assert len(shop.events) == counted


# --- replays -------------------------------------------------------------------


def test_a_hundred_replays_at_once_are_one_click(
    sandbox: Sandbox, make_shop: MakeShop, door: str
) -> None:
    shop = make_shop(events={"outbox": "memory:", "relay": "on"})
    link, mark = shop.link(), shop.mark()
    beacon = f"c {mark} 7".encode()

    def replay(number: int) -> int:
        if number % 2:
            return shop.ask(link, customer="alice").status
        return shop.tell(b"\n".join([beacon] * 3), customer="alice").status

    # An asyncio.Runner is one thread's; what runs beside it, its own loop shows.
    threads = 8 if door in ("wsgi", "django") else 1
    with ThreadPoolExecutor(threads) as pool:
        statuses = set(
            pool.map(replay, range(60)) if threads > 1 else map(replay, range(60))
        )
    asyncio.run(shop.runtime.stop())

    assert statuses <= {302, 204, 429}
    assert sandbox.clicks(KEY, "Link") == 1
    assert sandbox.clicks(KEY, "Button") == 1


async def test_a_replay_at_another_process_is_the_same_click(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    page = """{% experience "homepage-banner" as one %}
    {{ one.click_url("/shop", "Link") }} {{ one.attrs("Button") }}{% endexperience %}"""
    sites = [
        Site(
            rendered(page),
            secret_key=SECRET,
            events={"outbox": f"sqlite:///{tmp_path}/{name}.db"},
        )
        for name in "ab"
    ]
    shown = (await sites[0].get(customer="alice")).text
    [link] = re.findall(r"/_moe/c/[\w.-]+", shown)

    await asyncio.gather(
        *(site.get(link, customer="alice") for site in sites for _ in range(10))
    )
    for site in sites:
        await site.delivered()

    assert sandbox.clicks(KEY) == 1
