"""The loop thread that sync doors borrow: at forks, at ends, and under gevent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moe_middleware.concurrency.background_loop import LoopThread


async def thread_name() -> str:
    return threading.current_thread().name


def test_the_thread_starts_at_the_first_need_and_is_one() -> None:
    loops = LoopThread()
    begun = [loops.is_running]
    together = threading.Barrier(20)

    def first_need(_: int) -> int:
        together.wait(60)
        return id(loops.loop)

    with ThreadPoolExecutor(20) as threads:
        found = {*threads.map(first_need, range(20))}

    assert len(found) == 1
    assert [*begun, loops.is_running] == [False, True]
    assert loops.run(thread_name()) == "moe-loop"
    stop(loops)


def test_an_error_comes_to_all_who_wait() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    loops = LoopThread()

    with pytest.raises(LookupError, match="mine"):
        loops.run(fails())
    stop(loops)


def test_what_is_no_longer_awaited_is_cancelled() -> None:
    cancelled = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loops = LoopThread()

    with pytest.raises(TimeoutError):
        loops.run(waits(), timeout=0.01)
    assert cancelled.wait(60)
    stop(loops)


def stop(loops: LoopThread) -> None:
    loop = loops.loop
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.001)
    loop.close()


PLAIN_FORK = """
import ctypes, os
from moe_middleware.concurrency.background_loop import background

async def where(): return os.getpid()

assert background.run(where(), 60) == os.getpid()
# As with uWSGI, without a word to Python.
fork = {fork}
child = fork()
if child == 0:
    assert not background.is_running
    assert background.run(where(), 60) == os.getpid()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both")
"""


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.CDLL(None).fork"])
def test_a_forked_child_starts_a_thread_of_its_own(fork: str) -> None:
    assert run(PLAIN_FORK.format(fork=fork)) == "both"


def test_uwsgi_with_sleeping_threads_is_reported() -> None:
    program = """
import sys, types
# What uWSGI puts there; of those before 2.0.27 the default was False.
sys.modules["uwsgi"] = types.ModuleType("uwsgi")
sys.modules["uwsgi"].has_threads = 0
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from moe_middleware.concurrency.background_loop import background
async def nothing(): pass
background.run(nothing(), 60)
"""
    assert "run uwsgi with --enable-threads" in run(program)


GEVENT = """
from gevent import monkey; monkey.patch_all()
import asyncio, gevent, gevent.event
from wsgiref.util import setup_testing_defaults
from moe_middleware import MoEngageWSGIMiddleware, Settings, current_experiences

settings = Settings(
    data_center="sandbox",
    identity={"customer_id": {"cookie": "customer_id"}},
    routes=[{"path": "/", "experiences": ["homepage-banner"]}],
    fetch={"timeout": 30},
    events={"outbox": "sqlite:///OUTBOX", "relay": "off"},
)

def app(environ, start_response):
    # Greenlets of one thread: the loop's must not pass for the request's.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise AssertionError("a request on an event loop")
    experiences = environ["moe_middleware.experiences"]
    experiences.show("homepage-banner")
    gevent.sleep(0)
    assert current_experiences() is experiences
    assert experiences.fetch_sync("promo-strip").source in ("api", "cache")
    start_response("200 OK", [])
    yield experiences["homepage-banner"].source.encode()
    gevent.sleep(0)
    assert current_experiences() is experiences

door = MoEngageWSGIMiddleware(app, settings)

def visit(number):
    environ = {"HTTP_COOKIE": f"customer_id=customer-{number}"}
    setup_testing_defaults(environ)
    body = door(environ, lambda *_: lambda _: None)
    content = b"".join(body)
    body.close()
    return content

greenlets = [gevent.spawn(visit, number) for number in range(50)]
gevent.joinall(greenlets, timeout=60)
assert {one.value for one in greenlets} == {b"api"}, greenlets
from moe_middleware.concurrency.background_loop import background

async def put_aside():
    assert not background.is_elsewhere(asyncio.get_running_loop())
    inside.set()
    leave.wait()

inside, leave = gevent.event.Event(), gevent.event.Event()
asyncio.run_coroutine_threadsafe(put_aside(), background.loop)
inside.wait()
assert background.is_elsewhere(asyncio.get_running_loop())
leave.set()
print(background.run(door.runtime.outbox.count(), 60).waiting)
"""

GEVENT_LATE = """
import sys
from wsgiref.util import setup_testing_defaults
from moe_middleware import MoEngageWSGIMiddleware, Settings

def app(environ, start_response):
    start_response("200 OK", [])
    experiences = environ["moe_middleware.experiences"]
    return [experiences["homepage-banner"].reason.encode()]

door = MoEngageWSGIMiddleware(app, Settings(
    data_center="sandbox",
    routes=[{"path": "/", "experiences": ["homepage-banner"]}],
    events={"outbox": "memory:"},
))
from gevent import monkey; monkey.patch_all()
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
environ = {}
setup_testing_defaults(environ)
print(b"".join(door(environ, lambda *_: lambda _: None)))
"""


def test_under_gevent_fifty_greenlets_see_their_own(tmp_path: Path) -> None:
    program = GEVENT.replace("OUTBOX", str(tmp_path / "outbox.db"))

    assert run(program) == "50"


def test_gevent_that_came_too_late_is_reported_and_the_page_goes_on() -> None:
    output = run(GEVENT_LATE)

    assert "start_failed error=RuntimeError" in output
    assert "Patch them first" in output
    assert output.endswith("b'error'")


def run(program: str) -> str:
    """Run a program in a process of its own and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
