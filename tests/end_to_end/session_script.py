"""The visitors of the scripted session: their acts, and which of these count.

README's rules and the pages' content decide here what counts, not the package.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from moe_middleware import Action

from .session_browsers import (
    Browser,
    Element,
    Page,
)
from .session_counts import Counted, Variation
from .session_shop import CUSTOMERS

PAGES = ("/", "/?utm_medium=email", "/offers", "/mixed", "/news")

AT_ONCE = {
    "/": {"homepage-banner", "promo-strip"},
    "/mixed": {"homepage-banner"},
    "/news": {"footer-note", "promo-strip"},
    "/odd": {"homepage-banner"},
}
"""Which experiences of a page count with a good response; each of them once."""

WHEN_SEEN = {"/offers": {"product-badge", "cart-upsell"}, "/mixed": {"cart-upsell"}}
"""Which of them count once the browser says that they were on screen."""

API_KEYS = ("checkout-hint", "footer-note", "product-badge")


@dataclass(frozen=True, slots=True)
class Signal:
    """What the browser's script tells of one element: a click, or that it was seen."""

    element: Element
    clicked_at: int | None = None

    @property
    def line(self) -> str:
        token, clicked_at = self.element.token, self.clicked_at
        return f"s {token}" if clicked_at is None else f"c {token} {clicked_at}"


@dataclass(slots=True)
class Visitor:
    """One of them: what their browser does, and what of it counts.

    Attributes:
        number: Decides what they do, and who they are.
        browser: Theirs.
        counted: What counts.
        spared: How often something did not count, by the reason.
        draws: What they do where they have a choice.
    """

    number: int
    browser: Browser
    counted: list[Counted] = field(default_factory=list)
    spared: Counter[str] = field(default_factory=Counter)
    draws: random.Random = field(init=False)
    _clock: int = 1_800_000_000_000
    _done: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draws = random.Random(f"session {self.number}")

    # --- what anybody does -------------------------------------------------

    def play(self) -> None:
        """Look around, do one odd thing, and go on."""
        self.look(self.draws.choice(PAGES))
        ODD_THINGS[self.number % len(ODD_THINGS)](self)
        for path in self.draws.sample(PAGES, self.draws.randrange(2)):
            self.use(self.look(path))

    def use(self, page: Page) -> None:
        """Do with a page what people do."""
        if self.draws.random() < 0.6:
            self.see(page.marks)
        if self.draws.random() < 0.5:
            for link in self._some(page.links):
                self.follow(link)
        if self.draws.random() < 0.5:
            for mark in self._some(self.buttons(page)):
                self.tell([self.click(mark)])

    def see(self, marks: Iterable[Element]) -> None:
        """Let the script tell of all that is watched for it that it was on screen."""
        seen = [Signal(mark) for mark in marks if "seen" in mark.tells]
        if seen:
            self.tell(seen)

    def click(self, mark: Element) -> Signal:
        """Return the signal of a click, each at another time."""
        self._clock += 1_000
        return Signal(mark, self._clock)

    def buttons(self, page: Page) -> list[Element]:
        return [mark for mark in page.marks if "click" in mark.tells]

    def a_page(self) -> Page:
        """Return a page that has links and buttons, for any visitor."""
        return self.look(self.draws.choice(["/", "/mixed", "/offers"]))

    def a_link(self) -> Element | None:
        links = self.a_page().links
        return self.draws.choice(links) if links else None

    def _some(self, elements: Iterable[Element]) -> list[Element]:
        given = list(elements)
        return self.draws.sample(given, min(len(given), self.draws.randrange(1, 3)))

    # --- the rules ---------------------------------------------------------

    def look(
        self,
        path: str,
        *,
        leave: bool = False,
        kept: Page | None = None,
    ) -> Page:
        """Look at a page: what counts at once does so with a good response.

        Args:
            path: With its query.
            leave: Whether to go before its end.
            kept: A copy of it, to be shown again if it is still good.
        """
        browser = self.browser
        if leave:
            page = browser.open_and_leave(path)
        else:
            page = browser.open(path, etag=kept.etag if kept is not None else "")
        name = "/odd" if path.startswith("/odd/") else path.partition("?")[0]
        watched = {mark.variation[0] for mark in page.marks if "seen" in mark.tells}
        shown = {variation.experience_key for variation in page.variations}
        assert watched == WHEN_SEEN.get(name, set()) & shown, (path, watched)
        if leave or not (200 <= page.status < 300 or page.status == 304):
            self.spared["page left" if leave else "page status"] += 1
            return page
        seen = kept if kept is not None and page.status == 304 else page
        for variation in seen.variations:
            if variation.experience_key in AT_ONCE.get(name, ()):
                self._count(Action.IMPRESSION, variation, page.whose)
        return page

    def follow(self, link: Element, *, by: Browser | None = None) -> None:
        """Follow a link: it leads on in any case, and counts once, for its visitor."""
        browser = by or self.browser
        answer = browser.follow(link.href)
        target = f"/shop?from={link.variation.experience_key}"
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"] == target
        self._count_once(browser, "link", link.href, Action.CLICK, link)

    def tell(self, signals: list[Signal]) -> None:
        """Send a beacon: each thing that it tells counts once, for its visitor."""
        if not signals:
            return
        sent = self.browser.send_beacon([one.line for one in signals])
        assert sent == 204, sent
        for signal in signals:
            mark = signal.element
            if signal.clicked_at is not None:
                what = (mark.token, signal.clicked_at)
                self._count_once(self.browser, "beacon", what, Action.CLICK, mark)
            else:
                # All elements of one experience say the same impression.
                seen = (mark.page, mark.variation.experience_key)
                self._count_once(self.browser, "sight", seen, Action.IMPRESSION, mark)

    def call(
        self, key: str, *track: str, b_id: str | None = None, status: int = 200
    ) -> None:
        """Let a handler of the site count: at once, whatever becomes of the response.

        What it only shows counts with a good response, and nothing is shown twice.
        """
        named = {} if b_id is None else {"b_id": b_id}
        variation, who = self.browser.call(
            f"/api/{key}", track=track, status=status, **named
        )
        if variation is None:
            return
        if "impression" in track or ("show" in track and status < 300):
            self._count(Action.IMPRESSION, variation, who)
        for what in track:
            if what == "click":
                self._count(Action.CLICK, variation, who, b_id)

    def _count_once(
        self, by: Browser, kind: str, what: object, action: Action, element: Element
    ) -> None:
        if element.whose not in by.ids:
            self.spared[f"{kind} somebody else"] += 1
        elif (kind, what) in self._done:
            self.spared[f"{kind} again"] += 1
        else:
            self._done.add((kind, what))
            b_id = element.b_id if action is Action.CLICK else None
            self._count(action, element.variation, element.whose, b_id)

    def _count(
        self,
        action: Action,
        variation: Variation,
        whose: str | None,
        b_id: str | None = None,
    ) -> None:
        assert whose is not None, "an unknown visitor was shown something"
        self.counted.append(
            Counted(action=action, variation=variation, customer_id=whose, b_id=b_id)
        )


