"""Our own bad days, played by real processes: each with the fault and without it."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.redis_servers import redis_server
from tests.servers import Process as Server
from tests.servers import wait_for

from .crowds import Crowd
from .disks import Ext4Disk, NotHere, fill, small_disk
from .places import SITES, Place, Tally
from .side_by_side import Bench, steps

SIGTERM = signal.SIGTERM

PAGES = 30
"""Pages that are received before anything happens."""

FEW = 20
"""Impressions of a script."""

JOURNALED = 2_000
"""Impressions that stand in a journal."""

LOCKS = Path("/proc/locks")
"""Linux's list of the files that are locked."""

TAKE_OVER_PAUSE = 0.05
"""Up to how long a relay moves a journal before its bad moment, in seconds."""

RANDOM_PAUSE = 0.3
"""Up to how long a site works on before its bad moment, in seconds."""

ENDED_WITHIN = 60.0
"""How long a process may take to end before it counts as hanging, in seconds."""

ANSWERS = 5
"""How many answers are lost in a row: the pauses in between double."""

TMPFS = "16m"
"""How large a small disk is."""

TINY = "8m"
"""One that a script can fill."""

TOO_MANY = 6_000
"""Impressions that it has no room for."""

OUTAGE_PAUSE = 1.0
"""How long each visitor pauses between two pages of an outage, in seconds."""

SETTLED = 1.0
"""How long all is quiet before a kill that nothing may be lost in, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a scenario came to, over all its repeats.

    Attributes:
        tally: What was shown, stored, lost and counted twice.
        repeats: How often it was played.
        lost_each: How many were lost, repeat by repeat.
        ages: How long before the kill the lost pages had been received, in seconds.
        ended: How long each process took to end after its signal, in seconds.
        note: A remark for the table.
    """

    tally: Tally
    repeats: int = 1
    lost_each: tuple[int, ...] = ()
    ages: tuple[float, ...] = ()
    ended: tuple[float, ...] = ()
    note: str = ""


Play = Callable[[Path, bool, int], Result]
"""Plays a scenario in an empty folder: with its fault or without, so many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table.

    Attributes:
        name: What happens.
        repeats: How often it is played where chance has a part in it.
        window: Whether events may be lost that were not stored yet.
        takes_minutes: Whether it is left out of a quick run.
    """

    name: str
    play: Play
    repeats: int = 1
    window: bool = False
    takes_minutes: bool = False


# --- sites -----------------------------------------------------------------


def ended(
    server: str,
    how: signal.Signals,
    *,
    settled_for: float | None = None,
) -> Play:
    """A signal ends the site, at a random moment or once all is quiet for some seconds.

    Without the fault it ends as by a deploy, once all is stored.
    """

    def play(folder: Path, faulty: bool, repeats: int) -> Result:
        place, crowds, ends = Place(folder), [], []
        with place.sandbox():
            for number in range(repeats):
                with place.site(server) as site, _crowd(site, number) as crowd:
                    if settled_for is not None or not faulty:
                        crowd.leave()
                        time.sleep(settled_for or 0.0)
                    if not faulty:
                        place.wait_until_stored(crowd.received)
                    ends.append(_end(site, how if faulty else SIGTERM))
                crowds.append(crowd)
            place.deliver()
        return _result(place, crowds, ends, killed=how is not SIGTERM)

    return play


def outage(lasts: float, **fault: Any) -> Play:
    """No report arrives for so many seconds, while visitors go on to come.

    Args:
        lasts: For how long, in seconds.
        fault: What becomes of the reports, as the sandbox takes it.
    """

    def play(folder: Path, faulty: bool, _repeats: int) -> Result:
        place = Place(folder)
        with place.sandbox(), place.site() as site:
            if faulty:
                place.fault(path="events", times=None, **fault)
            with _crowd(site, 0, pause=OUTAGE_PAUSE) as crowd:
                time.sleep(lasts if faulty else SETTLED)
            place.no_more_faults()
            began = time.monotonic()
            place.wait_until_stored(crowd.received)
            seconds = time.monotonic() - began
        note = f"all delivered {seconds:.0f} s after its end" if faulty else ""
        return replace(_result(place, [crowd]), note=note)

    return play


