"""Checks the names in a workspace file, and the limits of the whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...settings.validation import Mistake, Place, suggestion
from .building import instant_of
from .conditions import ConditionSection
from .experiences import AudienceSection, ExperienceSection, ScheduleSection
from .schedules import Status
from .sections import WorkspaceSection


def reference_mistakes(section: WorkspaceSection) -> Iterator[Mistake]:
    """Yield the mistakes that need the whole file, such as undefined names."""
    names = _Names(section)
    for name, segment in section.segments.items():
        yield from names.condition(("segments", name, "where"), segment.where)
        yield from names.users(("segments", name, "users"), segment.users)
    yield from names.users(("control_group", "users"), section.control_group.users)
    for index, one in enumerate(section.experiences):
        yield from _experience_mistakes(("experiences", index), one, names)
    yield from _too_many_active(section)
    yield from _segment_circles(section)


def _experience_mistakes(
    place: Place, section: ExperienceSection, names: _Names
) -> Iterator[Mistake]:
    users = section.control_group.users
    yield from names.users((*place, "control_group", "users"), users)
    if section.schedule:
        yield from _schedule_mistakes((*place, "schedule"), section.schedule)
    for index, audience in enumerate(section.audiences):
        inner = (*place, "audiences", index)
        yield from names.condition((*inner, "where"), audience.where)
        yield from names.segment((*inner, "segment"), audience.segment)
        if exclude := audience.exclude:
            yield from names.condition((*inner, "exclude", "where"), exclude.where)
            yield from names.segment((*inner, "exclude", "segment"), exclude.segment)
            yield from names.users((*inner, "exclude", "users"), exclude.users)
        yield from _locale_mistakes(inner, audience, section.locales)


def _locale_mistakes(
    place: Place, audience: AudienceSection, locales: tuple[str, ...]
) -> Iterator[Mistake]:
    for index, variation in enumerate(audience.variations):
        for locale in variation.locales:
            if locale not in locales:
                where = (*place, "variations", index, "locales", locale)
                yield Mistake(where, _unknown(locale, locales, "locale"))


def _schedule_mistakes(place: Place, section: ScheduleSection) -> Iterator[Mistake]:
    start, end = instant_of(section.start, "UTC"), instant_of(section.end, "UTC")
    if start is not None and end is not None and end <= start:
        yield Mistake((*place, "end"), f"{section.end} is not after the start")


def _too_many_active(section: WorkspaceSection) -> Iterator[Mistake]:
    active = [
        index
        for index, one in enumerate(section.experiences)
        if one.status == Status.ACTIVE
    ]
    limit = section.limits.active_experiences
    if len(active) > limit:
        text = (
            f"one Active experience too many: a workspace may have {limit}; pause "
            "one, or raise limits.active_experiences"
        )
        yield Mistake(("experiences", active[limit], "status"), text)


def _segment_circles(section: WorkspaceSection) -> Iterator[Mistake]:
    graph = {
        name: set(_segments_in(one.where)) for name, one in section.segments.items()
    }
    # A circle would never be done when its members are looked up.
    for start in graph:
        reached: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += graph.get(name, ())
        if start in reached:
            yield Mistake(("segments", start), "is made of itself")


def _segments_in(section: ConditionSection | None) -> Iterator[str]:
    if section is None:
        return
    if section.segment:
        yield section.segment
    for inner in (*(section.all or ()), *(section.any or ())):
        yield from _segments_in(inner)


class _Names:
    """The names that the file defines."""

    def __init__(self, section: WorkspaceSection) -> None:
        self._segments = tuple(section.segments)
        self._users = tuple(user.id for user in section.users)

    def segment(self, place: Place, name: str | None) -> Iterator[Mistake]:
        if name is not None and name not in self._segments:
            yield Mistake(place, _unknown(name, self._segments, "segment"))

    def users(self, place: Place, names: Iterable[str] | None) -> Iterator[Mistake]:
        for index, name in enumerate(names or ()):
            if name not in self._users:
                yield Mistake((*place, index), _unknown(name, self._users, "user"))

    def condition(
        self, place: Place, section: ConditionSection | None
    ) -> Iterator[Mistake]:
        if section is None:
            return
        yield from self.segment((*place, "segment"), section.segment)
        groups: Mapping[str, Any] = {"all": section.all, "any": section.any}
        for name, group in groups.items():
            for index, inner in enumerate(group or ()):
                yield from self.condition((*place, name, index), inner)


def _unknown(name: str, known: tuple[str, ...], kind: str) -> str:
    if not known:
        return f"unknown {kind} {name!r}: none is listed under {kind}s"
    return suggestion(name, known, kind=kind)
