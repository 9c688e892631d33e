"""A browser of the scripted session: it keeps cookies, and reads what a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import httpx

from .session_counts import Variation

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

IDS = ("customer_id", "moe_uuid", "moe_device", "moe_visitor")
"""The cookies that say who somebody is: what comes first wins."""

AHEAD = frozenset({"sec-purpose", "purpose"})
"""Headers of requests for pages that are not visible yet."""

PREFETCH = {"sec-purpose": "prefetch"}
PRIVACY = {"sec-gpc": "1"}


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
        headers: What it says with every request.
    """

    url: str
    transport: httpx.BaseTransport
    cookies: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    _client: httpx.Client = field(init=False)
    _pages: int = 0

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            base_url=self.url,
            transport=self.transport,
            headers={"user-agent": FIREFOX, **self.headers},
            trust_env=False,
            timeout=60,
        )
        for name, value in self.cookies.items():
            self.set_cookie(name, value)

    def another(self, **cookies: str) -> Self:
        """Return somebody else's browser, with these cookies."""
        return type(self)(self.url, self.transport, cookies)

    @property
    def is_bot(self) -> bool:
        return "bot" in self._client.headers["user-agent"]

    @property
    def who(self) -> str | None:
        """Whom its pages are for; None for somebody whom no event can name."""
        return next(iter(self.ids), None)

    @property
    def ids(self) -> list[str]:
        """The ids that its requests tell, in the order in which they are believed.

        What a page had counts for its id, as long as that is one of them.
        """
        if self.is_bot or not self.consents:
            return []
        return [value for name in IDS if (value := self.cookie(name))]

    @property
    def consents(self) -> bool:
        """Whether there is a consent and no objection."""
        return (
            self.cookie("consent") == "yes"
            and self._client.headers.get("sec-gpc") != "1"
            and self.cookie("moe_dis") != "1"
        )

    def cookie(self, name: str) -> str | None:
        return self._client.cookies.get(name)

    def set_cookie(self, name: str, value: str) -> None:
        self._client.cookies.set(name, value)

    def drop_cookie(self, name: str) -> None:
        self._client.cookies.delete(name)

    def say(self, headers: Mapping[str, str]) -> None:
        """Say something more with every request from now on."""
        self._client.headers.update(headers)

    def open(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Page:
        """Ask for a page and take all of it."""
        # A handler that raises ends its connection: no other request may get it.
        once = {"connection": "close"} if "broken" in path else {}
        response = self._client.request(
            method, path, headers={**(headers or {}), **once}
        )
        return self._page(response.status_code, response.headers, response.text)

    def open_and_leave(self, path: str) -> Page:
        """Ask for a page, and go when its first bytes are there."""
        with self._client.stream("GET", path) as response:
            start = next(response.iter_text())
        return self._page(response.status_code, response.headers, start)

    def follow(
        self, link: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Follow a link, as far as the first answer."""
        return self._client.request(method, link, headers=headers)

    def send_beacon(
        self, lines: list[str], headers: Mapping[str, str] | None = None
    ) -> int:
        """Tell what happened to elements, as the script does; return the status."""
        own = {"sec-fetch-site": "same-origin", "content-type": "text/plain"}
        beacon = "\n".join(lines)
        answer = self._client.post(
            "/_moe/e", content=beacon, headers={**own, **(headers or {})}
        )
        return answer.status_code

    def hand_over(self, device_id: str) -> int:
        """Tell the Web SDK's device id, as our script does; return the status."""
        own = {"sec-fetch-site": "same-origin", "content-type": "text/plain"}
        return self._client.post("/_moe/d", content=device_id, headers=own).status_code

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
