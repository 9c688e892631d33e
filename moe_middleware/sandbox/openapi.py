"""The three endpoints as an OpenAPI 3.1 document, served at ``/openapi.json``. Pure.

It describes what the sandbox does, by hand: a document made from the code would agree
with every mistake in it.
"""

from __future__ import annotations

from typing import Any

from .events import (
    ACTIONS,
    MAX_ELEMENTS,
    MAX_OFFSET,
    MILLISECONDS_FROM,
    REQUIRED_ATTRIBUTES,
)
from .fetches import MAX_KEYS
from .rules import DAYS, HOURS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FILLED: Schema = {"type": "string", "minLength": 1}
CODE: Schema = {"type": "string", "pattern": "^[A-Za-z]{8}$"}

SAMPLE_CONTEXT = {
    "cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
    "experience": "Homepage banner",
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
    "experience_type": "API based Experience",
}
SAMPLE_FETCH = {
    "identifiers": {"customer_id": "alice"},
    "experience_key": ["homepage-banner"],
    "utm_medium": "email",
    "DAY_OF_THE_WEEK": "Sunday",
    "TIME_OF_THE_DAY": "07",
}
SAMPLE_EXPERIENCES = {
    "experiences": {
        "homepage-banner": {
            "payload": {"Title": {"value": "Hello", "data_type": "string"}},
            "experience_context": SAMPLE_CONTEXT,
        }
    }
}
SAMPLE_METADATA = {
    "metadata": {
        "count": 1,
        "experiences": [
            {
                "experience_name": "Homepage banner",
                "experience_key": "homepage-banner",
                "status": "Active",
            }
        ],
    }
}
SAMPLE_EVENTS = {
    "elements": [
        {
            "customer_id": "alice",
            "user_timezone_offset": 19800,
            "actions": [
                {
                    "action": ACTIONS[1],
                    "moe_event_uuid": "aa886712-4537-47c1-b126-2686efda2e26",
                    "event_time": 1725258666,
                    "platform": "web",
                    "attributes": {**SAMPLE_CONTEXT, "b_id": "Shop Now"},
                }
            ],
        }
    ]
}
SAMPLE_RECEIPT = {
    "status": "success",
    "message": "The events are accepted and will be processed soon.",
    "req_id": "GvHogFKc",
}


