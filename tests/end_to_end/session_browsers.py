"""A browser of the scripted session: it keeps cookies, and reads what a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import httpx

from .session_counts import Variation

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

IDS = ("customer_id", "moe_uuid", "moe_device", "moe_visitor")
"""The cookies that say who somebody is: what comes first wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """A link, or what the browser's script watches.

    Attributes:
        variation: What it belongs to.
        b_id: Its text, where it has one.
        whose: Who the page was for; None for somebody whom no event can name.
        page: The number of its page, of this browser.
        href: Where it leads.
        token: What the script tells of it.
        tells: ``click``, ``seen`` or both.
    """

    variation: Variation
    b_id: str | None
    whose: str | None
    page: int
    href: str = ""
    token: str = ""
    tells: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What came of one look at a page.

    Attributes:
        status: The HTTP status.
        whose: Who it was for.
        variations: What it showed, in order, each one once.
        links: Those that count clicks.
        marks: What the script watches.
        etag: By which the browser asks whether its copy is still good.
    """

    status: int
    whose: str | None
    variations: tuple[Variation, ...] = ()
    links: tuple[Element, ...] = ()
    marks: tuple[Element, ...] = ()
    etag: str = ""


@dataclass(slots=True)
class Browser:
    """One browser, of a customer or of an unknown visitor.

    Attributes:
        url: The site's.
        transport: The connections, which all browsers share.
        cookies: What it has from the start.
    """

    url: str
    transport: httpx.BaseTransport
    cookies: Mapping[str, str] = field(default_factory=dict)
    _client: httpx.Client = field(init=False)
    _pages: int = 0

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            base_url=self.url,
            transport=self.transport,
            headers={"user-agent": FIREFOX},
            trust_env=False,
            timeout=60,
        )
        for name, value in self.cookies.items():
            self.set_cookie(name, value)

    def another(self, **cookies: str) -> Self:
        """Return somebody else's browser, with these cookies."""
        return type(self)(self.url, self.transport, cookies)

    @property
    def who(self) -> str | None:
        """Whom its pages are for; None for somebody whom no event can name."""
        return next(iter(self.ids), None)

    @property
    def ids(self) -> list[str]:
        """The ids that its requests tell, in the order in which they are believed.

        What a page had counts for its id, as long as that is one of them.
        """
        return [value for name in IDS if (value := self.cookie(name))]

    def cookie(self, name: str) -> str | None:
        return self._client.cookies.get(name)

    def set_cookie(self, name: str, value: str) -> None:
        self._client.cookies.set(name, value)

    def drop_cookie(self, name: str) -> None:
        self._client.cookies.delete(name)

    def open(self, path: str, *, etag: str = "") -> Page:
        """Ask for a page, or whether a copy of it is still good, and take all of it."""
        headers = {"if-none-match": etag} if etag else {}
        if "broken" in path:
            # A handler that raises ends its connection: no other request may get it.
            headers["connection"] = "close"
        response = self._client.get(path, headers=headers)
        return self._page(response.status_code, response.headers, response.text)

    def open_and_leave(self, path: str) -> Page:
        """Ask for a page, and go when its first bytes are there."""
        with self._client.stream("GET", path) as response:
            start = next(response.iter_text())
        return self._page(response.status_code, response.headers, start)

    def follow(self, link: str) -> httpx.Response:
        """Follow a link, as far as the first answer."""
        return self._client.get(link)

    def send_beacon(self, lines: list[str]) -> int:
        """Tell what happened to elements, as the script does; return the status."""
        return self._post("/_moe/e", "\n".join(lines))

    def hand_over(self, device_id: str) -> int:
        """Tell the Web SDK's device id, as our script does; return the status."""
        return self._post("/_moe/d", device_id)

    def _post(self, path: str, content: str) -> int:
        headers = {"sec-fetch-site": "same-origin", "content-type": "text/plain"}
        return self._client.post(path, content=content, headers=headers).status_code

    def call(self, path: str, **params: Any) -> tuple[Variation | None, str | None]:
        """Call the site's API; return its variation, and the visitor's id."""
        answer = self._client.post(path, params=params).json()
        if not answer:
            return None, self.who
        variation = Variation(answer["key"], answer["Audience"], answer["Variation"])
        return variation, self.who

    def _page(self, status: int, headers: httpx.Headers, html: str) -> Page:
        self._pages += 1
        found = _Found(self.who, self._pages)
        found.feed(html)
        return Page(
            status=status,
            whose=self.who,
            variations=tuple(dict.fromkeys(found.variations)),
            links=tuple(one for one in found.elements if "/_moe/" in one.href),
            marks=tuple(one for one in found.elements if one.token),
            etag=headers.get("etag", ""),
        )


class _Found(HTMLParser):
    """Reads what a page of the shop shows."""

    def __init__(self, whose: str | None, page: int) -> None:
        super().__init__()
        self.variations: list[Variation] = []
        self.elements: list[Element] = []
        self._whose = whose
        self._page = page
        self._open: dict[str, str | None] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section":
            names = ("data-key", "data-audience", "data-variation")
            self.variations.append(Variation(*(given[name] or "" for name in names)))
        elif "data-moe" in given or "href" in given:
            self._open, self._text = given, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        given, self._open = self._open, None
        if given is None:
            return
        element = Element(
            variation=self.variations[-1],
            b_id=self._text or None,
            whose=self._whose,
            page=self._page,
            href=given.get("href") or "",
            token=given.get("data-moe") or "",
            tells=frozenset((given.get("data-moe-on") or "").split()),
        )
        self.elements.append(element)
