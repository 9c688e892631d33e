from __future__ import annotations

from dataclasses import replace

from moe_middleware.sandbox import Sandbox, sample_workspace
from moe_middleware.sandbox.workspace.schedules import Schedule, Status, status_at

from ...rows import each
from ..calls import Api

TEN_TO_TWENTY = Schedule(start_at=10, end_at=20)


@each(
    ("status", "before", "during", "after"),
    [
        ("Active", "Scheduled", "Active", "Expired"),
        ("Scheduled", "Scheduled", "Active", "Expired"),
        ("Paused", "Paused", "Paused", "Expired"),
        ("Draft", "Draft", "Draft", "Draft"),
        ("Expired", "Expired", "Expired", "Expired"),
    ],
)
def test_status_follows_the_clock(
    status: str, before: str, during: str, after: str
) -> None:
    seen = [status_at(Status(status), TEN_TO_TWENTY, now) for now in (9.9, 10, 20)]

    assert seen == [before, during, after]


def test_schedule_may_be_open_at_either_end_or_missing() -> None:
    assert status_at(Status.ACTIVE, Schedule(end_at=20), 0) is Status.ACTIVE
    assert status_at(Status.SCHEDULED, Schedule(start_at=10), 1e12) is Status.ACTIVE
    assert [status_at(one, None, 15) for one in Status] == [*Status]


async def test_experience_comes_and_goes_with_its_schedule() -> None:
    now = 0.0
    hero = replace(sample_workspace().experiences[0], schedule=TEN_TO_TWENTY)
    workspace = replace(sample_workspace(), experiences=(hero,))
    api = Api(Sandbox(workspace, clock=lambda: now))

    async def state() -> tuple[bool, list[str]]:
        listed = (await api.metadata()).json()["metadata"]["experiences"]
        served = hero.key in await api.experiences({"customer_id": "alice"})
        return served, [one["status"] for one in listed]

    assert await state() == (False, ["Scheduled"])
    now = 10.0
    assert await state() == (True, ["Active"])
    now = 20.0
    assert await state() == (False, [])