def openapi_document(server: str) -> dict[str, Any]:
    """Return the document.

    Args:
        server: Where the sandbox is, as in ``http://127.0.0.1:8787``; may be a path.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MoEngage Personalize sandbox",
            "version": "1",
            "description": "A local look-alike of MoEngage's Personalize API.",
        },
        "servers": [{"url": f"{server}/v1"}],
        "security": [{"basic": [], "app_key": []}],
        "paths": {
            "/experiences/fetch": {"post": _fetch()},
            "/experiences/metadata": {"get": _metadata()},
            "/experiences/events": {"post": _events()},
        },
        "components": {
            "securitySchemes": SCHEMES,
            "headers": {name: _count(text) for name, text in RATE_HEADERS.items()},
            "schemas": SCHEMAS,
        },
    }


SCHEMES = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The workspace id and a Personalize API key.",
    },
    "app_key": {
        "type": "apiKey",
        "in": "header",
        "name": "MOE-APPKEY",
        "description": "The workspace id; with _DEBUG at its end the TEST "
        "environment's.",
    },
}

RATE_HEADERS = {
    "x-ratelimit-limit": "Fetches that a minute allows.",
    "x-ratelimit-remaining": "Fetches that are left in this one.",
    "x-ratelimit-reset": "When the next one begins, in whole unix seconds.",
}

ERRORS = {
    400: ("An unknown app key, no JSON, or a value that is not taken.", True),
    401: ("A wrong workspace id or key.", False),
    405: ("Another method: the header Allow lists the right ones.", False),
    415: ("A strict sandbox takes application/json only.", False),
    413: ("The body is larger than the sandbox takes.", False),
    429: ("More than the minute's limit.", False),
    500: ("A mistake in the server, or a fault that was ordered.", False),
}
"""The statuses of refusals, why, and whether the envelope may have a code."""


def _fetch() -> dict[str, Any]:
    return {
        "operationId": "fetchExperiences",
        "summary": "What a visitor gets of each experience.",
        "requestBody": _body("FetchRequest", SAMPLE_FETCH),
        "responses": _responses(
            "The experiences that fit; a key without a match is left out.",
            ("FetchResponse", SAMPLE_EXPERIENCES),
            (400, 401, 405, 413, 415, 429, 500),
            limited=True,
        ),
    }


def _metadata() -> dict[str, Any]:
    status = {
        "name": "status",
        "in": "query",
        "description": "Active, Paused, Scheduled, separated by commas; left out, all "
        "three. Other words find nothing.",
        "schema": TEXT,
        "example": "Active,Paused",
    }
    return {
        "operationId": "listExperiences",
        "summary": "The experiences there are.",
        "parameters": [status],
        "responses": _responses(
            "The experiences in these states.",
            ("MetadataResponse", SAMPLE_METADATA),
            (400, 401, 405, 500),
        ),
    }


def _events() -> dict[str, Any]:
    return {
        "operationId": "reportEvents",
        "summary": "Impressions and clicks that happened.",
        "description": "One bad element refuses the whole call.",
        "requestBody": _body("EventsRequest", SAMPLE_EVENTS),
        "responses": _responses(
            "All of it is stored, what had been stored before only once.",
            ("EventsResponse", SAMPLE_RECEIPT),
            (400, 401, 405, 413, 415, 500),
        ),
    }


def _responses(
    description: str,
    good: tuple[str, Any],
    errors: tuple[int, ...],
    *,
    limited: bool = False,
) -> dict[str, Any]:
    told: dict[int, dict[str, Any]] = {
        200: {"description": description, "content": _content(*good)}
    }
    for status in errors:
        why, coded = ERRORS[status]
        schema = "CodedError" if coded else "Error"
        told[status] = {"description": why, "content": _content(schema)}
        if status == 405:
            told[status]["headers"] = {"Allow": {"required": True, "schema": TEXT}}
    if limited:
        for response in told.values():
            names = {name: _ref("headers", name) for name in RATE_HEADERS}
            response["headers"] = response.get("headers", {}) | names
    return {str(status): response for status, response in told.items()}


def _body(schema: str, example: Any) -> dict[str, Any]:
    return {"required": True, "content": _content(schema, example)}


def _content(schema: str, example: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _ref("schemas", schema)}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _count(description: str) -> dict[str, Any]:
    return {
        "required": True,
        "description": description,
        "schema": {"type": "integer", "minimum": 0},
    }


def _object(required: tuple[str, ...], open: bool = False, /, **fields: Any) -> Schema:
    """Return the schema of an object; an open one may have further fields."""
    schema: Schema = {"type": "object", "properties": fields}
    if required:
        schema["required"] = list(required)
    return schema if open else schema | {"additionalProperties": False}


_NOTHING: tuple[str, ...] = ()

SCHEMAS: dict[str, Schema] = {
    "FetchRequest": _object(
        _NOTHING,
        True,
        identifiers=_object(
            _NOTHING,
            True,
            customer_id=TEXT,
            user_identifiers={
                "description": "By name, as in u_em; or one value that may be any.",
                "anyOf": [
                    {"type": "object", "additionalProperties": FILLED},
                    TEXT,
                ],
            },
        ),
        customer_id=TEXT | {"deprecated": True},
        user_id=TEXT | {"deprecated": True},
        visitor_id=TEXT | {"deprecated": True},
        experience_key={
            "description": f"Left out, all. Beyond the first {MAX_KEYS} they are cut.",
            "anyOf": [{"type": "array", "items": TEXT}, TEXT],
        },
        DAY_OF_THE_WEEK={"enum": list(DAYS)},
        TIME_OF_THE_DAY={"enum": list(HOURS), "description": "The hour in UTC."},
        USER_IP_ADDRESS=TEXT,
        USER_AGENT=TEXT,
    )
    | {"description": "Every other field is a custom in-session attribute."},
    "FetchResponse": _object(
        ("experiences",),
        experiences={
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/Experience"},
        },
    ),
    "Experience": _object(
        ("payload",),
        payload={
            "type": "object",
            "additionalProperties": _object(
                ("value", "data_type"),
                value={},
                data_type={"enum": ["string", "number", "boolean", "json", "float"]},
            ),
        },
        experience_context={
            "type": "object",
            "description": "Opaque: it goes back whole, as an action's attributes.",
            "required": [*SAMPLE_CONTEXT],
            "additionalProperties": TEXT,
        },
    ),
    "MetadataResponse": _object(
        ("metadata",),
        metadata=_object(
            ("count", "experiences"),
            count={"type": "integer", "minimum": 0},
            experiences={
                "type": "array",
                "items": _object(
                    ("experience_name", "experience_key", "status"),
                    experience_name=TEXT,
                    experience_key=TEXT,
                    status={"enum": ["Active", "Paused", "Scheduled"]},
                ),
            },
        ),
    ),
    "EventsRequest": _object(
        ("elements",),
        True,
        elements={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_ELEMENTS,
            "items": {"$ref": "#/components/schemas/Element"},
        },
    ),
    "Element": _object(
        ("customer_id", "actions"),
        True,
        customer_id=FILLED,
        user_attributes={"type": "object"},
        user_timezone_offset={
            "type": "integer",
            "minimum": -MAX_OFFSET,
            "maximum": MAX_OFFSET,
            "description": "In seconds.",
        },
        actions={
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/components/schemas/Action"},
        },
    ),
    "Action": _object(
        ("action", "moe_event_uuid", "event_time", "attributes"),
        True,
        action={"enum": list(ACTIONS)},
        moe_event_uuid=FILLED
        | {"description": "A new one for each event, the same one in each retry."},
        event_time={
            "type": "integer",
            "minimum": 0,
            "maximum": MILLISECONDS_FROM - 1,
            "description": "In unix seconds. ISO 8601 text, which older documents "
            "allow, and milliseconds are taken unless the workspace refuses them.",
        },
        platform={"description": "web, android, ios or tv; anything else is Unknown."},
        attributes={
            "type": "object",
            "description": "The experience_context as it came; of a click, with b_id.",
            "properties": dict.fromkeys((*REQUIRED_ATTRIBUTES, "b_id"), TEXT),
            "required": [*REQUIRED_ATTRIBUTES],
        },
        b_id=TEXT | {"description": "Which element was clicked; or in attributes."},
    ),
    "EventsResponse": _object(
        ("status", "message", "req_id"),
        status={"const": "success"},
        message=TEXT,
        req_id=CODE,
    ),
    "Error": _object(("title", "description"), title=TEXT, description=TEXT),
    "CodedError": _object(
        ("title", "description"), title=TEXT, description=TEXT, code=CODE
    ),
}
