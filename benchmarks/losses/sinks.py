"""The server for the rivals' events: it keeps them, and can be made to fail."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Trouble = Literal["none", "status 503", "cut", "hang"]
"""How reports fail: they are answered 503, cut off before they are looked at, or never
answered."""

Sent = tuple[str, str | None]
"""An event's customer, and its id, where it has one."""

HANGS_FOR = 60.0
"""How long an answer hangs at most, in seconds."""


def _payload_ids(body: Any, payload_id: str | None) -> Iterator[Sent]:
    # The events of LaunchDarkly have no ids; the payload that carries them has one.
    for number, event in enumerate(body):
        if event["kind"] == "custom":
            context = event.get("context") or {"key": event["contextKeys"]["user"]}
            yield context["key"], payload_id and f"{payload_id}/{number}"


EVENTS: dict[str, Callable[[Any, str | None], Iterator[Sent]]] = {
    "/batch/": lambda body, _: (
        (event["distinct_id"], event.get("uuid")) for event in body["batch"]
    ),
    "/v1/batch": lambda body, _: (
        (event["userId"], event.get("messageId")) for event in body["batch"]
    ),
    "/2/httpapi": lambda body, _: (
        (event["user_id"], event.get("insert_id")) for event in body["events"]
    ),
    "/v1/events": lambda body, _: (
        (event["identifier"], None) for event in body["events"]
    ),
    "/bulk": _payload_ids,
}
"""How the events of a body are read, by the path they are sent to."""


class Sink:
    """A server that all rivals report to.

    Attributes:
        url: Where it listens.
        stored: How many events, by customer; a repeated id counts once, as in the
            rivals' services.
    """

    def __init__(self) -> None:
        self.url = ""
        self.stored: Counter[str] = Counter()
        self.lose_answers = 0
        self._trouble: Trouble = "none"
        self._well = threading.Event()
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def behave(self, trouble: Trouble) -> None:
        """Fail from now on, or no longer; those that hang then are cut off."""
        if trouble == "hang":
            self._well.clear()
        else:
            self._well.set()
        self._trouble = trouble

    def take(self, path: str, body: bytes, payload_id: str | None) -> int:
        """Take what was posted; return the answer's status, 0 for none."""
        match self._trouble if path in EVENTS else "none":
            case "status 503":
                return 503
            case "cut":
                return 0
            case "hang":
                self._well.wait(HANGS_FOR)
                return 0
        if path not in EVENTS:
            return 404
        sent = list(EVENTS[path](json.loads(body), payload_id))
        with self._lock:
            for user, id in sent:
                if id is None or id not in self._ids:
                    self.stored[user] += 1
                if id is not None:
                    self._ids.add(id)
            if sent and self.lose_answers:
                self.lose_answers -= 1
                return 0
        return 200


@contextmanager
def sink() -> Iterator[Sink]:
    """Run one in threads of this process until the block ends."""
    service = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            payload_id = self.headers.get("x-launchdarkly-payload-id")
            status = service.take(self.path.partition("?")[0], body, payload_id)
            if not status:
                self.close_connection = True
                return
            well = status == 200
            # Amplitude's client reads the status from the body.
            document = {"status": int(well), "success": well, "code": status}
            answer = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield service
        finally:
            service.behave("none")
            server.shutdown()
            thread.join()
