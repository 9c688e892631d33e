"""Where one scenario plays: a sandbox that keeps what it counted, sites and relays."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.servers import PATIENCE, browser, free_port, running, wait_for
from tests.servers import Process as Server

from ..processes import REPOSITORY, Process
from ..upstream import Trouble

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

_FAULTS: dict[Trouble, dict[str, Any]] = {
    "status 503": {"status": 503},
    "cut": {"drop": True},
    "hang": {"latency": 3600},
}

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
    def sandbox(self) -> Iterator[Server]:
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
    def site(self, server: str = "uvicorn") -> Iterator[Server]:
        """Serve the site; ``server`` is one of ``SITES``."""
        port = free_port()
        with running(
            *("-m", *SITES[server].format(port=port).split()),
            port=port,
            log=self.folder / "site.log",
            environ=self.environ,
        ) as process:
            yield process

    @contextmanager
    def relay(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``moe-middleware relay``; it is killed at the block's end, if needed."""
        self._relays += 1
        with (self.folder / f"relay-{self._relays}.log").open("wb") as log:
            relay = subprocess.Popen(
                [sys.executable, "-m", "moe_middleware", "relay", *options],
                env={**os.environ, **self.environ},
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield relay
        finally:
            relay.kill()
            relay.wait()

    def deliver(self) -> None:
        """Let a relay of its own deliver what is left; the sandbox must run."""
        with self.relay("--until-empty") as relay:
            try:
                ended = relay.wait(DELIVERED_WITHIN)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"not empty: {self.relay_log()}") from None
        assert ended == 0, self.relay_log()

    def relay_log(self) -> str:
        """Return the output of the last relay."""
        return (self.folder / f"relay-{self._relays}.log").read_text()

    def script(self, steps: str, name: str) -> Script:
        """Begin a script that shows our pages; see ``benchmarks.losses.script``."""
        return Script("ours", "", steps, name, folder=self.folder, environ=self.environ)

    # --- the sandbox -------------------------------------------------------

    def fault(self, **fault: Any) -> None:
        """Order trouble from the running sandbox."""
        answer = browser.post(f"{self.url}/_sandbox/faults", json=fault)
        assert answer.status_code == 200, answer.text

    def faults(self) -> list[Any]:
        """The faults that are still to be applied."""
        found: list[Any] = browser.get(f"{self.url}/_sandbox/faults").json()["faults"]
        return found

    def no_more_faults(self) -> None:
        assert browser.delete(f"{self.url}/_sandbox/faults").status_code == 200

    def fail(self, trouble: Trouble) -> None:
        """Let reports fail from now on, or no longer."""
        self.no_more_faults()
        if trouble != "none":
            self.fault(path="events", times=None, **_FAULTS[trouble])

    def lose_answer(self) -> None:
        """Store the next report and cut its connection."""
        self.fault(path="events", lose_response=True)

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


class Script(Process):
    """One ``benchmarks.losses.script`` at work.

    Args:
        who: ``ours`` or a rival.
        url: Where a rival's events go.
        steps: What it does, as in ``"show 20, wait"``.
        name: What its ids begin with.
        folder: Gets its error output.
        python: Whose packages it has.
        environ: What it finds in its environment, beside ours.

    Attributes:
        shown: The ids that it and its children have printed as shown.
    """

    def __init__(
        self,
        who: str,
        url: str,
        steps: str,
        name: str,
        *,
        folder: Path,
        python: str = sys.executable,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        command = [python, "-m", "benchmarks.losses.script", who, url, steps, name]
        super().__init__(name, command, folder / "script.log", environ)
        self.shown: list[str] = []

    def wait_for_word(self, word: str) -> None:
        """Wait until it prints a word; fail if it ends without it."""
        with self.lines(PATIENCE) as lines:
            for line in lines:
                if self._take(line) == word:
                    return
        raise self.failed()

    def go_on(self) -> None:
        """Let it continue after ``hold``."""
        self.say("")

    def end(self, timeout: float = PATIENCE) -> bool:
        """Wait for its end; return whether it ended by itself. Kill its children."""
        by_itself = super().end(timeout)
        for line in self.rest:
            self._take(line)
        return by_itself

    def _take(self, line: str) -> str:
        word, _, shown = line.strip().partition(" ")
        if shown:
            self.shown.append(shown)
        return word
