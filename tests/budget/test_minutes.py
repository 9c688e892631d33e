"""The budget beside the sandbox's own count of a workspace's minutes."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from moe_middleware.budget import CallBudget
from moe_middleware.gcra import WINDOW
from moe_middleware.published_limits import limits_of
from moe_middleware.sandbox.limits import MinuteLimit

from .makers import in_memory
from .spender import Clock

LIMIT = 2_000
FULL_MINUTE = 1_700_000_040.0
STEP = 0.01


@pytest.fixture
def clock() -> Clock:
    return Clock()


def call(budget: CallBudget, minutes: MinuteLimit, clock: Clock, limit: int) -> bool:
    """Make a call and heed its answer; return whether it was answered."""
    answered = minutes.take(limit)
    headers = {name.decode(): value.decode() for name, value in minutes.headers(limit)}
    published = limits_of(headers, clock.now, refused=not answered)
    assert published is not None
    budget.learn(**asdict(published))
    return answered


@pytest.mark.parametrize("phase", [0.0, 13.7, 59.9])
async def test_a_workspace_of_our_own_is_never_refused_and_used_to_98_percent(
    clock: Clock, phase: float
) -> None:
    clock.now = FULL_MINUTE + phase
    budget, minutes = in_memory(clock, LIMIT), MinuteLimit(clock)
    answers = []

    until = clock.now + 4 * WINDOW
    while clock.now < until:
        if not await budget.take():
            answers.append(call(budget, minutes, clock, LIMIT))
        clock.now += STEP

    assert all(answers)
    assert len(answers) >= 0.98 * 4 * LIMIT


async def test_beside_others_that_take_half_of_it_hardly_a_call_is_refused(
    clock: Clock,
) -> None:
    clock.now = FULL_MINUTE
    budget, minutes = in_memory(clock, LIMIT), MinuteLimit(clock)
    answers, others, credit = [], 0, 0.0

    until = clock.now + 4 * WINDOW
    while clock.now < until:
        credit += STEP * LIMIT / 2 / WINDOW
        if credit >= 1:
            credit -= 1
            others += minutes.take(LIMIT)
        if not await budget.take():
            answers.append(call(budget, minutes, clock, LIMIT))
        clock.now += STEP

    used = answers.count(True) + others
    assert answers.count(False) <= 2 * 4
    assert used >= 0.9 * 4 * LIMIT


async def test_a_workspace_with_a_lower_limit_than_configured_is_hardly_refused(
    clock: Clock,
) -> None:
    clock.now = FULL_MINUTE
    budget, minutes = in_memory(clock, LIMIT), MinuteLimit(clock)
    answers = []

    until = clock.now + 4 * WINDOW
    while clock.now < until:
        if not await budget.take():
            answers.append(call(budget, minutes, clock, LIMIT // 4))
        clock.now += STEP

    assert answers.count(False) <= 4
    assert answers.count(True) >= 0.95 * 4 * LIMIT / 4
