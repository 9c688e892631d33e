"""The command ``plan``: what a site's busiest hour takes, and what gives way first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import as_json
from .terminal import printable, stop

if TYPE_CHECKING:
    from ..planning.site import Setup, Traffic
    from ..settings.settings import Settings

MOST_PROCESSES = 10_000


class Number(click.FloatRange):
    """A number in a range, and no NaN."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is no number: give one, as 1.5", param, ctx)
        return number


_NUMBERS: list[tuple[str, Any, str, str, Any]] = [
    (
        "--pages",
        Number(1, 1000),
        "N",
        "Pages of a visit that want experiences, on average.",
        5.0,
    ),
    (
        "--pause",
        Number(0.1, 3_600),
        "SECONDS",
        "The time between two of them, on average.",
        30.0,
    ),
    (
        "--peak",
        Number(1, 1000),
        "N",
        "The busiest minute, as a multiple of the day's mean one.",
        3.0,
    ),
    (
        "--minutes",
        click.IntRange(10, 240),
        "N",
        "Minutes around it that are simulated.",
        60,
    ),
    ("--ttl", Number(0, 86_400), "SECONDS", "cache.ttl  [default: 60]", None),
    ("--stale", Number(0, 86_400), "SECONDS", "cache.stale  [default: 600]", None),
    (
        "--keys",
        click.IntRange(1, 100),
        "N",
        "Experience keys of a page.  [default: 2]",
        None,
    ),
    (
        "--kinds",
        click.IntRange(1, 100),
        "N",
        "Kinds of pages, each with keys of its own; the first is visited most, by "
        "Zipf's law.  [default: 1]",
        None,
    ),
    (
        "--changes",
        Number(0, 1000),
        "N",
        "How often the attributes in the cache key change within a visit.",
        0.0,
    ),
    (
        "--without-id",
        Number(0, 100),
        "PERCENT",
        "Visitors without any id: they share their answers, and count nothing.",
        0.0,
    ),
    (
        "--bots",
        Number(0, 99),
        "PERCENT",
        "Bots' requests among all: they cause no fetch.",
        20.0,
    ),
    ("--impressions", Number(0, 100), "N", "Impressions of a page.", 1.0),
    ("--clicks", Number(0, 100), "N", "Clicks of a page.", 0.05),
    ("--hosts", click.IntRange(1, 10_000), "N", "Hosts.", 1),
    ("--processes", click.IntRange(1, 1000), "N", "Server processes on each.", 4),
    (
        "--limit",
        click.IntRange(1, 1_000_000),
        "N",
        "The workspace's fetches a minute.  [default: 10000]",
        None,
    ),
    (
        "--relays",
        click.IntRange(0, 10_000),
        "N",
        "Processes of 'moe-middleware relay'; 0: the servers deliver.",
        None,
    ),
    (
        "--report-seconds",
        Number(0.001, 10),
        "SECONDS",
        "How long MoEngage takes to answer a report.",
        0.2,
    ),
    ("--seed", click.INT, "N", "Draws the visits.", 1),
]