def upstream_dead_at_exit(hangs: bool) -> Play:
    """SIGTERM while no report is answered; the exit must not wait for long."""

    def play(folder: Path, faulty: bool, repeats: int) -> Result:
        place, crowds, ends = Place(folder), [], []
        for number in range(repeats):
            with place.sandbox() as sandbox, place.site() as site:
                if faulty:
                    place.fault(path="events", status=503, times=None)
                with _crowd(site, number) as crowd:
                    crowd.leave()
                crowds.append(crowd)
                if faulty:
                    _silence(sandbox, hangs)
                ends.append(_end(site, SIGTERM))
                if hangs:
                    sandbox.process.send_signal(signal.SIGCONT)
        with place.sandbox():
            place.deliver()
        return _result(place, crowds, ends)

    return play


def under_load(
    happens: Callable[[Place, Server, Crowd, int], None],
    *,
    refused: bool = True,
    **settings: str,
) -> Play:
    """Something happens to a site while pages are loaded, and it recovers by itself.

    Args:
        happens: Does it so many times; returns when the site has noticed.
        refused: Whether reports are refused meanwhile, so that nothing leaves.
        settings: See ``Place``.
    """

    def play(folder: Path, faulty: bool, repeats: int) -> Result:
        place = Place(folder, **settings)
        with place.sandbox():
            with place.site() as site, _crowd(site, 0) as crowd:
                if refused:
                    place.fail("status 503")
                if faulty:
                    happens(place, site, crowd, repeats)
                crowd.leave()
                place.no_more_faults()
                place.wait_until_stored(crowd.received)
            place.deliver()
        return replace(_result(place, [crowd]), repeats=repeats if faulty else 1)

    return play


def answers_lost(place: Place, _site: Server, _crowd: Crowd, repeats: int) -> None:
    """Connections are cut after their reports were stored; these are sent again."""
    place.fault(path="events", lose_response=True, times=repeats)
    wait_for(lambda: not place.faults(), what="so many lost answers")


def redis_killed(folder: Path, faulty: bool, repeats: int) -> Result:
    """Redis, which keeps the outbox on its disk, is killed under load, and returns."""
    if shutil.which("redis-server") is None:
        raise NotHere("redis-server is missing")

    def happens(_place: Place, _site: Server, crowd: Crowd, repeats: int) -> None:
        for _ in range(repeats):
            redis.kill()
            crowd.wait_for_pages(PAGES)
            redis.restart()
            crowd.wait_for_pages(PAGES)

    with redis_server(folder, aof=True) as redis:
        play = under_load(happens, refused=False, outbox=redis.url)
        return play(folder, faulty, repeats)


def disk_full(*, room_is_made: bool) -> Play:
    """The outbox's disk is filled by another's file while MoEngage refuses reports.

    Args:
        room_is_made: Whether that file goes again; else it stays to the end, and what
            the outbox holds is delivered from the full disk.
    """

    def play(folder: Path, faulty: bool, repeats: int) -> Result:
        with small_disk(folder, TMPFS) as disk:

            def happens(_place: Place, site: Server, crowd: Crowd, _: int) -> None:
                fill(disk / "ballast")
                crowd.wait_for_pages(PAGES)
                if room_is_made:
                    wait_for(lambda: DISK_FULL in site.log(), what="full")
                    (disk / "ballast").unlink()
                    wait_for(lambda: "outbox_recovered" in site.log(), what="room")
                    crowd.wait_for_pages(PAGES)

            play = under_load(happens, outbox=f"sqlite:///{disk}/outbox.db")
            return play(folder, faulty, repeats)

    return play


DISK_FULL = "outbox_disk_full"


def disk_filled_by_itself(folder: Path, faulty: bool, _repeats: int) -> Result:
    """The outbox fills its own disk in an outage, and is drained when that ends."""
    with small_disk(folder, TINY) as disk:
        place = Place(folder, outbox=f"sqlite:///{disk}/outbox.db")
        with place.sandbox():
            place.fail("status 503")
            one = place.script(f"show {TOO_MANY if faulty else FEW}, hold, close", "c")
            one.wait_for_word("holding")
            if faulty:
                wait_for(lambda: DISK_FULL in one.log.read_text(), what="a full disk")
            place.no_more_faults()
            # The API is back while the process runs: what waits in its memory has room
            # as soon as what is stored has been delivered.
            place.wait_until_stored(one.shown)
            one.go_on()
            assert one.end(ENDED_WITHIN), "it hangs"
            place.deliver()
        return Result(tally=place.tally(one.shown))


