"""Where one scenario plays: a sandbox that keeps what it counted, sites and relays."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import PATIENCE, Process, browser, free_port, running, wait_for

from ..orders import REPOSITORY

CONFIG = """
workspace: {{id: sandbox, api_key: sandbox-key, base_url: "{url}/v1"}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: "/{{page:path}}", experiences: [homepage-banner]}}]
fetch: {{timeout: 5}}
metadata: {{interval: 0}}
budget: {{calls_per_minute: 1000000}}
events: {{outbox: "{outbox}"{events}}}
"""

WORKSPACE = """
limits: {fetches_per_minute: 1000000}
experiences:
  - key: homepage-banner
    name: Homepage banner
    audiences:
      - {name: All Users, variations: [{payload: {Title: Slow mornings}}]}
"""

PRELOAD = "gunicorn, --preload, 3 workers"

_ASGI, _WSGI = "benchmarks.losses.site:asgi", "benchmarks.losses.site:wsgi"
_GUNICORN = "gunicorn --bind 127.0.0.1:{port} --no-control-socket"

SITES = {
    "uvicorn": f"uvicorn {_ASGI} --port {{port}} --log-level warning --no-access-log",
    "hypercorn": f"hypercorn {_ASGI} --bind 127.0.0.1:{{port}}",
    "gunicorn, sync": f"{_GUNICORN} {_WSGI} --workers 2",
    "gunicorn, threads": f"{_GUNICORN} {_WSGI} --worker-class gthread --threads 4",
    "gunicorn, uvicorn workers": (
        f"{_GUNICORN} {_ASGI} --worker-class uvicorn.workers.UvicornWorker --workers 2"
    ),
    PRELOAD: f"{_GUNICORN} {_WSGI} --workers 3 --preload",
}
"""How the site is served: a module and its arguments, by the server's name."""

DELIVERED_WITHIN = 90.0
"""How long the last relay may take, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one scenario came to.

    Attributes:
        shown: Pages with the banner whose last byte a visitor has.
        stored: Impressions that the sandbox keeps, those of other pages included.
        lost: Whose impression is not among them.
        twice: How many are there more than once.
        unseen: How many are of pages that were not received to the end.
    """

    shown: int
    stored: int
    lost: tuple[str, ...]
    twice: int
    unseen: int


