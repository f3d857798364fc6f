"""The test's side of the processes: it starts them, kills them and waits for them."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.crash.life import Plan
from tests.helpers import wait_until

ROOT = Path(__file__).parents[2]
_LIMIT_S = 180.0


@dataclass
class Life:
    """One process, alive or dead."""

    process_id: int
    stdout_path: Path
    stderr_path: Path
    zygote: "Zygote"

    def wait(self) -> int:
        """Return the exit code: negative for a signal."""
        return self.zygote.wait(self.process_id)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, SIGKILL if none is named, and return the exit code."""
        os.kill(self.process_id, number)
        return self.wait()

    def send(self, number: int) -> None:
        """Send a signal that does not end it: SIGSTOP, SIGCONT."""
        os.kill(self.process_id, number)

    @property
    def is_stopped(self) -> bool:
        """Say whether SIGSTOP holds it."""
        status = Path(f"/proc/{self.process_id}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    @property
    def is_alive(self) -> bool:
        """Say whether it has not ended yet."""
        return not self.zygote.has_ended(self.process_id)

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self.stdout_path.read_text()

    @property
    def stderr(self) -> str:
        """What it complained about so far."""
        return self.stderr_path.read_text()

    def json(self) -> Any:
        """Return what it printed as JSON; it must have ended well."""
        assert self.wait() == 0, self.stderr
        return json.loads(self.stdout)


class Zygote:
    """The process that all lives are forked from."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        self._codes: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End it; it kills what is left of its children."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=_LIMIT_S)
        self._process.stdout.close()

    def start(self, plan: Plan) -> Life:
        """Start a life."""
        self._count += 1
        stdout, stderr = (self._directory / f"{self._count}.{end}" for end in ("out", "err"))
        request = {"plan": asdict(plan), "stdout": str(stdout), "stderr": str(stderr)}
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        while "code" in (told := self._read()):
            self._codes[told["process_id"]] = told["code"]
        self._codes.pop(told["process_id"], None)  # of a child that had the same ID before
        stdout.touch()
        stderr.touch()
        return Life(told["process_id"], stdout, stderr, self)

    def wait(self, process_id: int) -> int:
        """Return the exit code of a child; wait for its end."""
        while process_id not in self._codes:
            told = self._read()
            self._codes[told["process_id"]] = told["code"]
        return self._codes[process_id]

    def has_ended(self, process_id: int) -> bool:
        """Say whether the child has ended, without waiting."""
        while self._is_readable(0):
            told = self._read()
            self._codes[told["process_id"]] = told["code"]
        return process_id in self._codes

    def run_all(self, plans: Iterable[Plan], *, at_once: int = 3) -> list[Life]:
        """Start all plans, a few at a time, and wait for every end."""
        lives: list[Life] = []
        for plan in plans:
            wait_until(lambda: sum(life.is_alive for life in lives) < at_once, _LIMIT_S)
            lives.append(self.start(plan))
        for life in lives:
            life.wait()
        return lives

    def _is_readable(self, timeout_s: float) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], timeout_s)[0])

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        assert self._is_readable(_LIMIT_S), f"no child has ended within {_LIMIT_S:g} s"
        line = self._process.stdout.readline()
        assert line, "the zygote has died"
        told: dict[str, int] = json.loads(line)
        return told
