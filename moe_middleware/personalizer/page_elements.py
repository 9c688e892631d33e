"""Makes the links and marks of one page's elements."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches

from markupsafe import Markup

from ..browser.click_links import ClickLinks
from ..browser.marks import MarkTokens, PageMarks
from ..logs.log_lines import one_line
from ..models.experience import Experience
from ..models.plain_values import label_of
from ..models.urls import harmless
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
        "_kit",
        "_marks",
        "_reporting_id",
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
        self._marks: PageMarks | None = None
        self.left_to_sdk: frozenset[str] = frozenset()
        self.counts = counts

    @property
    def marks(self) -> PageMarks | None:
        """Makes links that we count; None if nothing counts."""
        if self._marks is not None or self._reporting_id is None:
            return self._marks
        links, beacons = self._kit.links, self._kit.beacons
        if links is not None and beacons is not None:
            self._marks = PageMarks(
                links,
                self._reporting_id,
                beacons,
                root_path=self._visit.root_path,
            )
        return self._marks

    def sight(self, key: str) -> str | None:
        """Return the uuid of a watched key's impression, None for other keys."""
        return self._marks.sight(key) if self._marks is not None else None

    def is_counted(self, key: str) -> bool:
        """Whether an experience has links or marks that count."""
        return self._marks is not None and key in self._marks.counted

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        if target is None:
            logger.warning("click_target_missing b_id=%s: %s", _log(b_id), _NO_TARGET)
        if not self.counts or experience.key in self.left_to_sdk:
            return harmless(target)
        marks = self.marks
        if marks is None:
            self._miss_secret("click_url")
            return harmless(target)
        return marks.click_url(experience, target, _element(b_id))

    def miss(self, experience: Experience, name: str) -> None:
        self._kit.missing.note(experience, name)

    def attrs(self, experience: Experience, b_id: object) -> str:
        element = _element(b_id)
        if not self.counts:
            return ""
        if experience.key in self.left_to_sdk:
            return "" if element is None else _SDK_ATTRS.format(experience.key, element)
        marks = self.marks
        if marks is None:
            self._miss_secret("attrs")
            return ""
        return marks.attrs(experience, element)

    def _miss_secret(self, what: str) -> None:
        if self._reporting_id is not None:
            self._kit.without(what)


MAX_LOGGED = 1_000
"""Missing values that are logged at most, over all experiences."""

_NO_TARGET = (
    "click_url needs a target: click_url('/shop', 'Shop now'), in Django's templates "
    "{% click_url hero '/shop' 'Shop now' %}"
)


def _element(b_id: object) -> str | None:
    try:
        return label_of(b_id)
    except ValueError as error:
        logger.warning("element_name_ignored: b_id: %s: give a text", error)
        return None


def _log(b_id: object) -> str:
    return "none" if b_id is None else "given"
