from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from moe_middleware.sandbox.decisions.decisions import find_audience
from moe_middleware.sandbox.decisions.judgements import NOTHING_AROUND
from moe_middleware.sandbox.decisions.targeting import (
    Visitor,
    choose_variation,
    device_of,
    holds,
)
from moe_middleware.sandbox.workspace.rules import (
    AttributeIs,
    DayIsIn,
    Device,
    DeviceIsIn,
    HourIsIn,
    Operator,
    ParameterMeets,
    Rule,
)
from moe_middleware.sandbox.workspace.workspace import Audience, Experience, Variation

TOKEN = "66d55ae445921e4d35ae4368"

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
PIXEL = "Mozilla/5.0 (Linux; Android 16; Pixel 9) Chrome/140.0 Mobile Safari/537.36"
IPAD = "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) Mobile/15E148"
GALAXY_TAB = "Mozilla/5.0 (Linux; Android 15; SM-X710) Chrome/140.0 Safari/537.36"
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0 Safari/537.36"


def visitor(
    attributes: dict[str, Any] | None = None, user_id: str = "", **session: Any
) -> Visitor:
    return Visitor(user_id=user_id, attributes=attributes, session=session)


def experience(*percents: float) -> Experience:
    variations = tuple(
        Variation(variation_id=str(number), payload={}, percent=percent)
        for number, percent in enumerate(percents, start=1)
    )
    audience = Audience(audience_id="5A", name="All Users", variations=variations)
    return Experience(
        key="hero", name="The hero", cid_token=TOKEN, audiences=(audience,)
    )


def chosen(one: Experience, user_id: str) -> str:
    return choose_variation(one, one.audiences[0], user_id).variation_id


@pytest.mark.parametrize(
    ("rule", "who", "expected"),
    [
        (AttributeIs("tier", ("gold",)), visitor({"tier": "gold"}), True),
        (AttributeIs("tier", ("gold",)), visitor({"tier": "Gold"}), False),
        (AttributeIs("tier", ("gold", "none")), visitor({"tier": "none"}), True),
        (AttributeIs("tier", ("gold",)), visitor({}), False),
        (AttributeIs("tier", ("gold",)), visitor(), False),
        (AttributeIs("tier", ("gold",)), visitor(tier="gold"), False),
        (AttributeIs("tier", ("gold",)), visitor({"tier": ["gold"]}), False),
        (AttributeIs("orders", (1,)), visitor({"orders": 1.0}), True),
        (AttributeIs("orders", (1,)), visitor({"orders": True}), False),
        (AttributeIs("member", (True,)), visitor({"member": True}), True),
        (ParameterMeets("ref", Operator.IS, ("mail",)), visitor(ref="mail"), True),
        (ParameterMeets("ref", Operator.IS, ("mail",)), visitor(ref="other"), False),
        (ParameterMeets("ref", Operator.IS, ("mail",)), visitor(), False),
        (DayIsIn(("Sunday",)), visitor(DAY_OF_THE_WEEK="Sunday"), True),
        (DayIsIn(("Sunday",)), visitor(DAY_OF_THE_WEEK="Monday"), False),
        (DayIsIn(("Sunday",)), visitor(), False),
        (HourIsIn((7, 8)), visitor(TIME_OF_THE_DAY="07"), True),
        (HourIsIn((7, 8)), visitor(TIME_OF_THE_DAY="09"), False),
        (HourIsIn((7, 8)), visitor(), False),
        (DeviceIsIn((Device.MOBILE,)), visitor(USER_AGENT=IPHONE), True),
        (DeviceIsIn((Device.MOBILE,)), visitor(USER_AGENT=LAPTOP), False),
        (DeviceIsIn(tuple(Device)), visitor(), False),
    ],
)
def test_rule_holds_only_for_whom_it_names(
    rule: Rule, who: Visitor, expected: bool
) -> None:
    assert holds(rule, who) is expected


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (IPHONE, Device.MOBILE),
        (PIXEL, Device.MOBILE),
        (IPAD, Device.TABLET),
        (GALAXY_TAB, Device.TABLET),
        (LAPTOP, Device.DESKTOP),
        ("curl/8.5.0", Device.DESKTOP),
        ("", None),
        (None, None),
    ],
)
def test_device_is_read_from_the_user_agent(
    user_agent: str | None, device: Device | None
) -> None:
    assert device_of(user_agent) is device