def disk_fails(folder: Path, faulty: bool, repeats: int) -> Result:
    """The outbox's disk fails under load, and a copy is mounted in its place."""

    def happens(_place: Place, site: Server, crowd: Crowd, _repeats: int) -> None:
        disk.fail()
        wait_for(lambda: "outbox_failed" in site.log(), what="a failure")
        crowd.wait_for_pages(PAGES)
        disk.go()
        disk.come_back()
        wait_for(lambda: "outbox_recovered" in site.log(), what="a disk")
        crowd.wait_for_pages(PAGES)

    with Ext4Disk(folder) as disk:
        outbox = f"sqlite:///{disk.path}/outbox.db"
        play = under_load(happens, outbox=outbox, events="synchronous: full")
        return play(folder, faulty, repeats)


def disk_gone(folder: Path, faulty: bool, repeats: int) -> Result:
    """The outbox's disk is unmounted under load, and mounted again at the end."""

    def happens(_place: Place, site: Server, crowd: Crowd, _repeats: int) -> None:
        disk.go()
        wait_for(lambda: "moved=" in site.log(), what="the move")
        crowd.wait_for_pages(PAGES)
        # The file in the bare folder is hidden from now on.
        disk.come_back()
        wait_for(lambda: site.log().count("moved=") == 2, what="a move")
        crowd.wait_for_pages(PAGES)

    with Ext4Disk(folder) as disk:
        play = under_load(happens, outbox=f"sqlite:///{disk.path}/outbox.db")
        return play(folder, faulty, repeats)


def file_taken_away(*, renamed: bool) -> Callable[[Place, Server, Crowd, int], None]:
    """The outbox's file is deleted, or renamed, while pages are shown and none leaves.

    Args:
        renamed: Whether it only gets another name.
    """

    def happens(place: Place, site: Server, crowd: Crowd, repeats: int) -> None:
        for number in range(repeats):
            crowd.wait_for_pages(PAGES)
            if renamed:
                place.outbox.rename(place.folder / f"outbox.db.{number}")
            else:
                place.outbox.unlink()
            moved = number + 1
            wait_for(
                lambda moved=moved: site.log().count("moved=") == moved,
                what="the move",
            )

    return happens


# --- scripts ---------------------------------------------------------------


def script(does: str, *, end: signal.Signals | None = None, after: float = 0.0) -> Play:
    """A plain script, without a server: ``steps`` of the common table, for us alone."""

    def play(folder: Path, faulty: bool, repeats: int) -> Result:
        place = Place(folder)
        played = steps(does, end=end, after=after) if faulty else _CLOSED
        with place.sandbox():
            bench = Bench(place, place.script)
            ends = [played(bench, number) for number in range(repeats)]
            place.deliver()
        assert all(by_itself for _, _, by_itself in ends), "it hangs"
        stored = place.stored()
        return Result(
            tally=place.tally(shown for one, _, _ in ends for shown in one.shown),
            repeats=repeats,
            lost_each=tuple(
                sum(not stored[c] for c in one.shown) for one, _, _ in ends
            ),
            ended=tuple(seconds for _, seconds, _ in ends),
        )

    return play


_CLOSED = steps(f"show {FEW}, close")


# --- relays ----------------------------------------------------------------


def relay_killed(folder: Path, faulty: bool, repeats: int) -> Result:
    """SIGKILL for a relay with reports under way; another delivers after the lease."""
    place = Place(folder, events="relay: off, lease: 2")
    shown: list[str] = []
    with place.sandbox():
        for number in range(repeats):
            shown += script_shows(place, f"c{number}", 300)
            if faulty:
                with _relay_at_work(place, latency=0.2) as relay:
                    time.sleep(random.uniform(0, 0.2))
                    relay.kill()
                place.no_more_faults()
            place.deliver()
    return Result(tally=place.tally(shown), repeats=repeats)


