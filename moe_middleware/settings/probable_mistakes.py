"""Finds valid settings that are probably wrong. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from .data_centers import probable_mistake_in
from .sections import DevelopmentSettings
from .workspaces import Workspace


def probable_mistakes(
    workspace: Workspace, development: DevelopmentSettings, *, signs: bool
) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each.

    Args:
        workspace: The section.
        development: The section.
        signs: Whether there is a secret key.
    """
    url = workspace.base_url
    if url is not None and (doubt := probable_mistake_in(url)):
        yield "workspace.base_url", doubt
    is_sandbox, overlay = workspace.data_center == "sandbox", development.overlay
    if overlay == "off" or (overlay == "on" and is_sandbox):
        return
    if not signs:
        yield "development.overlay", _UNSIGNED
    elif overlay == "on":
        yield "development.overlay", _LIVE


_UNSIGNED = "no page shows it without a secret_key, which signs its links"

_LIVE = (
    "visitors of a live workspace must not see it: only browsers that opened a link of "
    "'moe-middleware overlay' get it. Write link; or, for a sandbox, "
    "workspace.data_center: sandbox"
)
