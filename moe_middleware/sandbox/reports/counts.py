"""The store's running counts of impressions, clicks and customers, added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import tzinfo
from typing import Any, NamedTuple

from ..memory.stores import Store
from ..memory.tables import QUARTER
from ..protocol.events import MILLISECONDS_FROM
from .statistics import credible_interval
from .timelines import Bucket, Grain, choose_grain, spans

TALLY = """
select json_group_array(json_array(
    cid_token, audience_id, variation_id, clicked, actions, customers,
    audience_customers, experience_customers, converted
))
from tally where :cid_token is null or cid_token = :cid_token
"""
BUTTONS = """
select json_group_array(json_array(cid_token, audience_id, variation_id, b_id, clicks))
from button where :cid_token is null or cid_token = :cid_token
"""
MISDATED = f"""
select coalesce(sum(impressions + clicks), 0) from quarter
where quarter >= {MILLISECONDS_FROM // QUARTER}
and (:cid_token is null or cid_token = :cid_token)
"""
RANGE = f"""
select json_array(min(quarter), max(quarter)) from quarter
where quarter < {MILLISECONDS_FROM // QUARTER}
and (:cid_token is null or cid_token = :cid_token)
"""
# One query per bucket: a grouping of all of them would sort all quarters first.
OVER_TIME = f"""
select json_group_array(json_array(json_extract(span.value, '$[0]'), json((
    select json_group_array(json_array(cid_token, impressions, clicks)) from (
        select cid_token, sum(impressions) as impressions, sum(clicks) as clicks
        from quarter
        where quarter >= json_extract(span.value, '$[1]')
        and quarter < json_extract(span.value, '$[2]')
        and quarter < {MILLISECONDS_FROM // QUARTER}
        and (:cid_token is null or cid_token = :cid_token)
        group by cid_token
    )
))))
from json_each(:spans) as span
"""


class Sums(NamedTuple):
    impressions: int = 0
    unique_impressions: int = 0
    clicks: int = 0
    unique_clicks: int = 0
    converted: int = 0

    @property
    def ctr(self) -> float | None:
        return self.clicks / self.impressions if self.impressions else None

    def named(self) -> dict[str, Any]:
        names = ("impressions", "unique_impressions", "clicks", "unique_clicks")
        return {name: getattr(self, name) for name in names} | {"ctr": self.ctr}

    def posterior(self) -> dict[str, Any]:
        low, high = credible_interval(self.converted, self.unique_impressions)
        interval = {"converted": self.converted, "low": low, "high": high}
        return self.named() | interval


# The columns of a tally's row with the customers of each level.
VARIATION, AUDIENCE, EXPERIENCE = 5, 6, 7

Row = list[Any]


def count(store: Store, token: str | None, zone: tzinfo) -> Counts:
    values = {"cid_token": token}
    with store.snapshot() as query:
        first, last = query(RANGE, values)
        if first is None:
            grain, buckets = Grain.HOUR, []
        else:
            grain = choose_grain(first, last)
            looked_at = [list(one) for one in spans(first, last, grain, zone)]
            buckets = query(OVER_TIME, values | {"spans": looked_at})
        return Counts(
            tally=query(TALLY, values),
            buttons=query(BUTTONS, values),
            buckets=buckets,
            grain=grain,
            misdated=query(MISDATED, values),
        )


class Counts:
    """The rows of the store's running counts, by experience, audience and variation."""

    def __init__(
        self,
        *,
        tally: list[Row],
        buttons: list[Row],
        buckets: list[tuple[str, list[Row]]],
        grain: Grain,
        misdated: int,
    ) -> None:
        self.grain = grain
        self.misdated = misdated
        self._rows: dict[str, list[Row]] = defaultdict(list)
        for row in tally:
            self._rows[row[0]].append(row)
        self._buttons: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
        for *place, b_id, clicks in sorted(buttons, key=_most_clicked):
            self._buttons[tuple(place)][b_id] = clicks
        # Empty years show only that a clock was wrong: leave them out.
        self._buckets = {
            label: {token: (shown, clicked) for token, shown, clicked in rows}
            for label, rows in buckets
            if rows or grain is not Grain.YEAR
        }

    def tokens(self) -> set[str]:
        return set(self._rows)

    def rows(self, token: str, *ids: str) -> list[Row]:
        """Return the rows of an experience, of an audience or of a variation."""
        rows = self._rows.get(token, [])
        return [row for row in rows if tuple(row[1 : 1 + len(ids)]) == ids]

    def sums(self) -> Sums:
        return sum_up((r for rows in self._rows.values() for r in rows), EXPERIENCE)

    def ids(self, token: str, *ids: str) -> list[str]:
        """Return the ids one level further down that have counts."""
        return sorted({row[1 + len(ids)] for row in self.rows(token, *ids)})

    def buttons(self, *place: str) -> dict[str, int]:
        return self._buttons.get(place, {})

    def over_time(self, tokens: Collection[str]) -> tuple[Bucket, ...]:
        """Return all buckets; none if all are empty."""
        buckets = []
        for label, counted in self._buckets.items():
            pairs = [counted[token] for token in tokens if token in counted]
            shown, clicked = sum(one for one, _ in pairs), sum(one for _, one in pairs)
            buckets.append(Bucket(label, shown, clicked))
        return tuple(buckets) if any(one[1] + one[2] for one in buckets) else ()


def sum_up(rows: Iterable[Row], column: int) -> Sums:
    sums = [0, 0, 0, 0, 0]
    for row in rows:
        sums[2 * row[3]] += row[4]
        sums[2 * row[3] + 1] += row[column]
        sums[4] += row[8]
    return Sums(*sums)


def _most_clicked(button: Row) -> tuple[int, str]:
    return -button[4], button[3]