class Place:
    """A folder with a sandbox's file and an outbox; the processes come and go.

    Args:
        folder: Where all files go; empty at the beginning.
        outbox: The outbox's address; left out, a SQLite file in the folder.
        events: More settings of the events section, as in ``relay: off``.
    """

    def __init__(self, folder: Path, *, outbox: str = "", events: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.outbox = folder / "outbox.db"
        self._relays = 0
        config = CONFIG.format(
            url=self.url,
            outbox=outbox or f"sqlite:///{self.outbox}",
            events=f", {events}" if events else "",
        )
        (folder / "moe.yml").write_text(config)
        (folder / "workspace.yml").write_text(WORKSPACE)

    @property
    def environ(self) -> Mapping[str, str]:
        """What the processes of this place find in their environment."""
        return {"MOE_CONFIG": str(self.folder / "moe.yml")}

    # --- processes ---------------------------------------------------------

    @contextmanager
    def sandbox(self) -> Iterator[Process]:
        """Run the sandbox; what it counted outlives it."""
        with running(
            *("-m", "moe_middleware", "sandbox", "--port", str(self.port)),
            *("--workspace", str(self.folder / "workspace.yml")),
            *("--db", str(self.folder / "sandbox.db")),
            port=self.port,
            log=self.folder / "sandbox.log",
        ) as process:
            yield process

    @contextmanager
    def site(self, server: str = "uvicorn") -> Iterator[Process]:
        """Serve the site; ``server`` is one of ``SITES``."""
        port = free_port()
        with running(
            *("-m", *SITES[server].format(port=port).split()),
            port=port,
            log=self.folder / "site.log",
            environ=self.environ,
        ) as process:
            yield process

    def begin_relay(self, *options: str) -> subprocess.Popen[bytes]:
        """Begin ``moe-middleware relay`` as a process of its own."""
        self._relays += 1
        with (self.folder / f"relay-{self._relays}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "moe_middleware", "relay", *options],
                env={**os.environ, **self.environ},
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def deliver(self) -> None:
        """Let a relay of its own deliver what is left; the sandbox must run."""
        relay = self.begin_relay("--until-empty")
        try:
            ended = relay.wait(DELIVERED_WITHIN)
        except subprocess.TimeoutExpired:
            relay.kill()
            relay.wait()
            raise AssertionError(f"not empty: {self.relay_log()}") from None
        assert ended == 0, self.relay_log()

    def relay_log(self) -> str:
        """Return the output of the last relay."""
        return (self.folder / f"relay-{self._relays}.log").read_text()

    # --- the sandbox -------------------------------------------------------

    def fault(self, **fault: Any) -> None:
        """Order trouble from the running sandbox."""
        answer = browser.post(f"{self.url}/_sandbox/faults", json=fault)
        assert answer.status_code == 200, answer.text

    def no_more_faults(self) -> None:
        assert browser.delete(f"{self.url}/_sandbox/faults").status_code == 200

    def stored(self) -> Counter[str]:
        """How many impressions are stored, by customer; the sandbox need not run."""
        db = sqlite3.connect(self.folder / "sandbox.db")
        try:
            rows = db.execute("select customer_id, count(*) from event group by 1")
            return Counter(dict(rows.fetchall()))
        except sqlite3.OperationalError as error:
            # It makes its tables when it needs them.
            if "no such table" not in str(error):
                raise
            return Counter()
        finally:
            db.close()

    def tally(self, received: Iterable[str]) -> Tally:
        """Compare what visitors have received with what is stored by now."""
        seen, stored = set(received), self.stored()
        return Tally(
            shown=len(seen),
            stored=stored.total(),
            lost=tuple(sorted(seen - stored.keys())),
            twice=sum(count > 1 for count in stored.values()),
            unseen=len(stored.keys() - seen),
        )

    def wait_until_stored(self, received: Iterable[str]) -> None:
        """Wait until all of these impressions are stored."""
        seen = set(received)
        try:
            wait_for(lambda: seen <= self.stored().keys(), what="all impressions")
        except AssertionError as error:
            missing = sorted(seen - self.stored().keys())
            log = (self.folder / "site.log").read_text()[-500:]
            about = f"{len(missing)} of {len(seen)} are missing, as {missing[:5]}"
            raise AssertionError(f"{error}: {about}; the site: {log!r}") from error


@dataclass(slots=True)
class Script:
    """One ``benchmarks.losses.script`` at work.

    Attributes:
        log: Where its error output goes.
        shown: The ids that it and its children have printed as shown.
        words: Its other lines, in order.
    """

    process: subprocess.Popen[str]
    log: Path
    shown: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def read(self) -> None:
        """Read its output in a thread."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_word(self, word: str) -> None:
        """Wait until it prints a word; fail if it ends without it."""

        def is_printed() -> bool:
            ended = self.process.poll() is not None and not self._reads
            if ended and word not in self.words:
                raise AssertionError(f"never {word!r}: {self.log.read_text()[-500:]}")
            return word in self.words

        wait_for(is_printed, what=f"a script to print {word!r}")

    @property
    def _reads(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def go_on(self) -> None:
        """Let a script continue after ``hold``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, timeout: float = PATIENCE) -> bool:
        """Wait for its end; return whether it ended by itself. Kill its children."""
        by_itself = True
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            by_itself = False
        # It is the first of a group of its own.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self._reader is not None
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return by_itself

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, _, what = line.strip().partition(" ")
            (self.shown if kind == "shown" else self.words).append(what or kind)


def begin_script(
    who: str,
    url: str,
    steps: str,
    *,
    name: str,
    log: Path,
    python: str = sys.executable,
    environ: Mapping[str, str] | None = None,
) -> Script:
    """Begin a process that shows and ends as ``steps`` say; see ``script``.

    Args:
        who: ``ours`` or a rival.
        url: Where a rival's events go.
        steps: What it does, as in ``"show 20, wait"``.
        name: What its ids begin with.
        log: Where its error output goes.
        python: Whose packages it has.
        environ: What it finds in its environment, beside ours.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.losses.script", who, url, steps, name],
            env={**os.environ, **(environ or {})},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    script = Script(process, log)
    script.read()
    return script
