"""The text of a plan on a terminal, with a small chart."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from ..planning.plan import Plan
from ..planning.summary import summary
from .terminal import duration, table

WIDTH = 40
"""Characters of the longest bar of the chart."""


def plan_lines(planned: Plan) -> Iterator[str]:
    """Yield what ``plan`` prints."""
    found = summary(planned)
    yield from table(_figures(found))
    yield ""
    yield from table(_parts(planned))
    yield ""
    yield from _first_to_give_way(planned)
    if planned.changes[1:]:
        yield ""
        yield from table(_changes(planned))
    yield ""
    yield f"Fetches a minute, of {planned.setup.limit:,}; ! is a minute with fallbacks"
    yield from _bars(planned)
    played = found["simulated"]
    if played["one_visitor_in"] > 1:
        yield ""
        yield (
            f"One visitor in {played['one_visitor_in']:,} was simulated: a minute's "
            f"figures are exact to about {played['exact_to_percent']} %."
        )


def _figures(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    day, busiest = found["day"], found["busiest_minute"]
    pages, fetches = found["pages_percent"], found["fetches_a_minute"]
    outbox, relay, redis = found["outbox"], found["relay"], found["redis"]
    yield (
        "a day",
        f"{day['visitors']:,} visitors, {day['pages']:,} pages, "
        f"{day['events']:,} events",
    )
    yield (
        "busiest minute",
        f"{busiest['visits']:,} visits begin, {busiest['pages']:,} pages, "
        f"{busiest['requests']:,} requests with bots",
    )
    yield (
        "pages",
        f"{pages['fresh']} % fresh from a cache, {pages['stale']} % stale, "
        f"{pages['waited']} % wait, {pages['fallback']} % fallbacks",
    )
    yield (
        "fetches",
        f"{fetches['mean']:,} a minute are wanted, "
        f"{fetches['p99']:,} in the p99 minute",
    )
    if fetches["kept_back"] or fetches["refused"]:
        yield (
            "  over the quota",
            f"{fetches['made']:,} a minute are made, {fetches['kept_back']:,} are kept "
            f"back, {fetches['refused']:,} refused",
        )
    cache = found["cache"]
    yield (
        "cache",
        f"{_size(cache['bytes_a_process'])} in each process, "
        f"{cache['bytes_a_visitor']} bytes a visitor",
    )
    if redis["commands_a_second"]:
        yield (
            "Redis",
            f"{redis['commands_a_second']:,} commands a second, "
            f"{_size(redis['cache_bytes'])} of answers",
        )
    yield (
        "events",
        f"{busiest['events_a_second']:,} a second in the busiest minute",
    )
    if not day["events"]:
        return
    yield (
        "outbox",
        f"an hour without delivery: {_size(outbox['bytes_an_hour_undelivered'])}; "
        f"full after {duration(outbox['full_after_seconds'])}",
    )
    yield (
        "relay",
        f"needs {relay['needed']:,} of {relay['relays']:,}, and "
        f"{relay['cpu_percent']} % of a core",
    )


def _parts(planned: Plan) -> Iterator[tuple[str, ...]]:
    yield "PART", "BUSIEST MINUTE", "BEARS", "USED", "GIVES WAY AT"
    for part in planned.parts:
        at = part.gives_way_at
        yield (
            part.name,
            f"{part.used:,.{_digits(part.used)}f} {part.unit}",
            f"{part.limit:,.{_digits(part.limit)}f}",
            f"{100 * part.share:.1f} %",
            "-" if at is None else f"{at:,.{_digits(at)}f} x",
        )


def _changes(planned: Plan) -> Iterator[tuple[str, str, str]]:
    yield "FETCHES, BY THE FORMULA", "BUSIEST MINUTE", "IF AN HOUR HAS JUST BEGUN"
    for one in planned.changes:
        yield one.what, f"{one.fetches:,.0f}", f"{one.after_the_hour:,.0f}"


def _digits(number: float) -> int:
    return 0 if number >= 100 else 1


def _first_to_give_way(planned: Plan) -> Iterator[str]:
    first = planned.parts[0]
    at = first.gives_way_at
    if at is not None and at < 1:
        yield f"This is too much: {first.name}."
    elif at is not None:
        times = f"{at:,.{_digits(at)}f}"
        yield f"First to give way: {first.name}, at {times} times this traffic."
    yield from wrap(f"{first.remedy}.", 88)


def _bars(planned: Plan) -> Iterator[str]:
    """Yield a bar for every few minutes: the highest of them."""
    minutes = planned.simulated.minutes
    wanted = planned.unbounded.minutes
    step = max(1, len(minutes) // 12)
    top = max(planned.setup.limit, *(one.wanted for one in wanted))
    for begin in range(0, len(minutes), step):
        highest = max(one.wanted for one in wanted[begin : begin + step])
        fallback = any(one.fallbacks for one in minutes[begin : begin + step])
        bar = "#" * round(WIDTH * highest / top)
        yield f"{begin:4} min  {highest:>9,} {'!' if fallback else ' '} {bar}".rstrip()


def _size(count: float) -> str:
    """Return a number of bytes in a unit that fits."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 2**10:,.0f} KiB"
