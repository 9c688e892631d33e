from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from moe_middleware.sandbox.decisions.assignment import assign, is_held_back
from moe_middleware.sandbox.workspace.workspace import ControlGroup, Experience

from ...rows import each
from ..arrivals import audience

USERS = [f"user-{number}" for number in range(5_000)]
TOKEN = "66d55ae445921e4d35ae4368"


def experience(*percents: float) -> Experience:
    return Experience(
        key="hero",
        name="The hero",
        cid_token=TOKEN,
        audiences=(audience("5A", *percents),),
    )


def chosen(*percents: float, token: str = TOKEN) -> dict[str, str]:
    """Every user's variation under these percentages."""
    one = replace(experience(*percents), cid_token=token)
    return {
        user: assign(one, one.audiences[0], user).variation.variation_id
        for user in USERS
    }


def share(count: int) -> float:
    return 100 * count / len(USERS)


def moves(before: dict[str, str], after: dict[str, str]) -> Counter[tuple[str, str]]:
    return Counter(
        (before[user], after[user]) for user in USERS if before[user] != after[user]
    )


@each(
    "percents",
    [
        (100,),
        (50, 50),
        (1, 99),
        (20, 30, 50),
        (5, 5, 5, 85),
        (0, 60, 0, 40, 0),
        (100 / 3,) * 3,
    ],
)
def test_users_split_as_the_percentages_say(percents: tuple[float, ...]) -> None:
    one = experience(*percents)
    found = [assign(one, one.audiences[0], user) for user in USERS]
    counts = Counter(int(drawn.variation.variation_id) for drawn in found)

    shares = [share(counts[number]) for number in range(1, len(percents) + 1)]
    assert shares == pytest.approx(percents, abs=2)
    assert [share == 0 for share in shares] == [percent == 0 for percent in percents]
    # The bucket lies within the variation's part of the bar.
    for drawn in found:
        index = int(drawn.variation.variation_id) - 1
        assert sum(percents[:index]) <= drawn.bucket < sum(percents[: index + 1])
    assert share(sum(drawn.bucket < 50 for drawn in found)) == pytest.approx(50, abs=3)


@each(
    ("before", "after"),
    [
        ((50, 50), (60, 40)),
        ((20, 20, 60), (40, 15, 45)),
        ((25, 25, 25, 25), (40, 20, 20, 20)),
        ((20, 20, 20, 20, 20), (0, 25, 25, 25, 25)),
    ],
)
def test_drawnpercentage_moves_only_users_into_or_out_of_its_variation(
    before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    moved = moves(chosen(*before), chosen(*after))

    grows = after[0] > before[0]
    assert {pair[grows] for pair in moved} == {"1"}
    # As few as the arithmetic allows: the difference, up to chance.
    assert share(moved.total()) == pytest.approx(abs(after[0] - before[0]), abs=2)


def test_a_share_handed_over_moves_few_and_a_new_variation_swaps_no_other() -> None:
    handed = moves(chosen(20, 30, 50), chosen(30, 30, 40))
    added = moves(chosen(50, 50), chosen(40, 40, 20))

    assert all(old != "1" and new != "3" for old, new in handed)
    assert 9 < share(handed.total()) < 18
    assert set(added) == {("1", "3"), ("2", "3")}
    assert share(added.total()) == pytest.approx(20, abs=2)


def held_back(group: ControlGroup, salt: str = TOKEN) -> set[str]:
    return {user for user in USERS if is_held_back(group, user, salt)}


def test_control_group_has_its_share_and_keeps_its_users_when_it_grows() -> None:
    tenth = held_back(ControlGroup(percent=10))

    assert share(len(tenth)) == pytest.approx(10, abs=1.5)
    assert held_back(ControlGroup(percent=5)) < tenth
    assert held_back(ControlGroup()) == set()
    assert held_back(ControlGroup(percent=100)) == set(USERS)


def test_groups_and_experiences_are_drawn_independently_of_drawnother() -> None:
    tenth = ControlGroup(percent=10)
    one, other = held_back(tenth, "one"), held_back(tenth, TOKEN)
    arms = chosen(50, 50)
    first = {user for user, variation in arms.items() if variation == "1"}
    turned = chosen(50, 50, token=TOKEN[::-1])

    assert share(len(one & other)) == pytest.approx(1, abs=0.6)
    assert len(other & first) / len(other) == pytest.approx(0.5, abs=0.06)
    assert share(sum(turned[user] == arms[user] for user in USERS)) == pytest.approx(
        50, abs=2
    )


def test_customer_on_the_list_is_held_back_and_users_without_an_id_are_not() -> None:
    group = ControlGroup(percent=0, customer_ids=frozenset(["user-7", ""]))

    assert held_back(group) == {"user-7"}
    assert not is_held_back(group, "", TOKEN)
    assert not is_held_back(replace(group, percent=100), "", TOKEN)


def test_user_of_any_text_is_assigned() -> None:
    one = experience(20, 30, 50)

    for user in ("", "\ud800", "é" * 1000, "\0"):
        assert assign(one, one.audiences[0], user).variation in (
            one.audiences[0].variations
        )


def test_variation_is_the_same_in_every_process_and_version() -> None:
    assert list(chosen(50, 50).values())[:10] == list("1222112222")


def test_percentages_and_cid_token_are_checked() -> None:
    with pytest.raises(ValueError, match="add up to 90 percent"):
        experience(50, 40)
    with pytest.raises(ValueError, match="24 hex digits"):
        replace(experience(50, 50), cid_token="abc")
