"""The state of an ASGI request, with the experiences in it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Self

from ..models.experiences import Experiences

EXPERIENCES = "experiences"
"""The name of the experiences in ``scope["state"]`` and on ``request.state``."""


class State(dict[str, Any]):
    """A request's state: the outer layers' values, and the request's experiences.

    Some servers share one ``scope["state"]`` between requests, so this is another dict.
    All values but the experiences are also written to the outer layers' state.

    Attributes:
        outer: The outer layers' state.
    """

    __slots__ = ("outer",)
    outer: MutableMapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, Experiences):
            found.handed_out = True
        return found

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name != EXPERIENCES:
            self.outer[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        if name != EXPERIENCES:
            self.outer.pop(name, None)

    # dict's own methods would not call those above; MutableMapping's do.
    clear = MutableMapping.clear
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    update = MutableMapping.update

    def __ior__(self, others: Any) -> Self:  # type: ignore[override,misc]
        self.update(others)
        return self

    def __reduce__(self) -> Any:
        # A copy is a plain dict.
        return dict, (dict(self),)


def mapping_of(state: Any) -> MutableMapping[str, Any]:
    """Return a state as a mapping: servers and layers put other objects there too."""
    if isinstance(state, State):
        # Of an earlier attempt with the same scope.
        return state.outer
    if not isinstance(state, Mapping):
        attributes = getattr(state, "__dict__", {})
        # Starlette's own State keeps its values in one more dict.
        inner = attributes.get("_state")
        state = inner if isinstance(inner, Mapping) else attributes
    # A read-only mapping stays as it is; new values are this request's alone.
    return state if isinstance(state, MutableMapping) else {**state}
