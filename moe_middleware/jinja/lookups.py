"""The functions that compiled templates call: they find experiences and show them."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, pass_context
from jinja2.runtime import Context, Undefined
from jinja2.utils import missing

from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger
from ..models.experience import Experience
from ..models.experiences import Counting, Experiences, WebSDKApi
from ..models.reasons import Reason
from ..personalizer.current import current, on_event_loop
from ..personalizer.fragments import fragment, note_personal
from ..personalizer.unmet_requests import unmet

logger = logging.getLogger(__name__)
_lines: WeakKeyDictionary[Environment, RepeatLogger] = WeakKeyDictionary()

ENVIRON = "moe_middleware.experiences"
"""The key of the experiences in a WSGI environ."""

_Found = tuple[Experience, Experiences]

# Python looks up a method of an imported name at each call as an attribute.
_current, _fragment = current.get, fragment.get


@pass_context
def match(
    context: Context, key: object, lineno: int, counting: Counting | None
) -> tuple[Experience, bool] | Coroutine[Any, Any, tuple[Experience, bool]]:
    """Return the experience of a key, and whether it matches; then it is counted."""
    if (noted := _fragment()) is not None:
        noted.personal = True
    if type(key) is str:
        experience = experiences_of(context).show(key, counting)
        if experience.reason is None and experience.payload:
            return experience, True
        if experience.reason not in _MISSED:
            return experience, bool(experience)
    found = find(context, key, lineno)
    if isinstance(found, tuple):
        return _matched(found, counting)
    return _matched_when_ready(found, counting)


def _matched(found: _Found, counting: Counting | None) -> tuple[Experience, bool]:
    experience, experiences = found
    if experience:
        experiences.show(experience.key, counting)
    return experience, bool(experience)


async def _matched_when_ready(
    found: Coroutine[Any, Any, _Found], counting: Counting | None
) -> tuple[Experience, bool]:
    return _matched(await found, counting)


@pass_context
def meet(
    context: Context, key: object, lineno: int, impression: object
) -> Experience | Coroutine[Any, Any, Experience]:
    """Return the experience of a key; count it if it matches.

    No new template calls it: those compiled before there was ``match`` do.
    """
    found = find(context, key, lineno)
    if isinstance(found, tuple):
        return _met(found, impression)
    return _met_when_ready(found, impression)


def _met(found: _Found, impression: object) -> Experience:
    experience, experiences = found
    if experience:
        show(experiences, experience, impression)
    return experience


async def _met_when_ready(
    found: Coroutine[Any, Any, _Found], impression: object
) -> Experience:
    return _met(await found, impression)


_MISSED = frozenset({Reason.NOT_READY, Reason.NOT_REQUESTED})
"""The reason why a key needs more work, or a log line."""


@pass_context
def find(
    context: Context, key: object, lineno: int
) -> _Found | Coroutine[Any, Any, _Found]:
    """Return the experience of a key, and all of them."""
    note_personal()
    experiences = experiences_of(context)
    if not isinstance(key, str):
        name = None
        if isinstance(key, Undefined):
            # A strict undefined raises here, as the environment wants.
            str(key)
            name = key._undefined_name
        given = type(key).__name__
        _warn(context, lineno, "experience_key_invalid", given=given, name=name)
        return Experience(key="", reason=Reason.NOT_REQUESTED), experiences
    experience = experiences[key]
    if experience.reason is Reason.NOT_READY:
        if context.environment.is_async:
            # Jinja awaits the result of a filter in an async template.
            return _when_ready(experiences, key)
        if not on_event_loop():
            return experiences.ready_sync()[key], experiences
        _warn(context, lineno, "experience_not_ready", key=key)
    elif experience.reason is Reason.NOT_REQUESTED:
        place = f"{context.name or '<template>'}:{lineno}"
        if (advice := experiences.advice_on(key, place)) is not None:
            logger.warning(
                "experience_not_requested key=%s template=%s: %s",
                *(one_line(key), place, advice),
            )
    return experience, experiences


async def _when_ready(experiences: Experiences, key: str) -> _Found:
    return (await experiences.ready())[key], experiences


def show(experiences: Experiences, experience: Experience, impression: object) -> str:
    if impression:
        counting: Counting | None = (
            impression if isinstance(impression, str) else None  # type: ignore[assignment]
        )
        experiences.show(experience.key, counting)
    return ""


@pass_context
def script(context: Context, nonce: str | None = None) -> str:
    note_personal()
    return experiences_of(context).script(nonce)


@pass_context
def web_sdk(
    context: Context,
    *keys: str | Experience,
    nonce: str | None = None,
    api: WebSDKApi = "web_p",
) -> str:
    note_personal()
    return experiences_of(context).web_sdk(*keys, nonce=nonce, api=api)


_ADVICE = {
    "experience_key_invalid": "a key is text: put it in quotes, as in "
    "{% experience 'hero' %}",
    "experience_not_ready": "a sync template cannot wait on the event loop: 'await "
    "experiences.ready()' in the handler, or prefetch: blocking",
}


def _warn(
    context: Context,
    lineno: int,
    outcome: str,
    *,
    name: str | None = None,
    **about: str,
) -> None:
    [(what, value)] = about.items()
    lines = _lines.get(context.environment)
    if lines is None:
        lines = _lines.setdefault(context.environment, RepeatLogger(logger))
    lines.log(
        logging.WARNING,
        f"{outcome} {what}=%s template=%s:%d: %s%s",
        *(one_line(value), context.name or "<template>", lineno),
        f"there is no variable {one_line(name)!r}, and " if name else "",
        _ADVICE[outcome],
    )


def experiences_of(context: Context) -> Experiences:
    """Return the experiences for a template.

    They are the value ``experiences`` of its context, else those of its ``request``,
    else those of the current request; without any, an object without matches.
    """
    # Jinja's own Context class has no other names than these.
    names, rest = context.vars, context.parent
    asks = type(context) is not Context
    request: object = missing
    if asks or "experiences" in names or "experiences" in rest:
        given = context.resolve_or_missing("experiences")
        # The app may have another value by this name.
        if isinstance(given, Experiences):
            return given
    if asks or "request" in names or "request" in rest:
        request = context.resolve_or_missing("request")
    found = None if request is missing else _of_request(request)
    if found is None:
        found = _current()
    return found if found is not None else unmet(request, context.name)


def _of_request(request: Any) -> Experiences | None:
    """Return the experiences that a door has attached to a framework's request."""
    try:
        found = request.scope["state"]["experiences"]
    except Exception:
        found = None
    if isinstance(found, Experiences):
        return found
    try:
        # Django has them on the request, Sanic in its ctx.
        found = getattr(getattr(request, "ctx", request), "experiences", None)
        if not isinstance(found, Experiences):
            found = request.environ.get(ENVIRON)
    except Exception:
        # No such attribute; or a proxy, which may raise anything without a request.
        return None
    return found if isinstance(found, Experiences) else None
