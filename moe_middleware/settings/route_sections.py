"""The section ``routes``: which paths want which experiences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field

from ..models.experiences import Counting
from .path_syntax import check_path, path_parameters
from .sections import Prefetch, Vary
from .source_names import source_name
from .validation import Mistake, Section
from .value_sources import ValueSource
from .value_types import Budget, ExperienceKey, Host, Method, Name, Path, Unique

RESERVED_ATTRIBUTES = frozenset(
    ("experience_key", "identifiers", "customer_id", "visitor_id", "user_id")
)
"""Names that a fetch itself uses at its top level (document: Fetch Experience)."""

OWN_ATTRIBUTES = ("DAY_OF_THE_WEEK", "TIME_OF_THE_DAY", "USER_IP_ADDRESS", "USER_AGENT")
"""The in-session attributes that every fetch has, without being configured."""


class Route(Section):
    """A path and the experiences that its pages want."""

    path: Path = Field(
        description="The path within the app, as in /products/{sku}, /{id:int} or "
        "/{rest:path}."
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1), Unique] | None = Field(
        default=None,
        description="The HTTP methods; left out, all of them.",
    )
    exclude: Annotated[tuple[Path, ...], Unique] = Field(
        default=(),
        description="Paths that the route is not for, as in /static/{rest:path}.",
    )
    hosts: Annotated[tuple[Host, ...], Field(min_length=1), Unique] | None = Field(
        default=None,
        description="The hosts, as shop.example.com or *.example.com; left out, all.",
    )
    experiences: Annotated[tuple[ExperienceKey, ...], Unique] = Field(
        min_length=1, description="The keys of the experiences to fetch."
    )
    attributes: dict[Name, ValueSource] = Field(
        default_factory=dict,
        description="In-session attributes of this route, beside those of every fetch.",
    )
    timeout: Budget | None = Field(
        default=None, description="As fetch.timeout, for these pages, in seconds."
    )
    prefetch: Prefetch | None = Field(
        default=None, description="As fetch.prefetch, for these pages."
    )
    vary: Vary | None = Field(
        default=None, description="As cache.vary, for these pages."
    )
    impression: Counting | None = Field(
        default=None,
        description="When impressions of these pages count: with the response "
        "(response, the default), once visible on the screen (visible), or when "
        "MoEngage's Web SDK reports them (web_sdk).",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        attributes = given.get("attributes")
        yield from reserved_names(attributes)
        path = given.get("path")
        if not isinstance(path, str) or not isinstance(attributes, Mapping):
            return
        try:
            known = sorted(path_parameters(check_path(path)))
        except ValueError:
            return  # the path's own mistake
        for name, source in attributes.items():
            wanted = source_name(source, "path")
            if wanted is not None and wanted not in known:
                yield Mistake(
                    ("attributes", name, "path"), _no_parameter(wanted, path, known)
                )


def reserved_names(attributes: Any) -> Iterator[Mistake]:
    """Yield the attributes that have a reserved name."""
    for name in attributes if isinstance(attributes, Mapping) else ():
        if name in RESERVED_ATTRIBUTES:
            yield Mistake(
                ("attributes", name),
                f"{name!r} is no attribute's name: a fetch has a meaning of its own "
                "for it, see 'identity' and 'routes'",
            )


def _no_parameter(wanted: str, path: str, known: list[str]) -> str:
    message = f"the path {path!r} has no parameter {wanted!r}"
    near = get_close_matches(wanted, known, n=1)
    if near:
        return f"{message}: did you mean {near[0]!r}?"
    if known:
        return f"{message}: use one of {', '.join(known)}"
    return f"{message}: write one, as in {path.rstrip('/')}/{{{wanted}}}"