def take_over_killed(folder: Path, faulty: bool, repeats: int) -> Result:
    """SIGKILL for a process, then for the relay that takes over its journal."""
    place = Place(folder, events="relay: off")
    shown: list[str] = []
    with place.sandbox():
        for number in range(repeats):
            # The file's lock keeps everything in the journal.
            shown += script_shows(place, f"w{number}", 1)
            with closing(sqlite3.connect(place.outbox, isolation_level=None)) as db:
                db.execute("begin immediate")
                one = place.script(f"show {JOURNALED}, drop", f"c{number}")
                assert one.end(ENDED_WITHIN), "it hangs"
                shown += one.shown
                if faulty:
                    # It has the journal's lock until the file's is released.
                    [journal] = folder.glob("outbox.db.journal-*.1")
                    inode = f":{journal.stat().st_ino} "
                    with place.relay():
                        wait_for(
                            lambda inode=inode: inode in LOCKS.read_text(),
                            what="a take-over",
                        )
                        db.rollback()
                        time.sleep(random.uniform(0, TAKE_OVER_PAUSE))
            place.deliver()
    return Result(tally=place.tally(shown), repeats=repeats)


def site_and_relay_killed(folder: Path, faulty: bool, repeats: int) -> Result:
    """SIGKILL for a site under load and for the relay that delivers beside it."""
    place, crowds, ends = Place(folder, events="relay: off"), [], []
    with place.sandbox():
        for number in range(repeats):
            with (
                place.relay() as relay,
                place.site() as site,
                _crowd(site, number) as crowd,
            ):
                if faulty:
                    ends.append(_end(site, signal.SIGKILL))
                    relay.kill()
                else:
                    crowd.leave()
                    place.wait_until_stored(crowd.received)
            crowds.append(crowd)
        place.deliver()
    return _result(place, crowds, ends, killed=True)


def two_relays(folder: Path, faulty: bool, repeats: int) -> Result:
    """Two relays empty one outbox, and one of them gets SIGTERM in the middle."""
    place = Place(folder, events="relay: off")
    shown: list[str] = []
    with place.sandbox():
        for number in range(repeats):
            shown += script_shows(place, f"c{number}", 600)
            if faulty:
                with place.relay("--until-empty") as other:
                    with _relay_at_work(place, latency=0.05) as one:
                        one.send_signal(SIGTERM)
                        # A signal before it listens to signals ends it at once.
                        assert one.wait(ENDED_WITHIN) in (0, -SIGTERM)
                    assert not other.wait(ENDED_WITHIN), place.relay_log()
                place.no_more_faults()
            place.deliver()
    return Result(tally=place.tally(shown), repeats=repeats)


def script_shows(place: Place, name: str, count: int) -> list[str]:
    """Have a script show so many pages, without a relay; return the customers."""
    script = place.script(f"show {count}, close", name)
    script.wait_for_word("done")
    assert script.end(ENDED_WITHIN), "it hangs"
    return script.shown


# --- parts of them ---------------------------------------------------------


@contextmanager
def _crowd(site: Server, number: int, *, pause: float = 0.0) -> Iterator[Crowd]:
    """Visit until the block ends; it begins once some pages are received."""
    with Crowd(site.port, f"c{number}", pause=pause) as crowd:
        crowd.wait_for_pages(PAGES)
        time.sleep(random.uniform(0, RANDOM_PAUSE))
        yield crowd


def _end(site: Server, how: signal.Signals) -> tuple[float, float]:
    """End it; return when, by the monotonic clock, and how long that took."""
    began = time.monotonic()
    site.process.send_signal(how)
    site.process.wait(ENDED_WITHIN)
    return began, time.monotonic() - began


def _silence(sandbox: Server, hangs: bool) -> None:
    if hangs:
        sandbox.process.send_signal(signal.SIGSTOP)
    else:
        sandbox.process.kill()
        sandbox.process.wait()


