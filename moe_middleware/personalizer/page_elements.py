"""The links and marks of one page's elements, and who counts them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from difflib import get_close_matches

from markupsafe import Markup

from ..browser.marks import PageMarks
from ..logs.log_lines import one_line
from ..models.experience import Experience
from ..models.plain_values import label_of
from ..models.urls import harmless

logger = logging.getLogger(__name__)

_SDK_ATTRS = Markup('data-moe-sdk="{}" data-moe-widget="{}"')


class PageElements:
    """Makes the links and marks of one page's elements.

    Args:
        marks: Makes those that we count; None where none counts.
        without: Called where they are wanted all the same.
        missing: Hears of payload values that are not there.

    Attributes:
        left_to_sdk: The keys whose clicks the Web SDK reports: their links are plain.
        counts: Whether anything counts at all.
    """

    __slots__ = ("_missing", "_without", "counts", "left_to_sdk", "marks")

    def __init__(
        self,
        marks: PageMarks | None = None,
        without: Callable[[str], None] | None = None,
        missing: MissingValues | None = None,
    ) -> None:
        self.marks = marks
        self._missing = missing
        self._without = without
        self.left_to_sdk: frozenset[str] = frozenset()
        self.counts = True

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        if target is None:
            logger.warning("click_target_missing b_id=%s: %s", _log(b_id), _NO_TARGET)
        if not self.counts or experience.key in self.left_to_sdk:
            return harmless(target)
        if self.marks is None:
            if self._without is not None:
                self._without("click_url")
            return harmless(target)
        return self.marks.click_url(experience, target, _element(b_id))

    def miss(self, experience: Experience, name: str) -> None:
        if self._missing is not None:
            self._missing.note(experience, name)

    def attrs(self, experience: Experience, b_id: object) -> str:
        element = _element(b_id)
        if not self.counts:
            return ""
        if experience.key in self.left_to_sdk:
            return "" if element is None else _SDK_ATTRS.format(experience.key, element)
        if self.marks is None:
            if self._without is not None:
                self._without("attrs")
            return ""
        return self.marks.attrs(experience, element)


class MissingValues:
    """Tells the log, once for each, of payload values that a page asked for in vain."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def note(self, experience: Experience, name: str) -> None:
        said = (experience.key, name)
        if said in self._said or len(self._said) >= MAX_SAID:
            return
        self._said.add(said)
        near = get_close_matches(name, experience.payload, n=1)
        if not near:
            # Tests for a value that not every variation has are no mistake.
            there = ", ".join(map(one_line, [*experience.payload][:10]))
            advice = f"it has {there}"
        else:
            advice = f"did you mean {one_line(near[0])!r}?"
        logger.log(
            logging.WARNING if near else logging.INFO,
            "payload_value_missing key=%s name=%s: %s",
            *(one_line(experience.key), one_line(name), advice),
        )


MAX_SAID = 1_000
"""Values that were asked for in vain, of all experiences."""

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
