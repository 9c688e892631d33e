"""The errors we raise, to import and to catch."""

from __future__ import annotations

from .models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    BudgetError,
    DeadlineError,
    DuplicateMiddlewareError,
    InvalidRequestError,
    MoEngageError,
    OutboxError,
    Problem,
    RateLimitedError,
    SettingsError,
    TransportError,
)

__all__ = [
    "APIError",
    "AnswerError",
    "AuthenticationError",
    "BudgetError",
    "DeadlineError",
    "DuplicateMiddlewareError",
    "InvalidRequestError",
    "MoEngageError",
    "OutboxError",
    "Problem",
    "RateLimitedError",
    "SettingsError",
    "TransportError",
]
