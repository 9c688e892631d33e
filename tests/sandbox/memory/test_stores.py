from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

import pytest

from moe_middleware.sandbox import Customer, Experience, Workspace
from moe_middleware.sandbox.memory.stores import CHUNK, LOOK_AGAIN_AFTER, Store
from moe_middleware.sandbox.memory.tables import MEMORY, TABLES, StoreError
from moe_middleware.sandbox.protocol.events import ACTIONS, Via
from moe_middleware.sandbox.protocol.fetches import Fetch
from moe_middleware.sandbox.reports.reports import build_report

from ...rows import each
from ..arrivals import HERO, NOON, clicked, element, shown

WORKSPACE = Workspace(
    customers=(
        Customer(
            customer_id="alice",
            attributes={"tier": "gold", "city": "Lisbon"},
            identifiers={"u_em": "alice@example.com", "loyalty": "7"},
        ),
        Customer(customer_id="bob", identifiers={"u_em": "7"}),
    ),
    experiences=(Experience(key="hero", name="Hero", cid_token=HERO, audiences=()),),
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sandbox.db")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    store = Store(path, WORKSPACE)
    yield store
    store.close()


def uuids(store: Store, **filters: Any) -> list[str]:
    return [event["moe_event_uuid"] for event in store.events(**filters)]


def fetch(**fields: Any) -> Fetch:
    defaults: dict[str, Any] = {
        "keys": None,
        "customer_id": None,
        "visitor_id": None,
        "user_identifiers": {},
        "session": {},
    }
    return Fetch(**defaults | fields)


# --- events --------------------------------------------------------------------


def test_event_comes_back_whole(store: Store) -> None:
    click = clicked("u1", b_id="Buy", extra=[1.5, None, "é\n"], deep={"a": {"b": True}})

    store.record([element(click, offset=-3600, tier="gold")], NOON + 0.25)

    assert store.events() == [
        {
            "id": 1,
            "customer_id": "erin",
            "action": ACTIONS[1],
            "moe_event_uuid": "u1",
            "event_time": NOON,
            "platform": "web",
            "attributes": click.attributes,
            "b_id": "Buy",
            "user_timezone_offset": -3600,
            "user_attributes": {"tier": "gold"},
            "experience_key": "hero",
            "audience_id": "5A",
            "variation_id": "1",
            "received_at": NOON + 0.25,
            "via": "api",
            "device_uuid": None,
        }
    ]


def test_same_uuid_is_stored_once_for_ever(store: Store) -> None:
    store.record([element(shown("a"), shown("a")), element(shown("a"))], NOON)
    first = store.events()
    again = clicked("a", b_id="Buy", at=0), shown("b")
    store.record([element(*again, customer="mallory")], NOON + 1)

    assert store.events(limit=1) == first
    assert uuids(store) == ["a", "b"]
    assert store.count() == store.last_id() == 2


def test_experience_is_known_from_the_moment_it_is_configured(store: Store) -> None:
    store.use(Workspace())
    store.record([element(shown("a"))], NOON)
    before = store.events()[0]["experience_key"]

    store.use(WORKSPACE)

    assert (before, store.events()[0]["experience_key"]) == (None, "hero")


@each(
    ("filters", "found"),
    [
        ({"customer_id": "erin"}, "abd"),
        ({"customer_id": "nobody"}, ""),
        ({"action": ACTIONS[0]}, "ac"),
        ({"action": ACTIONS[1]}, "bd"),
        ({"experience_key": "hero"}, "abc"),
        ({"experience_key": "none-such"}, ""),
        ({"experience_key": ""}, ""),
        ({"variation_id": "2"}, "bd"),
        ({"b_id": "Buy"}, "b"),
        ({"customer_id": "erin", "variation_id": "2", "experience_key": "hero"}, "b"),
        ({"since": 1}, "bcd"),
        ({"since": 4}, ""),
        ({"since": 99}, ""),
        ({"limit": 2}, "ab"),
        ({"limit": 0}, ""),
        ({"newest_first": True}, "dcba"),
        ({"newest_first": True, "limit": 2}, "dc"),
        ({"newest_first": True, "since": 2}, "dc"),
        ({"since": 1, "limit": 2}, "bc"),
    ],
)
def test_filters_keep_what_fits_all_of_them(
    filters: dict[str, Any], found: str
) -> None:
    store = Store(workspace=WORKSPACE)
    store.record(
        [
            element(shown("a", b_id="Buy"), clicked("b", variation="2", b_id="Buy")),
            element(shown("c"), customer="bob"),
            element(clicked("d", variation="2", token="0" * 24)),
        ],
        NOON,
    )

    assert uuids(store, **filters) == list(found)
    if not filters.keys() & {"since", "limit", "newest_first"}:
        assert store.count(**filters) == len(found)


def test_more_events_than_one_statement_reads_come_in_order(store: Store) -> None:
    many = [str(number) for number in range(CHUNK + 3)]
    store.record([element(*map(shown, many))], NOON)

    assert uuids(store) == many
    assert uuids(store, newest_first=True) == many[::-1]
    assert uuids(store, newest_first=True, limit=CHUNK + 1) == many[:1:-1]


def test_ids_that_differ_behind_a_nul_are_two(store: Store) -> None:
    store.record([element(shown("a\0b"), shown("a\0c"), customer="x\0y")], NOON)

    assert store.count() == 2
    assert store.count(customer_id="x\0y") == 2
    assert store.count(customer_id="x") == 0
    assert store.visitor(fetch(customer_id="x\0y")).attributes == {}


def test_reset_forgets_everything_and_counts_from_one_again(store: Store) -> None:
    store.record([element(shown("a"), tier="gold"), element(shown("b"))], NOON)

    store.reset()

    assert store.events() == []
    assert [one.customer_id for one in store.profiles()] == ["alice", "bob"]
    store.record([element(shown("a"))], NOON)
    assert [event["id"] for event in store.events()] == [1]
    assert store.profile("erin") == Customer(customer_id="erin")


# --- profiles ------------------------------------------------------------------


def test_attributes_are_learnt_one_by_one(store: Store) -> None:
    store.record([element(shown("a"), customer="alice", tier="silver")], NOON)
    store.record([element(shown("b"), customer="alice", box={"a": 1, "b": 2})], NOON)
    store.record(
        [
            element(shown("c"), customer="alice", box={"a": [True, 1.0]}),
            element(shown("d"), customer="alice", gone=None, name='"\0é'),
        ],
        NOON,
    )

    known = store.profile("alice")

    assert known is not None
    assert known.identifiers["u_em"] == "alice@example.com"
    assert known.attributes == {
        "tier": "silver",
        "city": "Lisbon",
        "box": {"a": [True, 1.0]},
        "gone": None,
        "name": '"\0é',
    }
    assert known.attributes["box"]["a"][0] is True


def test_profiles_are_the_workspaces_then_the_others(store: Store) -> None:
    store.record(
        [
            element(shown("a"), customer="zoe"),
            element(shown("b"), customer="alice", tier="none"),
            element(shown("c"), customer="carl", tier="gold"),
        ],
        NOON,
    )

    all_profiles = store.profiles()

    assert [one.customer_id for one in all_profiles] == ["alice", "bob", "zoe", "carl"]
    assert all_profiles[0].attributes == {"tier": "none", "city": "Lisbon"}
    assert all_profiles[3].attributes == {"tier": "gold"}
    for limit in range(6):
        assert store.profiles(limit=limit) == all_profiles[:limit]


@each(
    ("fields", "user_id"),
    [
        ({"user_identifiers": {"u_em": "alice@example.com"}}, "alice"),
        ({"user_identifiers": {"loyalty": "7"}}, "alice"),
        ({"user_identifiers": {"u_em": "7"}}, "bob"),
        ({"user_identifiers": "7"}, "alice"),
        ({"user_identifiers": {"u_mb": "7", "u_em": "7"}}, "bob"),
        ({"user_identifiers": {"u_em": "ALICE@example.com"}}, ""),
        ({"customer_id": "bob", "user_identifiers": {"loyalty": "7"}}, "bob"),
        ({"customer_id": "x", "user_identifiers": {"loyalty": "7"}}, "alice"),
        ({"visitor_id": "v", "user_identifiers": {"loyalty": "8"}}, "v"),
    ],
)
def test_identifiers_find_the_customer(fields: dict[str, Any], user_id: str) -> None:
    store = Store(workspace=WORKSPACE)

    assert store.visitor(fetch(**fields)).user_id == user_id


# --- waiting -------------------------------------------------------------------


async def test_waiting_ends_at_once_or_when_the_time_is_over(store: Store) -> None:
    store.record([element(shown("a"), shown("b"))], NOON)

    assert await store.after(1, 60) == 2
    assert await store.after(2, 0.01) == 2


async def test_waiting_ends_with_another_threads_event(store: Store) -> None:
    took = []
    # Of many, one at least is not held up by the machine.
    for count in range(20):
        waiting = asyncio.gather(store.after(count, 30), store.after(count, 30))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await asyncio.to_thread(store.record, [element(shown(f"a{count}"))], NOON)
        assert list(await waiting) == [count + 1, count + 1]
        took.append(time.monotonic() - started)
        if took[-1] < LOOK_AGAIN_AFTER / 2:
            break

    assert min(took) < LOOK_AGAIN_AFTER / 2


async def test_waiting_ends_with_a_reset(store: Store) -> None:
    store.record([element(shown("a"))], NOON)
    waiting = asyncio.create_task(store.after(1, 30))
    await asyncio.sleep(0.01)

    store.reset()

    assert await waiting == 0


async def test_waiting_ends_with_another_processs_event(
    store: Store, path: str
) -> None:
    theirs = Store(path)
    waiting = asyncio.create_task(store.after(0, 30))
    await asyncio.sleep(0.01)

    theirs.record([element(shown("a"))], NOON)

    assert await waiting == 1
    theirs.close()


def test_waiter_of_a_closed_loop_does_no_harm(store: Store) -> None:
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(store.after(0, 30))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()

    store.record([element(shown("a"))], NOON)

    assert store.count() == 1
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


# --- threads, processes, files -------------------------------------------------


def test_threads_may_write_and_read_at_once(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(50):
            part = element(shown(f"{number % 2}-{turn}"), customer=str(number))
            store.record([part], NOON)
            store.events(limit=5)
            store.profile(str(number))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))

    assert store.count() == 100
    assert len(store.profiles()) == 2 + 4