def _numbers(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, kind, metavar, text, default in reversed(_NUMBERS):
        command = click.option(
            name,
            type=kind,
            metavar=metavar,
            help=text,
            default=default,
            show_default=default is not None,
        )(command)
    return command


@click.command(
    epilog="""\b
Examples:
  moe-middleware plan --visitors 200000
  moe-middleware plan --visitors 2000000 --hosts 10 --redis --ttl 300
  moe-middleware plan --visitors 2000000 --config moe.yml --chart plan.svg

It plays the busiest minutes of the day through the middleware's own cache and budget,
and connects to nothing. With --config the cache, the budget, the outbox, the relay and
the routes' keys are the file's; options win over it. The same --seed gives the same
figures."""
)
@click.option(
    "--visitors",
    type=click.IntRange(1, 10**9),
    metavar="N",
    required=True,
    help="Visitors a day, with one visit each.",
)
@_numbers
@click.option("--sticky", is_flag=True, help="A visitor stays at one process.")
@click.option(
    "--redis/--no-redis",
    default=None,
    help="Whether all hosts share cache, budget and outbox in a Redis.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="Settings to take instead of the defaults, as moe.yml.",
)
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Write a chart of the minutes, for a browser.",
)
@as_json
def plan(**given: Any) -> None:
    """Plan a site: fetches a minute against the quota, memory, events, relays."""
    from ..planning.chart import svg
    from ..planning.plan import plan
    from ..planning.summary import summary
    from .plan_lines import plan_lines

    if given["hosts"] * given["processes"] > MOST_PROCESSES:
        raise click.UsageError(
            f"--hosts times --processes is more than {MOST_PROCESSES:,}"
        )
    chart: Path | None = given["chart"]
    if chart is not None and chart.suffix != ".svg":
        raise click.UsageError(f"--chart {chart}: the file's name must end with .svg")
    settings = _settings(given["config"])
    planned = plan(
        _traffic(given, settings), _setup(given, settings), seed=given["seed"]
    )
    if chart is not None:
        try:
            chart.write_text(svg(planned), encoding="utf-8")
        except OSError as error:
            stop([f"{chart}: cannot be written: {error.strerror}"])
    if given["as_json"]:
        click.echo(json.dumps(summary(planned), indent=2))
        return
    for line in plan_lines(planned):
        click.echo(line)
    if chart is not None:
        click.echo(f"\n{printable(str(chart))}: written")


def _settings(file: str | None) -> Settings | None:
    from ..models.errors import SettingsError
    from .check import placeholders
    from .command_settings import settings_of

    if file is None:
        return None
    try:
        return settings_of(file, **placeholders())
    except SettingsError as error:
        stop(error.problems)


def _traffic(given: dict[str, Any], settings: Settings | None) -> Traffic:
    from ..planning.site import Traffic

    kinds = tuple(route.experiences for route in (settings.routes if settings else ()))
    if given["keys"] or given["kinds"] or not any(kinds):
        kinds = tuple(
            tuple(f"key-{kind}-{key}" for key in range(given["keys"] or 2))
            for kind in range(given["kinds"] or 1)
        )
    return Traffic(
        visitors=given["visitors"],
        pages=given["pages"],
        pause=given["pause"],
        peak=given["peak"],
        minutes=given["minutes"],
        kinds=tuple(kind for kind in kinds if kind),
        changes=given["changes"],
        nameless=given["without_id"] / 100,
        bots=given["bots"] / 100,
        impressions=given["impressions"],
        clicks=given["clicks"],
    )


def _setup(given: dict[str, Any], settings: Settings | None) -> Setup:
    from ..planning.site import Setup

    setup = Setup(
        hosts=given["hosts"],
        processes=given["processes"],
        sticky=given["sticky"],
        report_seconds=given["report_seconds"],
    )
    if settings is not None:
        cache, budget, events = settings.cache, settings.budget, settings.events
        setup = replace(
            setup,
            shared=cache.redis is not None,
            ttl=cache.ttl,
            stale=cache.stale,
            max_bytes=cache.max_bytes,
            max_entries=cache.max_entries,
            limit=budget.calls_per_minute,
            budget="all"
            if budget.store.is_redis
            else "process"
            if budget.store.file is None
            else "host",
            outbox="redis"
            if events.outbox.is_redis
            else "memory"
            if events.outbox.file is None
            else "sqlite",
            max_events=events.max_events,
            relays=0
            if events.relay == "on"
            else given["hosts"]
            if events.outbox.file is not None
            else 1,
            parallel=events.parallel,
        )
    if given["redis"] is not None:
        in_redis: bool = given["redis"]
        setup = replace(
            setup,
            shared=in_redis,
            budget="all" if in_redis else "process",
            outbox="redis" if in_redis else "sqlite",
        )
    options = {
        name: given[name]
        for name in ("ttl", "stale", "limit", "relays")
        if given[name] is not None
    }
    return replace(setup, **options)
