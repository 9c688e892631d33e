from __future__ import annotations

import os
import uuid

from moe_middleware.models.ids import POOLED, new_id


def test_ids_are_uuids_of_version_4_and_never_the_same() -> None:
    minted = [new_id() for _ in range(POOLED * 3)]

    assert len(set(minted)) == len(minted)
    for one in minted:
        parsed = uuid.UUID(one)
        assert str(parsed) == one
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_every_bit_that_is_free_is_random() -> None:
    ones = [0] * 128
    for _ in range(2000):
        number = uuid.UUID(new_id()).int
        for bit in range(128):
            ones[bit] += number >> bit & 1

    fixed = [bit for bit, count in enumerate(ones) if not 700 < count < 1300]
    assert fixed == [62, 63, 76, 77, 78, 79]


def test_a_forked_child_mints_other_ids_than_its_parent() -> None:
    new_id()
    reading, writing = os.pipe()

    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_child = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)

    assert of_child != new_id()
