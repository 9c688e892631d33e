"""A WSGI server without a network that keeps to PEP 3333, and tells what happened."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass
class Answer:
    """What a server got from an app.

    Attributes:
        parts: The body as it came, what was written early first.
        error: What the app raised.
        sent_as_file: Whether the body was the server's own file wrapper.
    """

    status: int = 0
    line: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    error: Exception | None = None
    sent_as_file: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None


def ask(
    app: WSGIApplication,
    method: str = "GET",
    path: str = "/",
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    leave_after: int | None = None,
    validate: bool = True,
    **environ: Any,
) -> Answer:
    """Send an app one request.

    Args:
        leave_after: The visitor leaves after so many parts of the body.
        validate: Have ``wsgiref.validate`` watch.
    """
    made: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.example",
        "wsgi.input": io.BytesIO(body),
        "wsgi.file_wrapper": FileWrapper,
        "CONTENT_LENGTH": str(len(body)),
        **environ,
    }
    for name, value in (headers or {}).items():
        made[f"HTTP_{name.upper().replace('-', '_')}"] = value
    setup_testing_defaults(made)
    made["HTTP_HOST"] = "shop.example"
    answer = Answer()

    def start_response(
        status: str,
        given: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], object]:
        if exc_info is not None and answer.parts:
            raise exc_info[1].with_traceback(exc_info[2])
        answer.line, answer.status = status, int(status[:3])
        answer.headers = list(given)
        return answer.parts.append

    try:
        returned = (validator(app) if validate else app)(made, start_response)
        answer.sent_as_file = isinstance(returned, FileWrapper)
        try:
            for taken, part in enumerate(returned, 1):
                answer.parts.append(part)
                if taken == leave_after:
                    break
        finally:
            if hasattr(returned, "close"):
                returned.close()
    except Exception as error:
        answer.error = error
    return answer


class Probe:
    """An app in front of which stands a witness of every call that a server makes."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self.calls: list[str] = []

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.calls.append("call")

        def start(*args: Any) -> Callable[[bytes], object]:
            self.calls.append(f"start_response {args[0]} {len(args)}")
            write = start_response(*args)

            def writing(part: bytes) -> None:
                self.calls.append(f"write {len(part)}")
                write(part)

            return writing

        body = self.app(environ, start)
        if isinstance(body, FileWrapper):
            return body
        return (_SizedWitness if hasattr(body, "__len__") else _Witness)(body, self)


class _Witness:
    def __init__(self, body: Iterable[bytes], probe: Probe) -> None:
        self.body = body
        self.probe = probe

    def __iter__(self) -> Iterator[bytes]:
        self.probe.calls.append("iter")
        self.parts = iter(self.body)
        return self

    def __next__(self) -> bytes:
        self.probe.calls.append("next")
        return next(self.parts)

    def close(self) -> None:
        self.probe.calls.append("close")
        if hasattr(self.body, "close"):
            self.body.close()


class _SizedWitness(_Witness):
    def __len__(self) -> int:
        self.probe.calls.append("len")
        return len(self.body)  # type: ignore[arg-type]