# --- the odd things --------------------------------------------------------


def reads_on(me: Visitor) -> None:
    """Read all pages; on the last one the Web SDK would count, and we do not."""
    for path in PAGES:
        me.use(me.look(path))
    page = me.look("/sdk")
    assert not page.links and not page.marks
    me.spared["page web_sdk"] += len(page.variations)


def follows_twice(me: Visitor) -> None:
    for link in me.a_page().links[:4]:
        me.follow(link)
        me.follow(link)


def passes_links_on(me: Visitor) -> None:
    page = me.a_page()
    customer = me.browser.another(customer_id=f"friend-{me.number}")
    stranger = me.browser.another()
    for link in page.links[:3]:
        for friend in (customer, stranger):
            me.follow(link, by=friend)
    for link in page.links[1:4]:
        me.follow(link)


def sends_beacons_again(me: Visitor) -> None:
    for mark in me.buttons(me.a_page())[:3]:
        clicked = me.click(mark)
        me.tell([clicked])
        me.tell([clicked, clicked])
        me.tell([me.click(mark), clicked])


def scrolls_up_and_down(me: Visitor) -> None:
    for path in ("/offers", "/mixed"):
        page = me.look(path)
        me.see(page.marks[:1])
        me.see(page.marks)
        me.see(page.marks[-1:])


