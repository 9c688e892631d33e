from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from moe_middleware.outbox.disk_space import allocate


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC])
def test_zeros_take_the_space_where_a_file_system_cannot_allocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    path = tmp_path / "reserve"
    with path.open("wb") as file:
        if number == errno.ENOSPC:
            with pytest.raises(OSError, match="space"):
                allocate(file.fileno(), 100_000)
        else:
            allocate(file.fileno(), 100_000)

    assert path.stat().st_size == (0 if number == errno.ENOSPC else 100_000)
