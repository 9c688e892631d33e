"""The state of an ASGI request, with the experiences in it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Self

from ..models.experiences import Experiences

EXPERIENCES = "experiences"
"""Their name in ``scope["state"]``, and so on ``request.state``."""


class State(dict[str, Any]):
    """A request's state: the outer layers' own, and our experiences beside it.

    Some servers share one ``scope["state"]`` between requests. So ours is another dict,
    in which the experiences are this request's alone. Whatever else is written into it
    the outer layers see, as they would without us.
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

    # Of dict's other methods none calls these by itself; MutableMapping's do.
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
        # Of an earlier try with the same scope.
        return state.outer
    if not isinstance(state, Mapping):
        attributes = getattr(state, "__dict__", {})
        # Starlette's own State keeps its values in one more dict.
        inner = attributes.get("_state")
        state = inner if isinstance(inner, Mapping) else attributes
    # What cannot be written into keeps what it has; the rest is the request's.
    return state if isinstance(state, MutableMapping) else {**state}
