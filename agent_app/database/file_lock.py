"""A lock that the kernel frees with its last holder, however that one ends: flock on a file."""

import fcntl
import os
from pathlib import Path

from agent_app.database.patience import Patience


class FileLock:
    """One open lock file; close it to let go, and never unlock: a child may hold it on."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.handle = os.open(path, flags, 0o600)

    def try_shared(self) -> bool:
        """Hold it along with others, unless somebody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Hold it alone; False where anybody else has it, and then a share of ours is lost too."""
        return self._try(fcntl.LOCK_EX)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, *, shared: bool, patience: Patience, reason: str) -> bool:
        """Poll until it is ours; False when patience is over. A signal interrupts it."""
        while not (self.try_shared() if shared else self.try_exclusive()):
            if patience.is_over:
                return False
            patience.pause(reason)
        return True

    def close(self) -> None:
        """Let go of our hold; of a child's that inherited it, not."""
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1
