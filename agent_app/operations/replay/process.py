"""A process of its own for user code: what hangs or crashes there hurts nobody else."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_app.durability.serializer import JsonSerializer
from agent_app.errors import ReplayNotStarted

START_S = 60.0
"""Seconds that the user's modules have to import."""


class ReplayProcess:
    """A child process that answers each line of JSON with another; `end` is to be called."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "replay-process")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agent_app.operations.replay.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal reaches us, and we end it
        )

    def start(self, import_paths: Sequence[str], directory: Path, timeout_s: float) -> None:
        """Make it load the modules; each run gets `timeout_s` there.

        Raises: ReplayNotStarted; CatalogError, ConfigurationInvalid (as the process raises them).
        """
        order = {
            "import_paths": list(import_paths),
            "directory": str(directory),
            "timeout_s": timeout_s,
        }
        try:
            answer = self.ask(order, START_S)
        except TimeoutError:
            raise ReplayNotStarted(f"it was not ready within {START_S:g} s") from None
        except EOFError:
            raise ReplayNotStarted(f"it ended with exit code {self.end()}") from None
        if "error" in answer:
            error: BaseException = JsonSerializer().deserialize(answer["error"])
            raise error

    def ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer.

        Raises: TimeoutError (it may still come: the process is of no further use); EOFError (the
        process has ended).
        """
        return self._thread.submit(self._exchange, question).result(timeout_s)

    def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(question).encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        if not line.endswith(b"\n"):
            self._process.wait()
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> int:
        """End the process, if it has not, and return its exit code: negative for a signal."""
        self._process.kill()
        code = self._process.wait()
        self._thread.shutdown()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        return code