def test_restart_with_a_file_keeps_everything(store: Store, path: str) -> None:
    store.record([element(shown("a"), customer="alice", tier="none")], NOON)
    store.record([element(clicked("b", b_id="Buy"), size=3)], NOON)
    kept = store.events(), store.profiles()
    report = build_report(store, WORKSPACE, now=NOON)
    store.close()

    after = Store(path, WORKSPACE)
    after.record([element(shown("a"))], NOON)

    assert (after.events(), after.profiles()) == kept
    assert build_report(after, WORKSPACE, now=NOON) == report
    after.close()


WORKER = """
import os, sys
from tests.sandbox.arrivals import NOON, clicked, element, shown
from moe_middleware.sandbox.memory.stores import Store

path, worker, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(path)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    store.record([
        element(shown(f"shared-{turn}"), customer=f"c-{turn % 7}", turn=turn),
        element(clicked(f"{worker}-{turn}", b_id="Buy"), customer=f"c-{turn % 5}"),
    ], NOON)
    print(turn, flush=True)
os._exit(0)
"""


def start_worker(path: str, name: str, turns: int) -> tuple[Popen[str], IO[str]]:
    worker = Popen(
        [sys.executable, "-c", WORKER, path, name, str(turns)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return worker, worker.stdout


def test_two_processes_share_a_file_and_a_killed_one_loses_nothing(path: str) -> None:
    first, _ = start_worker(path, "first", 60)
    second, lines = start_worker(path, "second", 100_000)
    confirmed = [lines.readline() for _ in range(20)]
    first.communicate()
    second.kill()
    confirmed += second.communicate()[0].splitlines()

    store = Store(path)
    shown, clicked = (store.count(action=action) for action in ACTIONS)
    store.close()

    # The last line may be half written.
    assert shown >= max(60, len(confirmed) - 1)
    assert clicked >= 60 + len(confirmed) - 1
    db = sqlite3.connect(path)
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    counted = db.execute(
        "select clicked, sum(actions), sum(customers) from tally group by clicked"
    ).fetchall()
    recount = db.execute(
        "select clicked, count(*), count(distinct customer_id) "
        "from event group by clicked"
    ).fetchall()
    db.close()
    assert counted == recount


FORKER = """
import os, sys
from tests.sandbox.arrivals import NOON, element, shown
from moe_middleware.sandbox.memory.stores import Store

store = Store(sys.argv[1])
store.record([element(shown("before"))], NOON)
child = os.fork()
store.record([element(shown("child" if child == 0 else "parent"))], NOON)
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status, *sorted(event["moe_event_uuid"] for event in store.events()))
"""


@pytest.mark.parametrize("kept", [MEMORY, "file"])
def test_forked_process_gets_a_connection_of_its_own(path: str, kept: str) -> None:
    name = MEMORY if kept == MEMORY else path
    ran = subprocess.run(
        [sys.executable, "-c", FORKER, name], capture_output=True, text=True, check=True
    )

    shared = [] if kept == MEMORY else ["child"]
    assert ran.stdout.split() == ["0", "before", *shared, "parent"]


def test_failed_write_leaves_nothing_behind(store: Store, path: str) -> None:
    other = sqlite3.connect(path)
    other.execute("drop table profile_attribute")
    other.close()

    with pytest.raises(sqlite3.OperationalError):
        store.record([element(shown("a"), tier="gold")], NOON)

    assert store.events() == []
    store.record([element(shown("b"))], NOON)
    assert uuids(store) == ["b"]


def old_file(path: Path) -> Path:
    """A file as the sandbox's first version left it: an impression and a click."""
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(Path(__file__).with_name("version_1.sql").read_text())
    old.close()
    return path


def test_file_of_the_first_version_is_read_and_written_on(tmp_path: Path) -> None:
    path = old_file(tmp_path / "sandbox.db")
    web = replace(shown("c"), via=Via.WEB_SDK, device_uuid="d-1")

    store = Store(str(path), WORKSPACE)
    store.record([element(shown("a"), web)], NOON)

    assert [(one["moe_event_uuid"], one["via"]) for one in store.events()] == [
        ("a", "api"),
        ("b", "api"),
        ("c", "web_sdk"),
    ]
    assert store.events(since=2)[0]["device_uuid"] == "d-1"
    assert store.events()[1]["b_id"] == "Buy"
    report = build_report(store, WORKSPACE, now=NOON)
    assert (report.impressions, report.clicks) == (2, 1)
    store.close()
    again = Store(str(path), WORKSPACE)
    assert uuids(again) == ["a", "b", "c"]
    again.close()


def test_process_of_the_first_version_goes_on_beside_the_second(tmp_path: Path) -> None:
    path = old_file(tmp_path / "sandbox.db")
    first = sqlite3.connect(path, isolation_level=None)
    store = Store(str(path), WORKSPACE)

    first.execute(
        "insert into arrival (uuid, clicked, customer_id, context, cid_token,"
        " audience_id, variation_id, event_time, platform, received_at)"
        " select 'c', 0, 'bob', body, cid_token, audience_id, variation_id, 1, 'web', 1"
        " from context"
    )
    first.close()

    assert [one["via"] for one in store.events(since=2)] == ["api"]
    store.close()


def test_upgraded_file_is_laid_out_as_a_new_one(tmp_path: Path) -> None:
    def layout(path: Path) -> list[object]:
        Store(str(path)).close()
        db = sqlite3.connect(path)
        (version,) = db.execute("pragma user_version").fetchone()
        columns = [
            [row[1:4] for row in db.execute(f"pragma table_info({table})")]
            for table in (*TABLES, "arrival")
        ]
        rest = db.execute("select sql from sqlite_master where type in ('trigger')")
        triggers = sorted(sql for (sql,) in rest)
        db.close()
        return [version, columns, triggers]

    upgraded = layout(old_file(tmp_path / "old.db"))

    assert upgraded == layout(tmp_path / "new.db")


def of_version(path: Path, version: int) -> None:
    db = sqlite3.connect(old_file(path))
    db.execute(f"pragma user_version = {version}")
    db.close()


def of_others(path: Path, _: object) -> None:
    theirs = sqlite3.connect(path)
    theirs.execute("create table event (id integer primary key)")
    theirs.execute("pragma user_version = 1")
    theirs.commit()
    theirs.close()


@pytest.mark.parametrize(
    ("write", "given", "why"),
    [
        (of_version, 0, r"box\.db is no file of this version"),
        (of_version, 99, r"box\.db is no file of this version"),
        (of_others, "", r"box\.db is no file of this version"),
        (Path.write_text, "remember the milk" * 100, r"box\.db cannot keep the events"),
    ],
)
def test_file_that_is_not_ours_is_left_alone(
    tmp_path: Path, write: Callable[[Path, Any], object], given: object, why: str
) -> None:
    path = tmp_path / "box.db"
    write(path, given)
    before = path.read_bytes()

    with pytest.raises(StoreError, match=why):
        Store(str(path))

    assert path.read_bytes() == before
