"""Cookies: what a door reads is what its framework's request shows."""

from __future__ import annotations

import re
import string
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from itertools import product

import falcon
import falcon.asgi
import pytest
from bottle import Bottle  # type: ignore[import-untyped]
from bottle import Request as BottleRequest
from django.core.handlers.wsgi import WSGIHandler
from django.http.cookie import parse_cookie as django_parser
from falcon.testing import create_environ
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.connection import ASGIConnection
from quart import Quart
from sanic import Sanic
from sanic.cookies.request import parse_cookie as sanic_parser
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from werkzeug.http import dump_cookie
from werkzeug.wrappers import Request as WerkzeugRequest

from moe_middleware import Visit
from moe_middleware.models.cookies import (
    CookieReader,
    asgi_cookies,
    bottle_cookies,
    django_cookies,
    falcon_cookies,
    litestar_cookies,
    sanic_cookies,
    starlette_cookies,
    webob_cookies,
    werkzeug_cookies,
    wsgi_cookies,
)

from ..rows import each

# WebOb and Pyramid import modules that Python deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:UserWarning"),
]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
REPLACEMENT = "\ufffd"

VALUES = [
    *("alice", "a@b.example", "acme, inc", "x;y", 'six"feet', "back\\slash", "50%25"),
    *("müller", "m\u00a0x", "tab\tted", "a=b=c", "x%40y", "'single'", "{json: [1]}"),
]

HEADERS = [
    *(b"", b";", b"=", b"=x", b"a", b"a=", b"a=1", b" a = 1 ", b"a=1;a=2", b"a=1;a"),
    *(b"$Version=1; a=1; $Path=/", b'a="1', b'a=1"', b'a=""', b'a="', b'a="b;c"; d=1'),
    *(b'a="x\\"y"', b'a="\\054"', b'a="\\374"', b'a="\\303\\274"', b"a=\\054"),
    *("a=müller".encode(), b"a=m\xfcller", b"a=\xa0x\xa0", b"a=1,b=2", b"a b=1;c=2"),
    *(b'a="x"y; b=1', b'a=y"x"; b=1', b"a==1", b"a=1;;b=2;", b'"a"=1', b"a=\t1\t;b=2"),
    *(
        b"a=50%25",
        b"a=%FC",
        b'a="\\400"',
        b'a="\\',
        b"A=1; a=2",
        b"__Host-a=1",
        b"a(b=1; a=2",
    ),
]

ALPHABET = st.sampled_from('ab=;" \t\\012374,%$é\xa0\xff')
LINES = st.lists(st.text(ALPHABET, max_size=30), min_size=1, max_size=3)


def of_starlette(lines: list[bytes]) -> dict[str, str]:
    headers = [(b"cookie", line) for line in lines]
    return StarletteRequest({"type": "http", "headers": headers}).cookies


ONE_HEADER_ONLY = of_starlette([b"a=1", b"b=2"]) == {"a": "1"}
"""Starlette before 0.49 reads the first Cookie header and none of the others."""


def of_django(lines: list[bytes]) -> dict[str, str]:
    text = (
        b"; ".join(lines).decode("latin-1").encode("latin-1").decode(errors="replace")
    )
    found: dict[str, str] = django_parser(text)
    return found


def of_werkzeug(lines: list[bytes]) -> dict[str, str]:
    environ = {"HTTP_COOKIE": b";".join(lines).decode("latin-1")}
    cookies = WerkzeugRequest(environ).cookies
    return {name: cookies[name] for name in cookies}


def of_litestar(lines: list[bytes]) -> dict[str, str]:
    headers = [(b"cookie", line) for line in lines]
    connection = ASGIConnection({"type": "http", "headers": headers})  # type: ignore[arg-type, var-annotated]
    return connection.cookies


def of_falcon(lines: list[bytes]) -> dict[str, str]:
    environ = create_environ(headers={"Cookie": b";".join(lines).decode("latin-1")})
    return dict(falcon.Request(environ).cookies)


def of_sanic(lines: list[bytes]) -> dict[str, str]:
    cookies = sanic_parser(b";".join(lines).decode("latin-1"))
    return {name: values[0] for name, values in cookies.items()}


def of_bottle(lines: list[bytes]) -> dict[str, str]:
    environ = {"HTTP_COOKIE": b"; ".join(lines).decode("latin-1")}
    with suppress(CookieError):
        return dict(BottleRequest(environ).cookies)
    return {}


def of_webob(lines: list[bytes]) -> dict[str, str]:
    from webob import Request as WebObRequest  # type: ignore[import-untyped]

    environ = {"HTTP_COOKIE": b"; ".join(lines).decode("latin-1")}
    with suppress(UnicodeDecodeError):
        return dict(WebObRequest(environ).cookies)
    return {}


