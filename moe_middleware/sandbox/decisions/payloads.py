"""Makes a variation's payload for one visitor: its language, its templates rendered."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ...logs.repeated_lines import RepeatLogger
from ...models.json_texts import parse_json
from ..workspace.template_worker import Withheld
from ..workspace.templating import OutOfTime, Stopped, is_template, render
from ..workspace.workspace import MAX_DEPTH, DataType, Value, Variation

logger = logging.getLogger(__name__)
_repeat_logger = RepeatLogger(logger)


def payload_for(
    variation: Variation, attributes: Mapping[str, Any] | None, locale: str | None
) -> Mapping[str, Value]:
    """Return the payload for a visitor.

    Args:
        attributes: A known customer's attributes; None for other visitors.
        locale: The visitor's language, if the experience has it.

    Raises:
        Withheld: A template withholds the whole experience.
    """
    payload = variation.payload
    if locale is not None and locale in variation.locales:
        payload = {**payload, **variation.locales[locale]}
    return {
        name: _rendered(name, value, attributes or {})
        for name, value in payload.items()
    }


def _rendered(name: str, value: Value, attributes: Mapping[str, Any]) -> Value:
    if not _has_template(value.value):
        return value
    try:
        made = _render_in(value.value, attributes)
        if isinstance(value.value, str):
            made = _as_type(made, value.data_type)
    except Withheld as error:
        if isinstance(error, Stopped):
            logger.warning(
                "template_stopped name=%r: its experience is withheld; make the "
                "template shorter",
                name,
            )
        if isinstance(error, OutOfTime):
            _repeat_logger.log(
                logging.WARNING,
                "template_not_begun name=%r: its experience is withheld: %s; make them "
                "shorter, or ask for fewer keys at once",
                *(name, error),
                outcome=name,
            )
        raise Withheld(f"{name}: {error}") from error
    return Value(made, value.data_type)


def _has_template(value: Any) -> bool:
    if isinstance(value, str):
        return is_template(value)
    if isinstance(value, dict):
        return any(map(_has_template, value.values()))
    return isinstance(value, list) and any(map(_has_template, value))


def _render_in(value: Any, attributes: Mapping[str, Any]) -> Any:
    """Render the texts within a value; names in a JSON object stay as they are."""
    if isinstance(value, str):
        return render(value, attributes) if is_template(value) else value
    if isinstance(value, dict):
        return {name: _render_in(inner, attributes) for name, inner in value.items()}
    if isinstance(value, list):
        return [_render_in(inner, attributes) for inner in value]
    return value


def _as_type(text: str, data_type: DataType) -> Any:
    """Return a rendered text as a value of its data type."""
    try:
        match data_type:
            case DataType.STRING:
                return text
            case DataType.BOOLEAN:
                # Jinja prints Python's True and False.
                return {"true": True, "false": False}[text.strip().lower()]
            case DataType.JSON:
                return parse_json(text, max_depth=MAX_DEPTH)
            case DataType.FLOAT:
                return _finite(float(text))
            case DataType.NUMBER:
                number = _finite(float(text))
                return int(number) if number.is_integer() else number
    except (ValueError, KeyError) as error:
        about = f"the template gives {text[:60]!r}, which is no {data_type}"
        raise Withheld(about) from error


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("JSON has no such number")
    return number
