"""What others could write into a payload, and an API that answers with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moe_middleware.sandbox.listeners import address_of, listen
from moe_middleware.sandbox.uvicorn import running

TEXTS = [
    '"><script>hit(1)</script>',
    "'><img src=x onerror=hit(2)>",
    "</script><script>hit(3)</script>",
    "</title></textarea></style></noscript><svg/onload=hit(4)>",
    "<!--<script>hit(5)",
    "--><img src=x onerror=hit(6)><!--",
    "]]><script>hit(7)</script>",
    "{{7*7}}{%raw%}${7*7}#{7*7}<%=7*7%>{{hit(8)}}{{constructor.constructor('hit(8)')()}}",
    "javascript:hit(9)",
    "JAVA\tSCRIPT:hit(10)",
    "data:text/html,<script>parent.hit(11)</script>",
    "`${hit(12)}`",
    "\u2028hit(13)\u2029",
    '\\"-hit(14)-\\"',
    '" onmouseover="hit(15)" onfocus="hit(15)" autofocus x="',
    "x onpointerover=hit(16) style=animation-name:x onanimationstart=hit(16)",
    "\0<script>hit(17)</script>",
    "&lt;script&gt;hit(18)&lt;/script&gt;",
    "&#60;script&#62;hit(19)&#60;/script&#62;",
    "javascript&colon;hit(20)",
    "&#106;avascript:hit(20)",
    "%3Cscript%3Ehit(21)%3C/script%3E",
    "+ADw-script+AD4-hit(22)+ADw-/script+AD4-",
    "<a href=javascript:hit(23)>click</a>",
    "</SCRIPT ><iframe srcdoc='<script>parent.hit(24)</script>'>",
    "<base href=//evil.example/><meta http-equiv=refresh content=0;url=javascript:1>",
    '","__proto__":{"polluted":1},"x":"',
    "\u202e</p>\u200b<script>hit(26)</script>",
    "\ufe64script\ufe65hit(27)",
    "line\r\none: two\n\n2026-11-22 CRITICAL forged line",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b2J",
]
"""Each ``hit`` has a number of its own: a page where one is called, is broken."""

HARMLESS = "harmless"

KEY = "homepage-banner"
SDK_KEY = "promo-strip"
NAMES = ["__html__", "__class__", "click_url", "attrs", "links", "get", "__proto__"]


def context_of(text: str) -> dict[str, Any]:
    return {
        "cid": text,
        "experience": text,
        "moe_variation_id": text,
        "audience_name": text,
        "audience_id": text,
        "type": text,
        text: [text, {text: text}],
    }


def answer_of(text: str) -> dict[str, Any]:
    """Return a fetch's answer that says a text wherever it can."""
    payload = {
        "Title": {"value": text, "data_type": "string"},
        "Json": {"value": json.dumps({text: [text]}), "data_type": "json"},
        text: {"value": text, "data_type": text},
        **{name: {"value": text, "data_type": "string"} for name in NAMES},
    }
    one = {"payload": payload, "experience_context": context_of(text)}
    return {KEY: one, SDK_KEY: one, text: one}


class HostileAPI:
    """An API in the hands of somebody else.

    Attributes:
        url: Its address, for ``base_url``.
        says: The text that its answers are full of.
        status: With which status.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.says = HARMLESS
        self.status = 200

    async def answer(self, request: Request) -> Response:
        body: dict[str, Any] = {"experiences": answer_of(self.says)}
        if self.status != 200:
            body = dict.fromkeys(("title", "description", "code"), self.says)
        elif "metadata" in request.url.path:
            row = {"experience_key": KEY, "experience_name": self.says}
            body = {"metadata": {"experiences": [{**row, "status": self.says}]}}
        return JSONResponse(body, self.status)


@contextmanager
def hostile_api() -> Iterator[HostileAPI]:
    """Serve it on 127.0.0.1 until the block ends."""
    with listen() as listener:
        api = HostileAPI(f"{address_of(listener)}/v1")
        route = Route("/{rest:path}", api.answer, methods=["GET", "POST"])
        with running(Starlette(routes=[route]), listener):
            yield api
