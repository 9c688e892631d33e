"""Room on a disk for a file, allocated before it is written."""

from __future__ import annotations

import errno
import os


def allocate(file: int, size: int) -> None:
    """Give an empty file its room on the disk, so that no later write lacks it.

    Raises:
        OSError: The disk has not so much.
    """
    # Written where it cannot be allocated: a file with holes takes up no room.
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:
        os.write(file, bytes(size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.write(file, bytes(size))
