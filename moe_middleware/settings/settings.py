"""The settings: from keywords, the environment and ``moe.yml``, in this order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from ..models.errors import Problem, SettingsError
from .credentials import doubt_about
from .disagreements import disagreements
from .documents import Document, Override, build_document, read_document
from .import_strings import check_picklable, name_of
from .json_schema import build_schema
from .sections import (
    OWN_ATTRIBUTES,
    RESERVED_ATTRIBUTES,
    BotSettings,
    BudgetSettings,
    CacheSettings,
    ClickSettings,
    ConsentSettings,
    EventSettings,
    FetchSettings,
    IdentitySettings,
    MetadataSettings,
    Route,
    Workspace,
    reserved_names,
    unsent_identifiers,
)
from .trimming import trimmed
from .validation import Mistake, Place, Section, explained, suggestion
from .value_sources import ValueSource
from .value_types import LogIds, Name, Network, ObserverGiven, SecretKeys
from .variables import VariableError, Variables

__all__ = ["RESERVED_ATTRIBUTES", "Route", "Settings", "Workspace"]

FILE = "moe.yml"
"""The file that ``load`` reads where neither it nor MOE_CONFIG names another."""

METADATA_INTERVAL = 300.0
"""Between two looks at a real workspace's list of experiences, in seconds."""

VARIABLES: Mapping[str, Place] = {
    "MOE_WORKSPACE_ID": ("workspace", "id"),
    "MOE_API_KEY": ("workspace", "api_key"),
    "MOE_DATA_CENTER": ("workspace", "data_center"),
    "MOE_BASE_URL": ("workspace", "base_url"),
    "MOE_SECRET_KEY": ("secret_key",),
    "MOE_OUTBOX": ("events", "outbox"),
}
"""The variables that take the place of a file's values, and which."""

KEYWORDS: Mapping[str, Place] = {
    "workspace_id": ("workspace", "id"),
    "api_key": ("workspace", "api_key"),
    "api_keys": ("workspace", "api_keys"),
    "data_center": ("workspace", "data_center"),
    "base_url": ("workspace", "base_url"),
}
"""The short keywords for a workspace's values."""


