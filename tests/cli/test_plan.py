"""``moe-middleware plan``, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from moe_middleware.cli import main

from ..cli_runner import cli_runner


def run(*words: str) -> tuple[int, str]:
    found = cli_runner().invoke(main, ["plan", *words])
    return found.exit_code, found.stdout + found.stderr


def figures(*words: str) -> Any:
    code, text = run(*words, "--json")
    assert code == 0, text
    return json.loads(text)


def test_a_small_site_has_room() -> None:
    code, text = run("--visitors", "20000", "--processes", "1")

    assert code == 0
    assert "20,000 visitors, 100,000 pages, 105,000 events" in text
    assert "First to give way: fetches, at " in text
    assert "!" not in text.partition("with fallbacks")[2]


def test_a_site_above_its_quota_learns_what_to_do(tmp_path: Path) -> None:
    chart = tmp_path / "plan.svg"

    code, text = run("--visitors", "20000", "--limit", "20", "--chart", str(chart))

    assert code == 0
    assert "This is too much: fetches." in text
    assert "first pages of visits alone want 42 fetches a minute" in text
    assert "over the quota" in text
    assert "One visitor in " not in text
    assert text.endswith(f"\n{chart}: written\n")


@pytest.mark.parametrize("visitors", ["1", "20000", "20000000"])
def test_the_chart_is_one_file_that_loads_nothing(
    visitors: str, tmp_path: Path
) -> None:
    chart = tmp_path / "plan.svg"
    printed = run("--visitors", visitors, "--minutes", "10", "--chart", str(chart))[1]
    text = chart.read_text()

    root = ElementTree.fromstring(text)

    tags = {one.tag.rpartition("}")[2] for one in root.iter()}
    assert tags == {"svg", "title", "style", "rect", "text", "path"}
    assert "prefers-color-scheme: dark" in text
    assert text.count("http") == 1  # its namespace
    limit = visitors != "20000000"
    assert ("One visitor in " in printed) != limit
    assert ("is far above" in text) == limit
    assert ("pages show fallbacks" in text) != limit


def test_settings_come_from_the_file_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        "workspace: {id: '${MOE_WORKSPACE_ID}', api_key: '${MOE_API_KEY}'}\n"
        "routes: [{path: /, experiences: [a-key, b-key, c-key]}]\n"
        "cache: {ttl: 900, redis: 'redis://localhost:6379/0'}\n"
        "budget: {calls_per_minute: 77, store: 'redis://localhost:6379/0'}\n"
        "events: {outbox: 'redis://localhost:6379/0', relay: off}\n"
    )
    site = ("--visitors", "2000", "--minutes", "10", "--config", str(file))

    of_file, of_options = figures(*site), figures(*site, "--limit", "99", "--no-redis")

    assert of_file["fetches_a_minute"]["limit"] == 77
    assert of_file["relay"]["relays"] == 1
    assert of_file["redis"]["commands_a_second"] > 0
    assert of_file["cache"]["bytes_a_visitor"] == 282
    assert of_options["fetches_a_minute"]["limit"] == 99
    assert of_options["redis"]["commands_a_second"] == 0


@pytest.mark.parametrize("store", ["memory:", "sqlite:///{}.db"])
def test_stores_of_a_file_are_understood(store: str, tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        "workspace: {data_center: sandbox}\nroutes: []\n"
        f"budget: {{store: '{store.format('calls')}'}}\n"
        f"events: {{outbox: '{store.format('events')}', max_events: 1000}}\n"
    )

    found = figures("--visitors", "50000", "--minutes", "10", "--config", str(file))

    names = {part["name"] for part in found["parts"]}
    assert ("outbox" in names) == store.startswith("sqlite")
    assert found["outbox"]["full_after_seconds"] < 600


def test_relays_wait_for_moengages_answers() -> None:
    slow = figures(
        *("--visitors", "40000", "--pages", "1", "--impressions", "100"),
        *("--redis", "--hosts", "2", "--relays", "1", "--report-seconds", "8"),
    )

    assert slow["relay"] == {
        "relays": 1,
        "events_a_second_each": 100,
        "needed": 2,
        "cpu_percent": 0.2,
    }
    assert slow["parts"][0]["name"] == "relay"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "--visitors"),
        (("--visitors", "0"), "--visitors"),
        (("--visitors", "many"), "--visitors"),
        (("--visitors", "9", "--pages", "0.5"), "--pages"),
        (("--visitors", "9", "--pages", "nan"), "--pages': nan is no number"),
        (("--visitors", "9", "--ttl", "inf"), "--ttl"),
        (("--visitors", "9", "--ttl", "-1"), "--ttl"),
        (("--visitors", "9", "--bots", "100"), "--bots"),
        (("--visitors", "9", "--chart", "plan.png"), "must end with .svg"),
        (("--visitors", "9", "--hosts", "1000", "--processes", "99"), "10,000"),
    ],
)
def test_a_bad_option_is_named(words: tuple[str, ...], complaint: str) -> None:
    code, text = run(*words)

    assert code == 2
    assert complaint in text
    assert "Traceback" not in text


def test_a_bad_file_and_a_chart_without_a_place_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {data_center: sandbox}\nroutes: []\ncache: {tll: 1}\n")
    no_place = str(tmp_path / "nowhere" / "plan.svg")

    wrong = run("--visitors", "9", "--config", str(file))
    placeless = run("--visitors", "9", "--minutes", "10", "--chart", no_place)

    assert wrong[0] == placeless[0] == 1
    assert "moe.yml:3: cache.tll: unknown key" in wrong[1]
    assert f"{no_place}: cannot be written: No such file or directory" in placeless[1]
