"""Makes the links and marks of one page's elements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from markupsafe import Markup

from ..browser.click_links import ClickLinks
from ..browser.marks import MarkTokens
from ..browser.tokens import TokenTooLongError
from ..logs.log_lines import one_line
from ..models.experience import Experience, context_json
from ..models.ids import new_id
from ..models.plain_values import label_of
from ..models.urls import harmless, mounted_at
from ..models.visits import Visit
from ..visitors.visitor import NO_VISIT

logger = logging.getLogger(__name__)

_SDK_ATTRS = Markup('data-moe-sdk="{}" data-moe-widget="{}"')


class MissingValues:
    """Logs missing payload values that pages read, once each."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def note(self, experience: Experience, name: str) -> None:
        place = (experience.key, name)
        if place in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add(place)
        near = get_close_matches(name, experience.payload, n=1)
        if not near:
            # Testing for a value that only some variations have is no mistake.
            there = ", ".join(map(one_line, [*experience.payload][:10]))
            advice = f"it has {there}"
        else:
            advice = f"did you mean {one_line(near[0])!r}?"
        logger.log(
            logging.WARNING if near else logging.INFO,
            "payload_value_missing key=%s name=%s: %s",
            *(one_line(experience.key), one_line(name), advice),
        )


@dataclass(frozen=True, slots=True)
class ElementKit:
    """The shared makers of links and marks for all pages of a configuration.

    Attributes:
        links: Makes click links; None without a secret to sign them with.
        beacons: Makes elements' tokens; None without a secret.
        without: Called when one of them is needed and there is no secret.
        missing: Logs missing payload values.
    """

    links: ClickLinks | None = None
    beacons: MarkTokens | None = None
    without: Callable[[str], None] = field(default=lambda _: None)
    missing: MissingValues = field(default_factory=MissingValues)


class PageElements:
    """Makes the links and marks of one page's elements.

    Args:
        kit: The shared makers.
        reporting_id: The id for the page's events; None if nothing counts.
        visit: The request, for the prefix at which the app is mounted.

    Attributes:
        left_to_sdk: The keys whose clicks the Web SDK reports: their links are plain.
        counts: Whether anything counts at all.
    """

    __slots__ = (
        "_counted",
        "_kit",
        "_reporting_id",
        "_sights",
        "_visit",
        "counts",
        "left_to_sdk",
    )

    def __init__(
        self,
        kit: ElementKit = ElementKit(),
        reporting_id: str | None = None,
        visit: Visit = NO_VISIT,
        counts: bool = True,
    ) -> None:
        self._kit = kit
        self._reporting_id = reporting_id
        self._visit = visit
        # Most pages have neither: none is made for them.
        self._counted = self.left_to_sdk = _NO_KEYS
        self._sights = _NO_SIGHTS
        self.counts = counts

    def watch(self, key: str) -> bool:
        """Let the browser report a key's impression; False if it cannot."""
        if self._kit.beacons is None or self._reporting_id is None:
            return False
        if key not in self._sights:
            self._sights = {**self._sights, key: new_id()}
        return True

    def sight(self, key: str) -> str | None:
        """Return the uuid of a watched key's impression, None for other keys."""
        return self._sights.get(key)

    def is_counted(self, key: str) -> bool:
        """Whether an experience has links or marks that count."""
        return key in self._counted

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        key = experience.key
        if target is None:
            given = "none" if b_id is None else "given"
            logger.warning("click_target_missing b_id=%s: %s", given, _NO_TARGET)
        # The SDK reports its clicks: a counted link would count them twice.
        if not self.counts or key in self.left_to_sdk:
            return harmless(target)
        links, reporting_id = self._kit.links, self._reporting_id
        if links is None or reporting_id is None:
            self._miss_secret("click_url")
            return harmless(target)
        self._counted |= {key}
        return links.make(
            target,
            key=key,
            b_id=_element(b_id),
            context=context_json(experience),
            visitor_id=reporting_id,
            prefix=mounted_at(self._visit.root_path),
        )

    def attrs(self, experience: Experience, b_id: object) -> str:
        key, element = experience.key, _element(b_id)
        if not self.counts:
            return ""
        if key in self.left_to_sdk:
            return "" if element is None else _SDK_ATTRS.format(key, element)
        beacons, reporting_id = self._kit.beacons, self._reporting_id
        if beacons is None or reporting_id is None:
            self._miss_secret("attrs")
            return ""
        sight = self._sights.get(key)
        # There is nothing that the script could report.
        if element is None and sight is None:
            return ""
        self._counted |= {key}
        try:
            token = beacons.make(
                b_id=element,
                sight=sight,
                context=context_json(experience),
                visitor_id=reporting_id,
            )
        except TokenTooLongError:
            logger.warning("element_not_marked key=%s: %s", one_line(key), _TOO_LONG)
            return ""
        kinds = "seen" if element is None else "click" if sight is None else _BOTH
        # Neither value has characters that need escaping.
        return Markup(f'data-moe="{token}" data-moe-on="{kinds}"')

    def miss(self, experience: Experience, name: str) -> None:
        self._kit.missing.note(experience, name)

    def _miss_secret(self, what: str) -> None:
        if self._reporting_id is not None:
            self._kit.without(what)


_NO_KEYS: frozenset[str] = frozenset()
_NO_SIGHTS: Mapping[str, str] = {}
_BOTH = "click seen"

MAX_LOGGED = 1_000
"""Missing values that are logged at most, over all experiences."""

_NO_TARGET = (
    "click_url needs a target: click_url('/shop', 'Shop now'), in Django's templates "
    "{% click_url hero '/shop' 'Shop now' %}"
)


_TOO_LONG = "b_id and experience_context are too long for an attribute"


def _element(b_id: object) -> str | None:
    try:
        return label_of(b_id)
    except ValueError as error:
        logger.warning("element_name_ignored: b_id: %s: give a text", error)
        return None
