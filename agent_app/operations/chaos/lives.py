"""One life of a run: a process of its own that executes it, until it ends or is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Life:
    """A child process that executes `agent-app` with the given arguments.

    It is the leader of a session of its own: Ctrl-C in the terminal reaches us and not it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdin: Path,
        stderr: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._stderr = stderr
        self.started_at = time.time()
        with stdin.open("rb") as incoming, stderr.open("wb") as outgoing:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent_app", *arguments],
                stdin=incoming,
                stdout=subprocess.DEVNULL,
                stderr=outgoing,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Return the code that the process ended with; None while it lives."""
        return self._process.poll()

    def kill(self) -> bool:
        """End the process where it stands, by SIGKILL; False if it had ended before.

        A child that is not waited for yet keeps its process ID: nobody else can be hit.
        """
        was_alive = self.exit_code is None
        self._process.kill()
        return self._process.wait() < 0 and was_alive

    def last_words(self) -> str:
        """Return the last line that it wrote to stderr; empty where there is none."""
        lines = self._stderr.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
