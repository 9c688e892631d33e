from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moe_middleware import Settings
from moe_middleware.visitors.session_attributes import session_attributes, variants


@pytest.mark.parametrize(
    ("moment", "day", "hour"),
    [
        (datetime(2026, 11, 22, 0, 5, tzinfo=UTC), "Sunday", "00"),
        (datetime(2026, 11, 23, 9, 59, tzinfo=UTC), "Monday", "09"),
        (datetime(2026, 11, 28, 23, 59, tzinfo=UTC), "Saturday", "23"),
    ],
)
def test_day_and_hour_are_utcs_and_make_another_answer(
    moment: datetime, day: str, hour: str
) -> None:
    now = moment.timestamp()
    attributes = session_attributes(now=now, address=None, user_agent=None)

    assert attributes == {"DAY_OF_THE_WEEK": day, "TIME_OF_THE_DAY": hour}
    answers = {variants({}, now + later)[0] for later in (0, 3600, 24 * 3600)}
    assert len(answers) == 3
    assert variants({}, now + 3600)[1] == variants({}, now)[0]


def test_address_and_user_agent_go_along() -> None:
    attributes = session_attributes(now=0, address="10.0.0.1", user_agent="x" * 5000)

    assert attributes["USER_IP_ADDRESS"] == "10.0.0.1"
    assert attributes["USER_AGENT"] == "x" * 1024


def test_the_settings_know_their_names() -> None:
    attributes = session_attributes(now=0, address="10.0.0.1", user_agent="x")

    assert Settings(data_center="sandbox").attribute_names == attributes.keys()
