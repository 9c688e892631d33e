"""Visitors of a site, and which of them have received their whole page."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from typing import Self

from tests.servers import wait_for

BANNER = b"<h1>Slow mornings</h1>"
"""The page of a visitor who has the experience."""

PATIENCE = 20.0
"""How long a visitor waits for a page, in seconds."""

CLOSED_PAUSE = 0.02
"""How long a visitor waits who found the site closed, in seconds."""


class Crowd:
    """Loads pages over real sockets while the block lasts, each for someone new.

    Args:
        port: Where the site is.
        name: What its visitors' ids begin with.
        at_once: How many load pages at the same time.
        pause: How long each of them pauses between two pages, in seconds.

    Attributes:
        received: Who has the last byte of a page with the banner, and since when, by
            the monotonic clock.
        plain: How many pages came without the banner.
        failed: How many did not come, or not to their end.
    """

    def __init__(
        self, port: int, name: str, *, at_once: int = 4, pause: float = 0.0
    ) -> None:
        self.received: dict[str, float] = {}
        self.plain = 0
        self.failed = 0
        self._port = port
        self._name = name
        self._numbers = itertools.count()
        self._pause = pause
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit_on, name="visitor", daemon=True)
            for _ in range(at_once)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.leave()

    def wait_for_pages(self, count: int) -> None:
        """Wait until so many more pages were received."""
        wanted = len(self.received) + count
        try:
            wait_for(lambda: len(self.received) >= wanted, what=f"{wanted} pages")
        except AssertionError as error:
            counts = f"{len(self.received)}, {self.plain} plain, {self.failed} failed"
            raise AssertionError(f"{error}: {counts}") from error

    def leave(self) -> None:
        """Load no more pages; those under way come to their end."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _visit_on(self) -> None:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=PATIENCE
        )
        while not self._ended.is_set():
            try:
                self._visit(connection, f"{self._name}-{next(self._numbers)}")
                if self._pause:
                    self._ended.wait(self._pause)
            except (OSError, http.client.HTTPException):
                self.failed += 1
                connection.close()
                self._ended.wait(CLOSED_PAUSE)
        connection.close()

    def _visit(self, connection: http.client.HTTPConnection, customer: str) -> None:
        headers = {"cookie": f"customer_id={customer}", "user-agent": "Firefox"}
        connection.request("GET", "/", headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status == 200 and body == BANNER:
            self.received[customer] = time.monotonic()
        else:
            self.plain += 1
