"""Other processes of this host."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether a process of this host may be running."""
    if os.name != "posix":
        # On other systems ``os.kill`` would end it.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Another user's process may not be signalled, but it is there.
    except (OSError, OverflowError):
        pass
    return True
