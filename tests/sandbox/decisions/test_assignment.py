from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from moe_middleware.sandbox.decisions.assignment import assign, is_held_back
from moe_middleware.sandbox.workspace.workspace import (
    Audience,
    ControlGroup,
    Experience,
    Variation,
)

USERS = [f"user-{number}" for number in range(10_000)]
TOKEN = "66d55ae445921e4d35ae4368"


def experience(*percents: float) -> Experience:
    variations = tuple(
        Variation(variation_id=str(number), payload={}, percent=percent)
        for number, percent in enumerate(percents, start=1)
    )
    audience = Audience(audience_id="5A", name="All Users", variations=variations)
    return Experience(
        key="hero", name="The hero", cid_token=TOKEN, audiences=(audience,)
    )


def chosen(*percents: float) -> dict[str, str]:
    """Every user's variation under these percentages."""
    one = experience(*percents)
    return {
        user: assign(one, one.audiences[0], user).variation.variation_id
        for user in USERS
    }


def moves(before: dict[str, str], after: dict[str, str]) -> Counter[tuple[str, str]]:
    return Counter(
        (before[user], after[user]) for user in USERS if before[user] != after[user]
    )


@pytest.mark.parametrize(
    "percents",
    [
        (100,),
        (50, 50),
        (1, 99),
        (20, 30, 50),
        (5, 5, 5, 85),
        (20, 20, 20, 20, 20),
        (0, 60, 0, 40, 0),
        (100 / 3,) * 3,
    ],
    ids=str,
)
def test_ten_thousand_users_split_within_a_point_and_a_half(
    percents: tuple[float, ...],
) -> None:
    counts = Counter(chosen(*percents).values())

    shares = [counts[str(number)] / 100 for number in range(1, len(percents) + 1)]
    assert shares == pytest.approx(percents, abs=1.5)
    assert [share == 0 for share in shares] == [percent == 0 for percent in percents]


@pytest.mark.parametrize("percents", [(50, 50), (20, 30, 50), (20,) * 5], ids=str)
def test_bucket_lies_within_the_variations_part_of_the_bar(
    percents: tuple[float, ...],
) -> None:
    one = experience(*percents)
    buckets = []
    for user in USERS[:2_000]:
        found = assign(one, one.audiences[0], user)
        index = int(found.variation.variation_id) - 1
        assert sum(percents[:index]) <= found.bucket < sum(percents[: index + 1])
        buckets.append(found.bucket)

    assert sum(bucket < 50 for bucket in buckets) / 20 == pytest.approx(50, abs=3.5)


def test_of_two_variations_exactly_the_difference_moves() -> None:
    moved = moves(chosen(50, 50), chosen(60, 40))

    assert set(moved) == {("2", "1")}
    assert moved["2", "1"] / 100 == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((20, 20, 60), (40, 15, 45)),
        ((25, 25, 25, 25), (40, 20, 20, 20)),
        ((20, 20, 20, 20, 20), (0, 25, 25, 25, 25)),
    ],
    ids=str,
)
def test_one_percentage_moves_only_users_into_or_out_of_its_variation(
    before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    moved = moves(chosen(*before), chosen(*after))

    grows = after[0] > before[0]
    assert {pair[grows] for pair in moved} == {"1"}
    # As few as the arithmetic allows: the difference, up to chance.
    change = abs(after[0] - before[0])
    assert moved.total() / 100 == pytest.approx(change, abs=1.5)


@pytest.mark.parametrize(
    ("before", "after"),
    [((20, 30, 50), (30, 30, 40)), ((20,) * 5, (30, 20, 20, 20, 10))],
    ids=str,
)
def test_a_share_handed_over_moves_fewer_than_twice_its_size(
    before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    moved = moves(chosen(*before), chosen(*after))

    last = str(len(before))
    assert all(old != "1" and new != last for old, new in moved)
    assert 9 < moved.total() / 100 < 18


def test_a_new_variation_takes_its_users_from_all_and_swaps_no_other() -> None:
    moved = moves(chosen(50, 50), chosen(40, 40, 20))

    assert set(moved) == {("1", "3"), ("2", "3")}
    assert moved.total() / 100 == pytest.approx(20, abs=1.5)


def held_back(group: ControlGroup, salt: str = TOKEN) -> set[str]:
    return {user for user in USERS if is_held_back(group, user, salt)}


def test_control_group_has_its_share_of_the_users() -> None:
    assert len(held_back(ControlGroup(percent=10))) / 100 == pytest.approx(10, abs=1.5)
    assert held_back(ControlGroup()) == set()
    assert held_back(ControlGroup(percent=100)) == set(USERS)


def test_control_group_that_grows_keeps_its_users() -> None:
    assert held_back(ControlGroup(percent=5)) < held_back(ControlGroup(percent=10))


def test_control_groups_are_drawn_independently_of_each_other_and_of_variations() -> (
    None
):
    tenth = ControlGroup(percent=10)
    one, other = held_back(tenth, "one"), held_back(tenth, TOKEN)
    first = {user for user, variation in chosen(50, 50).items() if variation == "1"}

    assert len(one & other) / 100 == pytest.approx(1, abs=0.6)
    assert len(other & first) / len(other) == pytest.approx(0.5, abs=0.05)


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


def test_variations_of_two_experiences_are_independent() -> None:
    one, other = experience(50, 50), replace(experience(50, 50), cid_token=TOKEN[::-1])

    arms = [
        [assign(each, each.audiences[0], user).variation.variation_id for user in USERS]
        for each in (one, other)
    ]

    same = sum(map(str.__eq__, *arms))
    assert same / 100 == pytest.approx(50, abs=1.5)


def test_variation_is_the_same_in_every_process_and_version() -> None:
    assert list(chosen(50, 50).values())[:10] == list("1222112222")


def test_percentages_and_cid_token_are_checked() -> None:
    with pytest.raises(ValueError, match="add up to 90 percent"):
        experience(50, 40)
    with pytest.raises(ValueError, match="24 hex digits"):
        replace(experience(50, 50), cid_token="abc")