def test_first_audience_in_the_list_wins() -> None:
    arm = (Variation(variation_id="1", payload={}),)
    audiences = (
        Audience(
            audience_id="1A",
            name="Gold",
            variations=arm,
            rules=(
                AttributeIs("tier", ("gold",)),
                ParameterMeets("ref", Operator.IS, ("mail",)),
            ),
        ),
        Audience(audience_id="2B", name="All Users", variations=arm),
        Audience(audience_id="3C", name="Never", variations=arm),
    )
    one = Experience(key="hero", name="Hero", cid_token=TOKEN, audiences=audiences)

    def matched(who: Visitor) -> str | None:
        audience = find_audience(one, who, NOTHING_AROUND)
        return audience.name if audience else None

    assert matched(visitor({"tier": "gold"}, ref="mail")) == "Gold"
    assert matched(visitor({"tier": "gold"})) == "All Users"
    assert matched(visitor()) == "All Users"


@pytest.mark.parametrize(
    "percents", [(50, 50), (10, 90), (20, 30, 50), (20, 20, 20, 20, 20)]
)
def test_ten_thousand_users_split_as_the_percentages_say(
    percents: tuple[float, ...],
) -> None:
    one = experience(*percents)

    counts = Counter(chosen(one, f"user-{number}") for number in range(10_000))

    shares = [counts[str(n)] / 100 for n in range(1, len(percents) + 1)]
    assert shares == pytest.approx(percents, abs=1.5)


def test_variations_of_two_experiences_are_independent() -> None:
    one = experience(50, 50)
    other = Experience(
        key="other", name="Other", cid_token=TOKEN[::-1], audiences=one.audiences
    )

    same = sum(chosen(one, str(n)) == chosen(other, str(n)) for n in range(10_000))

    assert same / 100 == pytest.approx(50, abs=1.5)


def test_variation_of_no_percent_is_never_chosen() -> None:
    one = experience(0, 100)

    assert {chosen(one, str(number)) for number in range(1_000)} == {"2"}


def test_shares_that_round_badly_still_reach_everybody() -> None:
    one = experience(*[100 / 3] * 3)

    counts = Counter(chosen(one, str(number)) for number in range(10_000))

    assert sorted(counts) == ["1", "2", "3"]


STICKY = ["1", "2", "2", "2", "1", "1", "2", "2", "2", "2"]


def test_variation_is_the_same_in_every_process() -> None:
    here = [chosen(experience(50, 50), f"user-{n}") for n in range(10)]
    code = f"""
from moe_middleware.sandbox.workspace.workspace import Audience, Experience, Variation
from moe_middleware.sandbox.decisions.targeting import choose_variation
arms = [Variation(variation_id=i, payload={{}}, percent=50) for i in "12"]
one = Audience(audience_id="5A", name="All Users", variations=tuple(arms))
hero = Experience(key="hero", name="", cid_token={TOKEN!r}, audiences=(one,))
for n in range(10):
    print(choose_variation(hero, one, f"user-{{n}}").variation_id)
"""

    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert here == STICKY
    assert there.stdout.split() == STICKY


def test_percentages_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 90 percent"):
        experience(50, 40)


def test_cid_token_must_be_24_hex_digits() -> None:
    with pytest.raises(ValueError, match="24 hex digits"):
        Experience(key="hero", name="Hero", cid_token="abc", audiences=())
