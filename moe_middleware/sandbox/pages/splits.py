"""Explains the chi-square test of a split in a sentence for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..reports.reports import AudienceReport

SUSPICIOUS = 0.001
"""The usual threshold for a sample ratio: one of a thousand healthy splits is below."""

LEAST_EXPECTED = 5
"""The fewest expected users per variation for which the test is shown."""


class Verdict(StrEnum):
    """The verdict on a split."""

    ONE_ARM = "one_arm"
    EARLY = "early"
    AS_EXPECTED = "as_expected"
    SUSPICIOUS = "suspicious"


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """The verdict, and a sentence that explains it."""

    verdict: Verdict
    sentence: str


def check_split(report: AudienceReport) -> SplitCheck:
    """Return whether an audience's actual split is as its percentages promise."""
    shares = [one.expected_share for one in report.variations if one.expected_share]
    seen = sum(one.unique_impressions for one in report.variations)
    chance = report.split_p_value
    users = "1 user" if seen == 1 else f"{seen:,} users"
    # The test gives exactly 0 for this alone.
    if chance == 0.0 and any(
        one.unique_impressions and one.expected_share == 0 for one in report.variations
    ):
        return SplitCheck(
            Verdict.SUSPICIOUS,
            f"The split is suspicious: {users}, some of them in a variation of 0%.",
        )
    if len(shares) < 2:
        return SplitCheck(
            Verdict.ONE_ARM,
            "All users get the one variation: there is no split to check.",
        )
    if chance is None or seen * min(shares) < LEAST_EXPECTED:
        return SplitCheck(
            Verdict.EARLY,
            f"Too early to tell: {users} so far. The check needs at least "
            f"{LEAST_EXPECTED} expected users in each variation.",
        )
    if chance < SUSPICIOUS:
        return SplitCheck(
            Verdict.SUSPICIOUS,
            f"The split is suspicious: {users}, and fewer than 1 in 1,000 healthy "
            "splits deviate this much. Look for lost impressions of one variation, "
            "or for percentages that were changed during the test.",
        )
    return SplitCheck(
        Verdict.AS_EXPECTED,
        f"The split is as expected: {users}, and {_in_a_hundred(chance)} healthy "
        "splits deviate at least as much.",
    )


def _in_a_hundred(chance: float) -> str:
    return f"{chance * 100:.0f} of 100" if chance >= 0.01 else "fewer than 1 of 100"
