"""Allocates disk space for a file before it is written."""

from __future__ import annotations

import errno
import os


def allocate(file: int, size: int) -> None:
    """Allocate an empty file's space, so that later writes cannot find the disk full.

    Args:
        file: The file descriptor.
        size: Bytes.

    Raises:
        OSError: The disk has not enough space.
    """
    # Some file systems cannot allocate: there, zeros are written.
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:
        os.write(file, bytes(size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.write(file, bytes(size))