@contextmanager
def _relay_at_work(
    place: Place, *, latency: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a relay; the block begins after its first report, the next one takes long."""
    place.fault(path="events", latency=latency, times=None)
    before = place.stored().total()
    with place.relay() as relay:
        wait_for(lambda: place.stored().total() > before, what="the first reports")
        yield relay


def _result(
    place: Place,
    crowds: list[Crowd],
    ends: Sequence[tuple[float, float]] = (),
    *,
    killed: bool = False,
) -> Result:
    """Return what the crowds have lost.

    Args:
        place: Where they were.
        crowds: They.
        ends: When the site of each ended, and how long that took.
        killed: Whether it had no time to end in an orderly way.
    """
    stored = place.stored()
    lost = [[c for c in crowd.received if not stored[c]] for crowd in crowds]
    ages = [
        moment - crowd.received[customer]
        for crowd, (moment, _), customers in zip(crowds, ends, lost, strict=False)
        for customer in customers
    ]
    return Result(
        tally=place.tally(one for crowd in crowds for one in crowd.received),
        repeats=len(crowds),
        lost_each=tuple(map(len, lost)),
        ages=tuple(ages) if killed else (),
        ended=() if killed else tuple(seconds for _, seconds in ends),
    )


# --- the table -------------------------------------------------------------

SCENARIOS = (
    Scenario(name="a script ends without a flush", play=script(f"show {FEW}")),
    Scenario(
        name="SIGTERM for a script",
        play=script(f"show {FEW}, wait", end=SIGTERM, after=0.2),
        repeats=20,
    ),
    *(
        Scenario(
            name=f"SIGTERM under load: {server}",
            play=ended(server, SIGTERM),
            repeats=10,
        )
        for server in SITES
    ),
    Scenario(
        name="SIGKILL at random moments under load: uvicorn",
        play=ended("uvicorn", signal.SIGKILL),
        repeats=60,
        window=True,
    ),
    Scenario(
        name="SIGSEGV at random moments under load: uvicorn",
        play=ended("uvicorn", signal.SIGSEGV),
        repeats=20,
        window=True,
    ),
    Scenario(
        name="SIGKILL one second after the last page: uvicorn",
        play=ended("uvicorn", signal.SIGKILL, settled_for=SETTLED),
        repeats=20,
    ),
    Scenario(
        name="fork before the first page",
        play=script(f"fork, show {FEW}"),
        repeats=20,
    ),
    Scenario(
        name="fork after the first page",
        play=script(f"show {FEW}, fork, show {FEW}"),
        repeats=20,
    ),
    Scenario(
        name="fork, and the child ends without atexit at once",
        play=script(f"show {FEW}, fork, show {FEW}, drop"),
        repeats=20,
    ),
    Scenario(
        name="reports are answered 503 for 60 s",
        play=outage(60.0, status=503),
        takes_minutes=True,
    ),
    Scenario(
        name="reports are cut off for 10 min",
        play=outage(600.0, drop=True),
        takes_minutes=True,
    ),
    Scenario(
        name="MoEngage refuses connections at the exit",
        play=upstream_dead_at_exit(hangs=False),
        repeats=5,
    ),
    Scenario(
        name="MoEngage hangs at the exit",
        play=upstream_dead_at_exit(hangs=True),
        repeats=5,
    ),
    Scenario(
        name="connections are cut after a report was stored",
        play=under_load(answers_lost, refused=False),
        repeats=ANSWERS,
    ),
    Scenario(name="a relay is killed mid-batch", play=relay_killed, repeats=20),
    Scenario(
        name="a process is killed, and the relay that moves its journal",
        play=take_over_killed,
        repeats=20,
    ),
    Scenario(
        name="SIGKILL for a site under load and for its relay",
        play=site_and_relay_killed,
        repeats=20,
        window=True,
    ),
    Scenario(name="two relays on one outbox", play=two_relays, repeats=20),
    Scenario(name="Redis is killed, with AOF", play=redis_killed, repeats=20),
    Scenario(
        name="the outbox's disk is full, until someone makes room",
        play=disk_full(room_is_made=True),
    ),
    Scenario(
        name="the outbox's disk is full, and stays so",
        play=disk_full(room_is_made=False),
    ),
    Scenario(name="the outbox fills its own disk", play=disk_filled_by_itself),
    Scenario(
        name="the outbox's disk fails, until a copy is mounted; `synchronous: full`",
        play=disk_fails,
    ),
    Scenario(
        name="the outbox's disk is unmounted, and mounted again",
        play=disk_gone,
    ),
    Scenario(
        name="the outbox's file is deleted under load",
        play=under_load(file_taken_away(renamed=False)),
        repeats=10,
    ),
    Scenario(
        name="the outbox's file is renamed under load",
        play=under_load(file_taken_away(renamed=True)),
        repeats=10,
    ),
)
