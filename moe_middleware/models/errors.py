"""The errors we raise, one class per thing a caller would do differently.

MoEngageError
├── SettingsError           (also ValueError) fix your configuration
├── DuplicateMiddlewareError   the middleware wraps this app twice
├── TransportError          no usable response; retryable
│   ├── DeadlineError       the time was up before the response was complete
│   └── AnswerError         the response is not as the API's documents describe
├── BudgetError             our own budget of calls is used up; wait retry_after
├── APIError                the API refused: status, title, description, code
│   ├── InvalidRequestError    400, 413: sending it again cannot help
│   ├── AuthenticationError    401, 403: the credentials are wrong
│   └── RateLimitedError       429: wait for retry_after seconds
└── OutboxError             an event could not be stored
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in the settings: its place, and what to do about it.

    Attributes:
        where: The place within the settings, as in ``routes.0.path``.
        message: The given value, the expected one, and what to do.
        file: The file's name; None for values without a file.
        line: The line, counted from 1; None if no line is at fault.
        unset: Whether it is only a variable that is not set here.
    """

    where: str
    message: str
    file: str | None = None
    line: int | None = None
    unset: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part)
        subject = f"{self.where}: {self.message}" if self.where else self.message
        return f"{place}: {subject}" if place else subject


class MoEngageError(Exception):
    """The root of all our errors.

    Attributes:
        reason: The reason of a fallback because of this error.
        retryable: Whether the same call may succeed later.
    """

    reason: Reason = Reason.ERROR
    retryable: bool = False


class SettingsError(MoEngageError, ValueError):
    """The configuration is invalid; ``problems`` has every mistake."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class DuplicateMiddlewareError(MoEngageError, RuntimeError):
    """The middleware wraps the same app twice."""


class TransportError(MoEngageError):
    """No usable response of the API: connection refused, reset, cut off, too large."""

    reason = Reason.UNREACHABLE
    retryable = True


class DeadlineError(TransportError):
    """Time was up before the response was complete."""

    reason = Reason.TIMEOUT


class AnswerError(TransportError):
    """The response is not as the API's documents describe."""

    reason = Reason.BAD_ANSWER


class BudgetError(MoEngageError):
    """The workspace's budget of calls is used up; no call was made.

    Attributes:
        retry_after: Seconds until the next call is free.
    """

    reason = Reason.BUDGET_SPENT
    retryable = True

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the budget of calls is used up for {retry_after:.3g} s")
        self.retry_after = retry_after


class APIError(MoEngageError):
    """The API refused the call.

    Attributes:
        status: The HTTP status of the response.
        title: The envelope's title.
        description: The envelope's description.
        code: The envelope's eight-letter code; None if it has none.
    """

    reason = Reason.SERVER_ERROR

    def __init__(
        self,
        *,
        status: int,
        title: str = "",
        description: str = "",
        code: str | None = None,
    ) -> None:
        self.status = status
        self.title = title
        self.description = description
        self.code = code
        super().__init__(status, title, description, code)

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.status in (408, 429) or self.status >= 500

    def __str__(self) -> str:
        texts = ": ".join(part for part in (self.title, self.description) if part)
        return f"{self.status} {texts}".rstrip()


class InvalidRequestError(APIError):
    """The API rejected the request as invalid (400, 413)."""

    reason = Reason.INVALID_REQUEST


class AuthenticationError(APIError):
    """The API refused our credentials (401, 403)."""

    reason = Reason.UNAUTHORIZED


class RateLimitedError(APIError):
    """The workspace has used up its calls for now (429).

    Attributes:
        retry_after: Seconds to wait, 60 at most whatever the API asks for; None if it
            did not say.
    """

    reason = Reason.RATE_LIMITED

    def __init__(
        self,
        *,
        retry_after: float | None = None,
        title: str = "",
        description: str = "",
    ) -> None:
        super().__init__(status=429, title=title, description=description)
        self.retry_after = retry_after


class OutboxError(MoEngageError):
    """An event could not be stored in the outbox.

    Args:
        message: The outbox, and why.
        may_end: Whether it may end by itself, as a lock or a server's restart does.
    """

    def __init__(self, message: str, *, may_end: bool = True) -> None:
        super().__init__(message)
        self.may_end = may_end
