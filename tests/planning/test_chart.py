"""The chart in the documentation is what the command of its page draws."""

from __future__ import annotations

import re
from pathlib import Path

from moe_middleware.cli import main

from ..cli_runner import cli_runner
from ..documents import ROOT


def test_the_documentations_chart_is_what_its_command_draws(tmp_path: Path) -> None:
    page = (ROOT / "docs/explanation/scale.md").read_text(encoding="utf-8")
    [options] = re.findall(
        r"^\$ moe-middleware (plan .*) --chart plan.svg$", page, re.M
    )
    drawn = tmp_path / "plan.svg"

    ran = cli_runner().invoke(main, [*options.split(), "--chart", str(drawn)])

    assert ran.exit_code == 0
    assert drawn.read_text() == (ROOT / "docs/images/plan.svg").read_text()