class _Origin:
    """The document that settings were read from; it makes no two settings differ."""

    def __init__(
        self,
        document: Document,
        files: tuple[str, ...] = (),
        again: Callable[[], Settings] | None = None,
    ) -> None:
        self.document = document
        self.files = files
        self.again = again

    def __reduce__(self) -> tuple[type[_Origin], tuple[Document]]:
        # The environment to read again from is this process's.
        return _Origin, (self.document,)

    def __deepcopy__(self, _: object) -> _Origin:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Origin | None)

    __hash__ = None  # type: ignore[assignment]


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
        description="The networks of your own proxies, as 10.0.0.0/8: only they may "
        "say who the visitor is, in X-Forwarded-For or Forwarded.",
    )
    bots: BotSettings = Field(
        default_factory=BotSettings,
        description="Who counts as a bot, beside the built-in list.",
    )
    consent: ConsentSettings | None = Field(
        default=None,
        description="Who consents to be recognised and counted; left out, everyone.",
    )
    log_ids: LogIds = Field(
        default="off",
        description="Whether log lines about one visitor end with the first 16 digits "
        "of the SHA-256 of their id; no line has the id itself.",
    )
    observer: ObserverGiven | None = Field(
        default=None,
        description="An Observer of your own, as 'pkg.mod:object', that is told what "
        "happens.",
    )

    _origin: _Origin | None = PrivateAttr(default=None)

    def __init__(self, /, **values: Any) -> None:
        overrides, mistakes = _overrides(values, Variables({}))
        document = build_document(overrides)
        _refuse(document, [*mistakes, *self._fill(document)])

    @property
    def attribute_names(self) -> frozenset[str]:
        """The in-session attributes that a fetch may have, on whichever page."""
        return frozenset(OWN_ATTRIBUTES).union(
            self.attributes, *(route.attributes for route in self.routes)
        )

    def unknown_names(self) -> Iterator[Mistake]:
        """Yield each name in a ``vary`` that no attribute has, so that it does nothing.

        Routes add to each other: one may name another one's attribute. In a file it is
        a mistake; a program's own settings are taken, with a log line.
        """
        known = self.attribute_names
        lists: list[tuple[Place, tuple[str, ...] | None]] = [
            (("routes", index, "vary"), route.vary)
            for index, route in enumerate(self.routes)
        ]
        for place, names in [(("cache", "vary"), self.cache.vary), *lists]:
            for at, name in enumerate(names or ()):
                if name not in known:
                    about = suggestion(name, sorted(known), kind="attribute")
                    yield Mistake((*place, at), about)

    @property
    def metadata_interval(self) -> float:
        """The pause between two looks at the metadata, in seconds; 0 never looks."""
        if self.metadata.interval is not None:
            return self.metadata.interval
        # Whoever edits a sandbox's workspace wants to see it at once.
        return 0.0 if self.workspace.data_center == "sandbox" else METADATA_INTERVAL

    def sources(self) -> Iterator[tuple[str, ValueSource]]:
        """Yield every source of a value, with its place as in ``identity.customer_id``.

        This is the one walk over them: what looks at all sources starts here.
        """
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
        """The files that ``NAME_FILE`` variables led to."""
        return self._origin.files if self._origin is not None else ()

    def read_again(self) -> Settings:
        """Return what the same file and variables say now.

        Raises:
            SettingsError: Something is wrong now.
        """
        again = self._origin.again if self._origin is not None else None
        return again() if again is not None else self

    def problem(self, where: str, message: str) -> Problem:
        """Return a problem that was found later, with its file and line.

        Args:
            where: The place, as in ``routes.0.path``.
            message: What is wrong there, and what to do.
        """
        if self._origin is None:
            return Problem(where=where, message=message)
        place = tuple(int(s) if s.isdecimal() else s for s in where.split("."))
        return self._origin.document.problem(Mistake(place, message))

    def doubts(self) -> list[Problem]:
        """Return what may be right, and probably is not; each says what to do."""
        url = self.workspace.base_url
        told = doubt_about(url) if url is not None else None
        return [self.problem("workspace.base_url", told)] if told else []

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
            environ: The variables, for ``${VAR}`` and for MOE_WORKSPACE_ID,
                MOE_API_KEY, MOE_DATA_CENTER, MOE_BASE_URL, MOE_SECRET_KEY and
                MOE_OUTBOX.
            keywords: As for ``Settings``. A mapping replaces single values of its
                section, anything else the whole.

        Raises:
            SettingsError: Something is wrong; it lists every mistake at once.
        """
        variables = Variables(environ)
        overrides, mistakes = _overrides(keywords, variables)
        named = trimmed(environ.get("MOE_CONFIG", ""))
        document = read_document(
            Path(path or named or FILE),
            variables=variables,
            overrides=overrides,
            named_by="MOE_CONFIG" if named and not path else None,
        )
        if not document.readable:
            _refuse(document, mistakes)
        if document.tree.get("routes") is None:
            about = "missing: list which pages want which experiences"
            mistakes.append(Mistake(("routes",), about))
        self = cls.__new__(cls)
        _refuse(document, [*mistakes, *self._fill(document)])
        _refuse(document, list(self.unknown_names()))
        again = partial(cls.load, path, environ=environ, **keywords)
        self._origin = _Origin(document, tuple(variables.files), again)
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
        overrides, mistakes = _overrides(given, variables)
        document = build_document(overrides)
        self = cls.__new__(cls)
        _refuse(document, [*mistakes, *self._fill(document)])
        _refuse(document, list(self.unknown_names()))
        again = partial(cls._from_mapping, given, environ)
        self._origin = _Origin(document, tuple(variables.files), again)
        return self

    @classmethod
    def of(
        cls,
        given: Self | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        **keywords: Any,
    ) -> Self:
        """Return settings in any of the forms that a middleware takes.

        Args:
            given: Settings, a mapping of what stands in a file, or a file's path; None
                takes MOE_CONFIG's, else ``moe.yml``.
            environ: As for ``load``.
            keywords: As for ``load``; not beside ready settings.

        Raises:
            SettingsError: Something is wrong; it lists every mistake at once.
        """
        if isinstance(given, cls):
            if keywords:
                named = ", ".join(_named(keywords))
                message = f"set {named} in the Settings that are given"
                raise SettingsError([Problem(where="keywords", message=message)])
            return given
        if isinstance(given, Mapping):
            return cls._from_mapping(_joined(given, keywords), environ)
        if given is None or isinstance(given, str | os.PathLike):
            return cls.load(given, environ=environ, **keywords)
        message = (
            f"{type(given).__name__} is no configuration: give the path of a settings "
            "file, a mapping of what stands in one, or a moe_middleware.Settings"
        )
        raise SettingsError([Problem(where="config", message=message)])

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            named = name == "observer" and value is not None
            yield name, name_of(value) if named else value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A copy tells the very same observer.
        return super().__deepcopy__({**(memo or {}), id(self.observer): self.observer})

    def __getstate__(self) -> dict[Any, Any]:
        check_picklable("observer", self.observer)
        return super().__getstate__()

    @property
    def fingerprint(self) -> bytes:
        """A digest of all values, secrets included: two of the same mean the same.

        Objects that code gave are their names and places in memory.
        """

        def whole(value: Any) -> str:
            return str(value.get_secret_value())

        calls = [source.call for _, source in self.sources()]
        given = (self.observer, *calls)
        objects = [id(one) for one in given if not isinstance(one, str | None)]
        values = [self.model_dump(), objects]
        text = json.dumps(values, default=whole, sort_keys=True)
        return blake2b(text.encode(errors="surrogatepass"), digest_size=32).digest()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of ``moe.yml``, for editors."""
        schema = build_schema(cls, title="moe.yml, the settings of moe_middleware")
        schema["required"] = ["workspace", "routes"]
        # The environment may hold them; the two forms of the key exclude each other.
        workspace = schema["$defs"]["Workspace"]
        del workspace["required"]
        workspace["not"] = {"required": ["api_key", "api_keys"]}
        reserved = {"not": {"enum": sorted(RESERVED_ATTRIBUTES)}}
        for section in (schema, schema["$defs"]["Route"]):
            section["properties"]["attributes"]["propertyNames"] = reserved
        return schema

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from reserved_names(given.get("attributes"))
        yield from unsent_identifiers(given)
        yield from disagreements(given)
        routes = given.get("routes")
        for index, route in enumerate(routes if isinstance(routes, list) else ()):
            wanted = route.get("impression") if isinstance(route, Mapping) else None
            if wanted == "visible" and not given.get("secret_key"):
                yield Mistake(
                    ("routes", index, "impression"),
                    "'visible' needs a secret_key, because browsers' "
                    "reports must be signed: give one (or MOE_SECRET_KEY)",
                )

    def _fill(self, document: Document) -> list[Mistake]:
        """Take a document's values, or return what is wrong with them."""
        if _data_center(document.tree) == "sandbox":
            for key in ("id", "api_key", "api_keys"):
                document.forgive(("workspace", key))
        try:
            super().__init__(**document.tree)
        except ValidationError as error:
            return explained(error, type(self))
        self._origin = _Origin(document)
        return []


