"""Allocates disk space for a file before it is written."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from struct import pack

SET_FLAGS, NO_COPY_ON_WRITE = 0x40086602, 0x00800000
"""Linux's FS_IOC_SETFLAGS and FS_NOCOW_FL."""


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
        _fill(file, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        _fill(file, size)


def _fill(file: int, size: int) -> None:
    """Write zeros where nothing can be allocated: a file with holes has no room."""
    while size > 0:
        size -= os.write(file, bytes(min(size, 1 << 20)))


def keep_in_place(file: int) -> None:
    """Have an empty file written in place on btrfs, which else moves what is written.

    What is allocated would then not be where the next write goes.
    """
    with suppress(ImportError, OSError):
        from fcntl import ioctl

        ioctl(file, SET_FLAGS, pack("l", NO_COPY_ON_WRITE))
