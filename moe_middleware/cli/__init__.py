"""The command line: checks a file, asks the workspace, runs the sandbox."""

from __future__ import annotations

import click

from ..version import __version__
from .check import check
from .explain import explain
from .fetch import fetch
from .outbox import outbox
from .overlay import overlay
from .plan import plan
from .preview import preview
from .relay import relay
from .sandbox import sandbox
from .schema import schema
from .status import status
from .types import types


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="""\b
Examples:
  moe-middleware check                     check moe.yml and show its routes
  moe-middleware fetch hero --customer 42  fetch hero for a customer
  moe-middleware sandbox                   serve the sandbox for development
  moe-middleware schema > moe.schema.json  for completion in your editor
  moe-middleware types --customer 42       write the types of payloads
  moe-middleware relay                     deliver waiting events
  moe-middleware outbox status             count waiting events, dead letters
  moe-middleware status                    show all servers and relays

The environment overrides the file: MOE_WORKSPACE_ID, MOE_API_KEY (or
MOE_API_KEY_FILE), MOE_DATA_CENTER, MOE_BASE_URL, MOE_SECRET_KEY, MOE_OUTBOX.
MOE_CONFIG names the file.""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """MoEngage Personalize for Python web apps."""


for _command in (
    *(check, explain, fetch, outbox, overlay, plan, preview, relay, sandbox, schema),
    *(status, types),
):
    main.add_command(_command)
