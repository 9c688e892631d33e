"""Makes reports of the store's counts, in the dashboard's terms.

Impressions and clicks are counted in total and per customer. A customer counts once for
a variation, once for its audience and once for the experience, so the parts may add up
to more than the whole.

The posterior uses customers: those who clicked, of those who saw the variation. A click
of a customer who never saw it counts as a click, but not in the posterior, so there may
be more clicks than impressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..memory.stores import Store
from ..workspace.schedules import find_zone
from ..workspace.workspace import Audience, Experience, Workspace
from .counts import AUDIENCE, EXPERIENCE, VARIATION, Counts, Sums, count, sum_up
from .statistics import chances_to_win, split_p_value
from .timelines import Bucket, Grain


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The counts of an experience, an audience or a variation.

    Attributes:
        unique_impressions: The customers with an impression.
        unique_clicks: The customers with a click.
        ctr: Clicks per impression; None without an impression. It may exceed 1.
    """

    impressions: int
    unique_impressions: int
    clicks: int
    unique_clicks: int
    ctr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationReport(Figures):
    """One variation of one audience.

    Attributes:
        variation_id: Its ``moe_variation_id``.
        name: The name in the workspace, if it has one.
        converted: The customers with both an impression and a click.
        low: The lower bound of the 95 % credible interval of the rate of converted
            customers, 0 to 1.
        high: Its upper bound.
        chance_to_win: The probability of the highest rate among the audience's
            variations, 0 to 1; None for the only one, and for one that is not in the
            workspace.
        clicks_by_b_id: The clicks by element, the most frequent first.
        share: Its share of the customers with an impression; None without any.
        expected_share: Its configured share; None if it is not in the workspace.
    """

    variation_id: str
    name: str
    converted: int
    low: float
    high: float
    chance_to_win: float | None
    clicks_by_b_id: Mapping[str, int]
    share: float | None
    expected_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceReport(Figures):
    """One audience of one experience.

    Attributes:
        split_p_value: The probability of so uneven a split by chance, 0 to 1; None if
            there is nothing to compare.
    """

    audience_id: str
    name: str
    split_p_value: float | None
    variations: tuple[VariationReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperienceReport(Figures):
    """One experience.

    Attributes:
        over_time: The same buckets for all experiences; empty without a dated event.
    """

    key: str
    name: str
    status: str
    audiences: tuple[AudienceReport, ...]
    over_time: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All counts.

    Attributes:
        generated_at: The time of the report, in unix seconds.
        timezone: The timezone of ``over_time``.
        ctr: Clicks per impression; None without an impression.
        unknown: Events whose cid belongs to no experience of the workspace, with a
            customer counted once per first part of a cid; None if there are none.
        over_time: All experiences, including the unknown.
        misdated: Events with a time in milliseconds; they are in all counts but in no
            bucket.
    """

    generated_at: float
    timezone: str
    grain: Grain
    impressions: int
    clicks: int
    ctr: float | None
    experiences: tuple[ExperienceReport, ...]
    unknown: ExperienceReport | None
    over_time: tuple[Bucket, ...]
    misdated: int


def build_report(
    store: Store, workspace: Workspace, *, now: float, experience_key: str | None = None
) -> Report:
    """Return the report on all events so far, or on those of one experience.

    A status may depend on ``now``, in unix seconds.

    Raises:
        KeyError: There is no such experience.
    """
    known = {one.key: one for one in workspace.experiences}
    wanted = list(known.values()) if experience_key is None else [known[experience_key]]
    token = None if experience_key is None else wanted[0].cid_token
    counts = count(store, token, find_zone(workspace.timezone))
    strange = counts.tokens() - {one.cid_token for one in workspace.experiences}
    everything = counts.sums()
    return Report(
        generated_at=now,
        timezone=workspace.timezone,
        grain=counts.grain,
        impressions=everything.impressions,
        clicks=everything.clicks,
        ctr=everything.ctr,
        experiences=tuple(_experience_report(one, counts, now) for one in wanted),
        unknown=_unknown_report(strange, counts) if strange else None,
        over_time=counts.over_time(counts.tokens()),
        misdated=counts.misdated,
    )


def _experience_report(
    experience: Experience, counts: Counts, now: float
) -> ExperienceReport:
    token = experience.cid_token
    configured = {one.audience_id: one for one in experience.audiences}
    # Audiences that the workspace has no more keep their counts.
    others = [id for id in counts.ids(token) if id not in configured]
    audiences = [*configured.items(), *((id, None) for id in others)]
    return ExperienceReport(
        key=experience.key,
        name=experience.name,
        status=experience.status_at(now).value,
        **sum_up(counts.rows(token), EXPERIENCE).named(),
        audiences=tuple(
            _audience_report(token, audience_id, audience, counts)
            for audience_id, audience in audiences
        ),
        over_time=counts.over_time([token]),
    )


def _unknown_report(tokens: set[str], counts: Counts) -> ExperienceReport:
    rows = (row for token in tokens for row in counts.rows(token))
    return ExperienceReport(
        key="unknown",
        name="Unknown experiences",
        status="",
        **sum_up(rows, EXPERIENCE).named(),
        audiences=(),
        over_time=counts.over_time(tokens),
    )


def _audience_report(
    token: str, audience_id: str, audience: Audience | None, counts: Counts
) -> AudienceReport:
    configured = audience.variations if audience else ()
    shares = {one.variation_id: one.percent / 100 for one in configured}
    names = {one.variation_id: one.name for one in configured}
    found = counts.ids(token, audience_id)
    sums = {
        id: sum_up(counts.rows(token, audience_id, id), VARIATION)
        for id in [*shares, *(id for id in found if id not in shares)]
    }
    chances = _chances({id: sums[id] for id in shares})
    people = sum(one.unique_impressions for one in sums.values())
    return AudienceReport(
        audience_id=audience_id,
        name=audience.name if audience else audience_id,
        **sum_up(counts.rows(token, audience_id), AUDIENCE).named(),
        split_p_value=split_p_value(
            [sums[id].unique_impressions for id in shares], list(shares.values())
        ),
        variations=tuple(
            VariationReport(
                variation_id=id,
                name=names.get(id, ""),
                **one.posterior(),
                chance_to_win=chances.get(id),
                clicks_by_b_id=counts.buttons(token, audience_id, id),
                share=one.unique_impressions / people if people else None,
                expected_share=shares.get(id),
            )
            for id, one in sums.items()
        ),
    )


def _chances(rivals: Mapping[str, Sums]) -> dict[str, float]:
    if len(rivals) < 2:
        return {}
    counts = tuple((one.converted, one.unique_impressions) for one in rivals.values())
    return dict(zip(rivals, chances_to_win(counts), strict=True))