Config = Settings | Mapping[str, Any] | str | os.PathLike[str] | None
"""What a middleware is configured with: see ``Settings.of``."""


def _refuse(document: Document, mistakes: list[Mistake]) -> None:
    problems: list[Problem] = document.problems(mistakes)
    if problems:
        raise SettingsError(problems)


def _overrides(
    keywords: Mapping[str, Any], variables: Variables
) -> tuple[dict[Place, Override], list[Mistake]]:
    found, mistakes = _keyword_overrides(keywords)
    for name, place in VARIABLES.items():
        if place in found or ("workspace",) in found:
            continue
        if place == _API_KEY and _API_KEYS in found:
            continue
        try:
            if value := variables.get(name):
                found[place] = Override(value, name)
        except VariableError as error:
            mistakes.append(Mistake(place, str(error)))
            found[place] = Override("", name)
    # One form of the key takes the place of the file's other form.
    for one, other in ((_API_KEY, _API_KEYS), (_API_KEYS, _API_KEY)):
        if one in found:
            found.setdefault(other, Override(None))
    return found, mistakes


def _joined(given: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with single values of its sections replaced."""
    joined = dict(given)
    for name, value in over.items():
        section = joined.get(name)
        if isinstance(value, Mapping) and isinstance(section, Mapping):
            joined[name] = {**section, **value}
        else:
            joined[name] = value
    return joined


def _named(keywords: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keywords set, as in ``events.outbox``."""
    for name, value in keywords.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{key}" for key in value)
        else:
            yield name


_API_KEY: Place = ("workspace", "api_key")
_API_KEYS: Place = ("workspace", "api_keys")


def _keyword_overrides(
    keywords: Mapping[Any, Any],
) -> tuple[dict[Place, Override], list[Mistake]]:
    found: dict[Place, Override] = {}
    mistakes: list[Mistake] = []
    given = {name: value for name, value in keywords.items() if value is not None}
    for name, value in given.items():
        if name in KEYWORDS:
            continue
        if not isinstance(name, str):  # a mapping's
            mistakes.append(
                Mistake((str(name),), f"{name!r} is no text: keys are text")
            )
            continue
        if isinstance(value, Mapping) and value:
            found |= {(name, key): Override(inner) for key, inner in value.items()}
        else:
            found[(name,)] = Override(value)
    for name, place in KEYWORDS.items():
        if name not in given:
            continue
        if place in found or ("workspace",) in found:
            message = f"{name} and workspace say it twice: keep one of the two"
            mistakes.append(Mistake(place, message))
        found[place] = Override(given[name], name)
    return found, mistakes


def _data_center(tree: Mapping[str, Any]) -> object:
    workspace = tree.get("workspace")
    named = workspace.get("data_center") if isinstance(workspace, Mapping) else None
    return trimmed(named) if isinstance(named, str) else named
