"""The settings: from keywords, the environment and ``moe.yml``, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from ..models.errors import Problem, SettingsError
from .contradictions import contradictions, unknown_names
from .documents import Document
from .fingerprints import fingerprint_of
from .import_strings import check_picklable, name_of
from .json_schema import build_settings_schema
from .overrides import find_overrides, joined, names_of
from .probable_mistakes import probable_mistakes
from .reading import build_document, read_document
from .route_sections import OWN_ATTRIBUTES, RESERVED_ATTRIBUTES, Route, reserved_names
from .sections import (
    BudgetSettings,
    CacheSettings,
    ClickSettings,
    DevelopmentSettings,
    EventSettings,
    FetchSettings,
    MetadataSettings,
    ObservabilitySettings,
)
from .setting_origins import Origin
from .trimming import trimmed
from .validation import Mistake, Place, Section, explained
from .value_sources import ValueSource
from .value_types import LogIds, Name, Network, ObserverGiven, SecretKeys
from .variables import Variables
from .visitor_sections import BotSettings, ConsentSettings, IdentitySettings
from .workspaces import Workspace, data_center_in, unsent_identifiers

__all__ = ["RESERVED_ATTRIBUTES", "Route", "Settings", "Workspace"]

FILE = "moe.yml"
"""The default file of ``Settings.load``."""


class Settings(Section):
    """The whole configuration, checked and frozen.

    Beside its fields it takes ``workspace_id``, ``api_key``, ``api_keys``,
    ``data_center`` and ``base_url`` for those of ``workspace``.

    Raises:
        SettingsError: Something is wrong; it lists every mistake at once.
    """

    workspace: Workspace = Field(
        description="The workspace's id and api_key, and how to reach it (or "
        "MOE_WORKSPACE_ID and MOE_API_KEY)."
    )
    identity: IdentitySettings = Field(
        default_factory=IdentitySettings,
        description="Who a visitor is: where the ids come from.",
    )
    attributes: dict[Name, ValueSource] = Field(
        default_factory=dict,
        description="In-session attributes, sent with every fetch.",
    )
    routes: tuple[Route, ...] = Field(
        default=(),
        description="Which pages want which experiences. Every route that matches "
        "adds its keys; single options come from the last one that matches.",
    )
    fetch: FetchSettings = Field(
        default_factory=FetchSettings, description="How experiences are fetched."
    )
    cache: CacheSettings = Field(
        default_factory=CacheSettings, description="How long answers are kept."
    )
    budget: BudgetSettings = Field(
        default_factory=BudgetSettings,
        description="How many calls may be made in a minute.",
    )
    metadata: MetadataSettings = Field(
        default_factory=MetadataSettings,
        description="How the workspace's list of experiences is kept up to date.",
    )
    events: EventSettings = Field(
        default_factory=EventSettings,
        description="How impressions and clicks are kept and delivered.",
    )
    secret_key: SecretKeys | None = Field(
        default=None,
        description="Signs links that count clicks; a list while a key rotates, the "
        "newest first (or MOE_SECRET_KEY). Without it clicks are not counted.",
    )
    clicks: ClickSettings = Field(
        default_factory=ClickSettings, description="How links count clicks."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="The networks of your own proxies, as 10.0.0.0/8: only their "
        "X-Forwarded-For or Forwarded is used for the visitor's address.",
    )
    bots: BotSettings = Field(
        default_factory=BotSettings,
        description="Who counts as a bot, beside the built-in list.",
    )
    consent: ConsentSettings | None = Field(
        default=None,
        description="Who consents to be recognised and counted; left out, everyone.",
    )
    development: DevelopmentSettings = Field(
        default_factory=DevelopmentSettings,
        description="Aids for developers of the site.",
    )
    log_ids: LogIds = Field(
        default="off",
        description="Whether log lines about one visitor end with the first 16 digits "
        "of the SHA-256 of their id; no line has the id itself.",
    )
    observer: ObserverGiven | None = Field(
        default=None,
        description="An Observer of your own, as 'pkg.mod:object'.",
    )

    observability: ObservabilitySettings = Field(
        default_factory=ObservabilitySettings, description="Metrics and traces."
    )

    _origin: Origin[Settings] | None = PrivateAttr(default=None)

    def __init__(self, /, **values: Any) -> None:
        overrides, mistakes = find_overrides(values, Variables({}))
        document = build_document(overrides)
        document.refuse([*mistakes, *self._fill(document)])

    @property
    def attribute_names(self) -> frozenset[str]:
        """The in-session attributes that a fetch of any page may have."""
        return frozenset(OWN_ATTRIBUTES).union(
            self.attributes, *(route.attributes for route in self.routes)
        )

    def unknown_names(self) -> Iterator[Mistake]:
        """Yield each name in a ``vary`` that is no attribute: it has no effect.

        It is a mistake in a file, and a log line for settings made in code.
        """
        lists: dict[Place, Any] = {("cache", "vary"): self.cache.vary}
        lists |= {("routes", n, "vary"): one.vary for n, one in enumerate(self.routes)}
        return unknown_names(self.attribute_names, lists.items())

    @property
    def metadata_interval(self) -> float:
        """Seconds between two updates of the metadata; 0 turns them off."""
        sandbox = self.workspace.data_center == "sandbox"
        return self.metadata.seconds(sandbox=sandbox)

    def sources(self) -> Iterator[tuple[str, ValueSource]]:
        """Yield every value source with its place, as in ``identity.customer_id``."""
        identity, consent = self.identity, self.consent
        if identity.customer_id is not None:
            yield "identity.customer_id", identity.customer_id
        yield "identity.visitor_id", identity.visitor_id
        if consent is not None and consent.given_by is not None:
            yield "consent.given_by", consent.given_by
        groups = {
            "identity.user_identifiers": identity.user_identifiers,
            "attributes": self.attributes,
        }
        for index, route in enumerate(self.routes):
            groups[f"routes.{index}.attributes"] = route.attributes
        for place, group in groups.items():
            for name, source in group.items():
                yield f"{place}.{name}", source

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The files that ``NAME_FILE`` variables name."""
        return self._origin.files if self._origin is not None else ()

    def read_again(self) -> Settings:
        """Read the same file and variables again.

        Raises:
            SettingsError: They are invalid now.
        """
        again = self._origin.again if self._origin is not None else None
        return again() if again is not None else self

    def problem(self, where: str, message: str) -> Problem:
        """Return a problem at a place, as in ``routes.0.path``, with file and line."""
        if self._origin is None:
            return Problem(where=where, message=message)
        place = tuple(int(s) if s.isdecimal() else s for s in where.split("."))
        return self._origin.document.problem(Mistake(place, message))

    def doubts(self) -> list[Problem]:
        """Return valid settings that are probably wrong, each with what to do."""
        signs = self.secret_key is not None
        found = probable_mistakes(self.workspace, self.development, signs=signs)
        return [self.problem(where, text) for where, text in found]

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        **keywords: Any,
    ) -> Self:
        """Read a file; the environment overrides it, and keywords override both.

        Args:
            path: The file; None takes MOE_CONFIG's, else ``moe.yml``.
            environ: The variables, for ``${VAR}`` and those of ``overrides``.
            keywords: As for ``Settings``. A mapping replaces single values of a
                section; any other value replaces the whole section.

        Raises:
            SettingsError: Something is wrong; it lists every mistake at once.
        """
        variables = Variables(environ)
        overrides, mistakes = find_overrides(keywords, variables)
        named = trimmed(environ.get("MOE_CONFIG", ""))
        document = read_document(
            Path(path or named or FILE),
            variables=variables,
            overrides=overrides,
            named_by="MOE_CONFIG" if named and not path else None,
        )
        if not document.readable:
            document.refuse(mistakes)
        if document.tree.get("routes") is None:
            about = "missing: list which pages want which experiences"
            mistakes.append(Mistake(("routes",), about))
        self = cls.__new__(cls)
        document.refuse([*mistakes, *self._fill(document)])
        document.refuse(self.unknown_names())
        again = partial(cls.load, path, environ=environ, **keywords)
        self._origin = Origin(document, tuple(variables.files), again)
        return self

    @classmethod
    def from_env(
        cls, *, environ: Mapping[str, str] = os.environ, **keywords: Any
    ) -> Self:
        """Build settings from the environment and keywords, without a file.

        Raises:
            SettingsError: Something is wrong; it lists every mistake at once.
        """
        return cls._from_mapping(keywords, environ)

    @classmethod
    def _from_mapping(
        cls, given: Mapping[str, Any], environ: Mapping[str, str]
    ) -> Self:
        variables = Variables(environ)
        overrides, mistakes = find_overrides(given, variables)
        document = build_document(overrides)
        self = cls.__new__(cls)
        document.refuse([*mistakes, *self._fill(document)])
        document.refuse(self.unknown_names())
        again = partial(cls._from_mapping, given, environ)
        self._origin = Origin(document, tuple(variables.files), again)
        return self

    @classmethod
    def of(
        cls,
        given: Self | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        **keywords: Any,
    ) -> Self:
        """Return settings from any form that a middleware takes.

        Args:
            given: ``Settings``, a mapping like a file's content, or a file's path; None
                takes MOE_CONFIG's, else ``moe.yml``.
            environ: As for ``load``.
            keywords: As for ``load``; not allowed beside ``Settings``.

        Raises:
            SettingsError: Something is wrong; it lists every mistake at once.
        """
        if isinstance(given, cls):
            if keywords:
                named = ", ".join(names_of(keywords))
                message = f"set {named} in the Settings that are given"
                raise SettingsError([Problem(where="keywords", message=message)])
            return given
        if isinstance(given, Mapping):
            return cls._from_mapping(joined(given, keywords), environ)
        if given is None or isinstance(given, str | os.PathLike):
            return cls.load(given, environ=environ, **keywords)
        message = (
            f"{type(given).__name__} is no configuration: give the path of a settings "
            "file, a mapping like its content, or a moe_middleware.Settings"
        )
        raise SettingsError([Problem(where="config", message=message)])

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            named = name == "observer" and value is not None
            yield name, name_of(value) if named else value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A copy shares the observer.
        return super().__deepcopy__({**(memo or {}), id(self.observer): self.observer})

    def __getstate__(self) -> dict[Any, Any]:
        check_picklable("observer", self.observer)
        return super().__getstate__()

    @property
    def fingerprint(self) -> bytes:
        """A digest of all values, secrets included; equal settings have equal ones."""
        calls = [source.call for _, source in self.sources()]
        return fingerprint_of(self.model_dump(), [self.observer, *calls])

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of ``moe.yml``, for editors."""
        return build_settings_schema(cls, RESERVED_ATTRIBUTES)

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from reserved_names(given.get("attributes"))
        yield from unsent_identifiers(given)
        yield from contradictions(given)

    def _fill(self, document: Document) -> list[Mistake]:
        """Take the values of a document; return its mistakes."""
        if data_center_in(document.tree) == "sandbox":
            for key in ("id", "api_key", "api_keys"):
                document.forgive(("workspace", key))
        try:
            super().__init__(**document.tree)
        except ValidationError as error:
            return explained(error, type(self))
        self._origin = Origin(document)
        return []


Config = Settings | Mapping[str, Any] | str | os.PathLike[str] | None
"""The forms of configuration that a middleware takes: see ``Settings.of``."""
