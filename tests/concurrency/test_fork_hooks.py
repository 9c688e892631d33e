"""A machine without fork, as Windows is: everything imports, and a page is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Loaded first: other packages may look for what is taken away below.
OTHERS = """
import asyncio, multiprocessing, selectors, signal, socket, subprocess, sys, tempfile
import anyio, click, django, flask, httpx, pytest, quart, redis, uvicorn
import redis.asyncio, starlette.applications, starlette.testclient, maxminddb
"""

TAKE_AWAY = """
import functools, os
# An event loop wants a pair, which Windows makes in its own way.
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)
POSIX = {
    os: "register_at_fork fork forkpty getuid geteuid getgid getegid getgroups getpgid "
        "setsid killpg nice uname sysconf mkfifo chown fchown lchown chroot sync "
        "pread pwrite pipe2 posix_fadvise sendfile statvfs fstatvfs wait3 wait4 "
        "O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK O_SYNC sched_getaffinity",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGQUIT "
            "alarm pthread_kill setitimer pthread_sigmask sigwait",
    socket: "AF_UNIX SO_REUSEPORT sethostname CMSG_LEN "
            "TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_USER_TIMEOUT MSG_DONTWAIT",
}
for module, names in POSIX.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in "fcntl resource pwd grp termios tty pty syslog readline".split():
    sys.modules[name] = None
"""

IMPORT_ALL = """
import importlib, pkgutil
import moe_middleware
LEFT_OUT = {"moe_middleware.__main__", "moe_middleware.templatetags.moengage"}
names = {
    found.name
    for found in pkgutil.walk_packages(moe_middleware.__path__, "moe_middleware.")
}
for name in sorted(names - LEFT_OUT):
    importlib.import_module(name)
print(len(names) > 50)
"""

SERVE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from moe_middleware import (
    MoEngageMiddleware, MoEngageWSGIMiddleware, Settings, current_experiences
)

async def page(request):
    hero = request.state.experiences.show("homepage-banner")
    return PlainTextResponse(hero.get("Title", "no title"))

def wsgi_page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [current_experiences().show("homepage-banner").source.encode()]

settings = Settings(
    workspace={"data_center": "sandbox"},
    identity={"customer_id": {"value": "alice"}},
    routes=[{"path": "/", "experiences": ["homepage-banner"]}],
    events={"outbox": "sqlite:///outbox.db"},
)
app = MoEngageMiddleware(Starlette(routes=[Route("/", page)]), config=settings)
with TestClient(app) as client:
    print(client.get("/").status_code)
client = httpx.Client(
    transport=httpx.WSGITransport(MoEngageWSGIMiddleware(wsgi_page, config=settings)),
    base_url="http://shop.example",
)
print(client.get("/").text)
"""


def run(program: str, folder: Path) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_everything_imports_and_pages_are_served_where_there_is_no_posix(
    tmp_path: Path,
) -> None:
    program = OTHERS + TAKE_AWAY + IMPORT_ALL + SERVE

    assert run(program, tmp_path) == ["True", "200", "cache"]
    assert (tmp_path / "outbox.db").exists()


def test_hooks_are_called_around_a_fork(tmp_path: Path) -> None:
    program = """
import os
from moe_middleware.concurrency.fork_hooks import register_fork_hooks
register_fork_hooks(
    before=lambda: print("before", flush=True),
    after_in_parent=lambda: os.wait() and print("parent", flush=True),
    after_in_child=lambda: print("child", flush=True),
)
os.fork()
"""

    assert run(program, tmp_path) == ["before", "child", "parent"]
