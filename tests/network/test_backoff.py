from __future__ import annotations

from moe_middleware.network.backoff import backoff


def pause(failures: int, jitter: float = 1.0) -> float:
    return backoff(failures, first=0.5, longest=15.0, jitter=jitter)


def test_it_doubles_up_to_its_limit() -> None:
    assert [pause(failures) for failures in (1, 2, 3, 9, 10**9)] == [
        *(0.5, 1.0, 2.0),
        *(15.0, 15.0),
    ]


def test_jitter_takes_off_half_at_most() -> None:
    assert (pause(1, 0.0), pause(9, 0.5)) == (0.25, 11.25)
