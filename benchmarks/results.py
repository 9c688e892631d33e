"""The dated file: what was measured, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .goals import MET, NOT_MET
from .processes import REPOSITORY
from .ratios import HEADINGS, Comparison, Figure, Note, Row

PREFACE = """\
# Measured on {date}

Every figure stands beside its rival's of the same run: both are measured in turns,
and a ratio is ours divided by the rival's, round by round. Absolute figures hold for
this machine at this time only. A verdict is about the median.

"""


@dataclass(slots=True)
class Section:
    """One part's rows under its title."""

    title: str
    rows: list[Row] = field(default_factory=list)


def summary(sections: Iterable[Section]) -> list[str]:
    """Return lines that say how many goals were met, and which were not."""
    judged = [
        (section, row)
        for section in sections
        for row in section.rows
        if not isinstance(row, Note) and row.verdict
    ]
    missed = [(section, row) for section, row in judged if row.verdict == NOT_MET]
    met = sum(row.verdict == MET for _, row in judged)
    lines = [f"- goals met: {met}, not met: {len(missed)}"]
    for section, row in missed:
        assert isinstance(row, Comparison | Figure)
        lines.append(f"- not met: {section.title}: {row.what.strip()}, {row.goal}")
    return lines


def save(
    folder: Path,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    seconds: float,
) -> Path:
    """Write the file of today and return where it is; an older one of today goes.

    Args:
        folder: Where the files are.
        facts: What is known of the machine.
        sections: What was measured.
        seconds: How long that took.
    """
    now = datetime.now(UTC)
    lines = [PREFACE.format(date=now.date().isoformat())]
    lines += [f"- {name}: {fact}\n" for name, fact in facts]
    lines.append(f"- the run began {seconds:.0f} seconds before {now:%H:%M} UTC\n")
    lines.append("\n" + "\n".join(summary(sections)) + "\n")
    for section in sections:
        body = "\n".join(str(row) for row in section.rows)
        lines.append(f"\n## {section.title}\n\n```text\n{HEADINGS}\n{body}\n```\n")
    folder.mkdir(exist_ok=True)
    path = folder / f"{now.date().isoformat()}.md"
    # A failure may name files; their place on this machine is private.
    path.write_text("".join(lines).replace(f"{REPOSITORY}/", ""))
    return path
