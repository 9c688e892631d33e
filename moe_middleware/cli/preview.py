"""The command ``preview``: makes signed links for QA that show one variation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .command_settings import load_settings
from .signed_links import echo_link, on_a_link, secrets_of
from .terminal import not_in_workspace, stop

if TYPE_CHECKING:
    from ..sandbox.workspace.workspace import Audience, Experience, Variation, Workspace


@click.command(
    epilog="""\b
Examples:
  moe-middleware preview hero --payload banner.json --url https://shop.example
  moe-middleware preview hero --variation B --payload hero-b.json
  moe-middleware preview hero --variation 2 --workspace shop.yml --expires 7d
  moe-middleware preview hero --variation "Gold members/2" --customer alice

The payload file is one JSON object, {"Title": "...", ...}, as templates see it.
Without one the variation is looked up in the sandbox's workspace, by id or by name;
where several audiences have it, write AUDIENCE/VARIATION.

The output is the link alone. It shows this variation until it expires, or until
"Exit preview" in the badge; meanwhile nothing counts. Each browser holds one preview,
the last one opened. A new secret_key invalidates all links."""
)
@click.argument("key")
@click.option(
    "--variation",
    metavar="NAME",
    help="The variation's name, for the badge. Left out, the payload file's name, "
    "or the only variation that the workspace has.",
)
@click.option(
    "--payload",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Its content, as a JSON object.",
)
@click.option(
    "--workspace",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Instead: the sandbox's workspace that has it; left out, the tea shop's.",
)
@click.option(
    "--customer",
    metavar="ID",
    help="Whose attributes the workspace's templates are rendered with.",
)
@on_a_link
def preview(
    key: str,
    variation: str | None,
    payload: Path | None,
    workspace: Path | None,
    customer: str | None,
    url: str,
    lasts: int,
    config: str | None,
) -> None:
    """Print a link that shows one variation of KEY, for QA."""
    from ..browser.preview_links import PREVIEWS, Preview, PreviewLinks

    if payload is not None and (workspace is not None or customer is not None):
        raise click.UsageError("give --payload, or --workspace and --customer")
    settings = load_settings(config)
    secrets = secrets_of(settings)
    if payload is not None:
        content = _read_payload(payload)
        variation = variation or payload.stem
    else:
        content, variation = _look_up(_workspace(workspace), key, variation, customer)
    links = PreviewLinks(
        secrets, path=f"{settings.clicks.path}/{PREVIEWS}/", clock=time.time
    )

    def link_to(target: str, expires_at: int) -> str:
        return links.make(Preview(key, variation, content, target, expires_at))

    echo_link(link_to, url, lasts, f"shows {key}, variation {variation}")


def _read_payload(path: Path) -> Mapping[str, Any]:
    from ..models.json_texts import JSONTextError, parse_json

    try:
        content = parse_json(path.read_bytes())
    except OSError as error:
        stop([f"{path}: cannot be read: {error.strerror}"])
    except JSONTextError as error:
        stop([f"{path}: {error}"])
    if not isinstance(content, dict):
        stop([f'{path}: write one JSON object, as in {{"Title": "Sale"}}'])
    return content


# --- the sandbox's workspace -------------------------------------------------


def _workspace(file: Path | None) -> Workspace:
    from ..models.errors import SettingsError
    from ..sandbox.workspace.file import load_workspace
    from ..sandbox.workspace.sample import sample_workspace

    if file is None:
        return sample_workspace()
    try:
        return load_workspace(file)
    except SettingsError as error:
        stop(error.problems)


def _look_up(
    workspace: Workspace, key: str, variation: str | None, customer: str | None
) -> tuple[Mapping[str, Any], str]:
    """Return a variation's payload, its templates rendered, and its name."""
    from ..sandbox.decisions.variations import values_of
    from ..sandbox.workspace.template_worker import Withheld

    found = next((one for one in workspace.experiences if one.key == key), None)
    if found is None:
        stop([not_in_workspace(key, [one.key for one in workspace.experiences])])
    wanted = _one_variation(found, variation)
    try:
        payload = values_of(wanted, _attributes(workspace, customer))
    except Withheld as error:
        stop([f"{key}: {error}: give --customer, or --payload"])
    return payload, variation or wanted.name or wanted.variation_id


def _one_variation(experience: Experience, name: str | None) -> Variation:
    fits = [
        (audience, one)
        for audience in experience.audiences
        for one in audience.variations
        if name is None or name in _names(audience, one)
    ]
    if len(fits) == 1:
        return fits[0][1]
    names = [
        f"{audience.name}/{one.variation_id}"
        for audience in experience.audiences
        for one in audience.variations
    ]
    if name is None:
        stop(
            [f"{experience.key}: give --variation, one of {', '.join(names) or 'none'}"]
        )
    what = "several variations are" if fits else "no variation is"
    stop([f"{experience.key}: {what} {name!r}: write one of {', '.join(names)}"])


def _names(audience: Audience, variation: Variation) -> Iterator[str]:
    for one in filter(None, (variation.variation_id, variation.name)):
        yield one
        yield f"{audience.name}/{one}"
        yield f"{audience.audience_id}/{one}"


def _attributes(workspace: Workspace, customer: str | None) -> Mapping[str, Any] | None:
    if customer is None:
        return None
    for one in workspace.customers:
        if one.customer_id == customer:
            return one.attributes
    known = [one.customer_id for one in workspace.customers]
    stop([f"--customer {not_in_workspace(customer, known)}"])