READERS = {
    "starlette": (starlette_cookies, of_starlette),
    "django": (django_cookies, of_django),
    "werkzeug": (werkzeug_cookies, of_werkzeug),
    "litestar": (litestar_cookies, of_litestar),
    "falcon": (falcon_cookies, of_falcon),
    "sanic": (sanic_cookies, of_sanic),
    "webob": (webob_cookies, of_webob),
    "bottle": (bottle_cookies, of_bottle),
}


def check_same(framework: str, lines: list[bytes]) -> None:
    if framework == "starlette" and ONE_HEADER_ONLY:
        lines = lines[:1]
    ours, theirs = (read(lines) for read in READERS[framework])
    for name in {*ours, *theirs} - {""}:
        given = theirs.get(name, "")
        if not TOKEN.fullmatch(name) or REPLACEMENT in given or given == '""':
            continue  # names are tokens; we make no id of '""', and no one id of many
        if framework in ("bottle", "webob") and name not in theirs:
            continue  # one that is malformed makes them drop others, too
        assert ours.get(name) == theirs.get(name), (lines, name)
    assert not any(REPLACEMENT in value for value in ours.values())


@each(("framework", "line"), product(READERS, HEADERS))
def test_a_header_is_read_as_the_framework_reads_it(
    framework: str, line: bytes
) -> None:
    check_same(framework, [line])
    check_same(framework, [line, b"a=last; z=1"])


@settings(max_examples=150)
@given(framework=st.sampled_from([*READERS]), lines=LINES)
def test_any_headers_are_read_as_the_framework_reads_them(
    framework: str, lines: list[str]
) -> None:
    encoding = "utf-8" if framework == "django" else "latin-1"
    check_same(framework, [line.encode(encoding) for line in lines])


def test_a_wrapped_apps_own_framework_tells_how() -> None:
    from pyramid.config import Configurator  # type: ignore[import-untyped]

    class Shop(Quart):
        """Its module is not the framework's."""

    flask = Flask("shop")

    assert asgi_cookies(Starlette()) is asgi_cookies(None) is starlette_cookies
    assert asgi_cookies(Quart("shop")) is asgi_cookies(Shop("shop")) is werkzeug_cookies
    assert asgi_cookies(Litestar()) is litestar_cookies
    assert wsgi_cookies(flask) is wsgi_cookies(flask.wsgi_app) is werkzeug_cookies
    assert wsgi_cookies(WSGIHandler.__new__(WSGIHandler)) is django_cookies
    assert wsgi_cookies(falcon.App()) is asgi_cookies(falcon.asgi.App())
    assert wsgi_cookies(falcon.App()) is falcon_cookies
    assert asgi_cookies(Sanic("shop")) is sanic_cookies
    assert wsgi_cookies(Bottle()) is bottle_cookies
    assert wsgi_cookies(Configurator().make_wsgi_app()) is webob_cookies


@each("value", [*VALUES, "東京", "😀"])
def test_what_frameworks_set_comes_back(value: str) -> None:
    sent = dump_cookie("id", value).partition("; ")[0].encode("latin-1")
    assert werkzeug_cookies([sent])["id"] == value
    if "\t" in value:
        return  # newer releases of Python do not let http.cookies send it
    django: SimpleCookie = SimpleCookie()
    django["id"] = value
    sent = django["id"].OutputString().partition("; ")[0].encode()
    assert django_cookies([sent])["id"] == value
    if value in VALUES:  # Starlette sends Latin-1 alone
        response = Response()
        response.set_cookie("id", value)
        sent = response.raw_headers[-1][1].partition(b"; ")[0]
        assert starlette_cookies([sent])["id"] == value


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=2, unique=True))
def test_no_two_plain_values_become_one(values: list[bytes]) -> None:
    plain = set(string.ascii_letters.encode()) | set(range(0xA1, 0x100))
    values = [bytes(byte for byte in value if byte in plain) for value in values]

    for read in (starlette_cookies, werkzeug_cookies):
        found = {read([b"id=" + value])["id"] for value in values}
        assert len(found) == len(set(values))


ONE_BY_ONE = [read for read, _ in READERS.values() if read is not webob_cookies]


@settings(max_examples=150)
@given(read=st.sampled_from(ONE_BY_ONE), lines=LINES)
def test_a_visit_reads_one_cookie_as_the_framework_reads_all(
    read: CookieReader, lines: list[str]
) -> None:
    raw = [line.encode("latin-1") for line in lines]
    cookies = read(raw)

    for name in {"a", "b", "ab", *cookies}:
        visit = Visit(headers=[(b"cookie", one) for one in raw], read_cookies=read)
        assert visit.cookie(name) == cookies.get(name)


MORE = [b"b=x; a=1", b"b=x;a=1", b"ba=1; a=2", b"a =1", b"b; a", b"a ; "]


@each(("read", "line"), product(ONE_BY_ONE, [*HEADERS, *MORE]))
def test_headers_of_the_table_are_read_alike(read: CookieReader, line: bytes) -> None:
    visit = Visit(headers=[(b"cookie", line)], read_cookies=read)

    assert visit.cookie("a") == read([line]).get("a")