def is_counted_by_handlers(me: Visitor) -> None:
    key = me.draws.choice(API_KEYS)
    me.call(key, "impression")
    me.call(key, "impression", "show", "impression")
    me.call(key, "show", "click", "click", b_id="Pay, now")
    me.call(key, "click", b_id="Pay, now", status=500)
    me.call(key, "impression", "click", status=500)
    me.call(key, "show", status=500)


def meets_broken_pages(me: Visitor) -> None:
    for what in ("broken", "gone", "moved"):
        page = me.look(f"/odd/{what}")
        for link in page.links[:1]:
            me.follow(link)


def comes_back(me: Visitor) -> None:
    """A browser shows what it has: without asking at all, or because it may."""
    page = me.look("/news")
    again = me.look("/news", kept=page)
    assert again.status == 304 or again.etag != page.etag
    offers = me.look("/offers")
    me.see(offers.marks)
    for mark in me.buttons(offers)[:2]:
        me.tell([me.click(mark)])
    # From here on nothing is asked for: the page as it was, with the tokens it had.
    me.see(offers.marks)
    for mark in me.buttons(offers)[:2]:
        me.tell([me.click(mark)])


def leaves_early(me: Visitor) -> None:
    page = me.look("/odd/endless", leave=True)
    for link in page.links[:2]:
        me.follow(link)


def logs_in(me: Visitor) -> None:
    """The pages after a login are the customer's, with what the customer gets."""
    me.use(me.a_page())
    me.browser.set_cookie("customer_id", CUSTOMERS[me.number % len(CUSTOMERS)])
    page = me.a_page()
    me.use(page)
    me.browser.drop_cookie("customer_id")
    me.use(me.a_page())


def becomes_a_customer(me: Visitor) -> None:
    """What the page before the login had is still that of whom it was made for."""
    before = me.a_page()
    me.browser.set_cookie("customer_id", f"joined-{me.number}")
    for link in before.links[:2]:
        me.follow(link)
    me.see(before.marks)
    for mark in me.buttons(before)[:2]:
        me.tell([me.click(mark)])
    after = me.a_page()
    me.browser.drop_cookie("customer_id")
    # Nothing says any more who the customer was.
    for link in (*after.links[:2], *before.links[1:3]):
        me.follow(link)


def is_given_a_device_id(me: Visitor) -> None:
    """The Web SDK tells its id late: by its cookie, or by our script for it."""
    before, device = me.a_page(), f"d0d0d0d0-0000-4000-8000-{me.number:012}"
    known = me.browser.cookie("moe_uuid")
    if me.number % 2:
        me.browser.set_cookie("moe_uuid", device)
    else:
        assert me.browser.hand_over(device) == 204
        assert me.browser.cookie("moe_device") == (None if known else device)
    for link in before.links[:2]:
        me.follow(link)
    me.see(before.marks)
    me.use(me.a_page())
    for mark in me.buttons(before)[:2]:
        me.tell([me.click(mark)])


def clicks_on_everything(me: Visitor) -> None:
    """One beacon tells what came together, a link and a button beside each other."""
    page = me.look("/offers")
    signals = [Signal(mark) for mark in page.marks]
    me.tell([*signals, *(me.click(mark) for mark in me.buttons(page))])
    for link in page.links:
        me.follow(link)


ODD_THINGS: tuple[Callable[[Visitor], None], ...] = (
    *(reads_on, follows_twice, passes_links_on, sends_beacons_again),
    *(scrolls_up_and_down, is_counted_by_handlers, meets_broken_pages, comes_back),
    *(leaves_early, logs_in, becomes_a_customer, is_given_a_device_id),
    clicks_on_everything,
)
"""As many as share no factor with ten: all kinds of visitors do all of them."""


def visitor(number: int, url: str, transport: httpx.BaseTransport) -> Visitor:
    """Return one of the visitors: of ten, six are customers and four anonymous."""
    cookies = {}
    match number % 10:
        case 0 | 1 | 2 | 3 | 4 | 5:
            cookies["customer_id"] = CUSTOMERS[number * 7 % len(CUSTOMERS)]
        case 6:
            # The Web SDK has given them an id.
            cookies["moe_uuid"] = f"5dc0ffee-0000-4000-8000-{number:012}"
    return Visitor(number, Browser(url, transport, cookies))
