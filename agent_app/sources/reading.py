"""Documents are read in processes of their own: a hostile one costs its reader and nothing else."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from agent_app.errors import SourceUnreadable

MAX_CPU_S = 30.0
"""Processor seconds for one document."""
MAX_TEXT_CHARS = 5_000_000
MAX_MEMORY_BYTES = 2 << 30
_MAX_IDLE = 2
"""Readers kept for the next documents: one takes half a second to start."""
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONHOME", "LD_LIBRARY_PATH")
_idle: list["_Reader"] = []


def read_apart(
    body: bytes, *, media_type: str, charset: str | None, url: str, max_cpu_s: float = MAX_CPU_S
) -> tuple[str, str]:
    """Return title and text, read by another process.

    Raises: SourceUnreadable (what the reader says, or that it died).
    """
    reader = _take_idle() or _Reader()
    try:
        reply = reader.ask(
            {"media_type": media_type, "charset": charset, "max_cpu_s": max_cpu_s}, body
        )
    except BaseException:
        reader.close()
        raise
    if reply is None:
        raise SourceUnreadable(url, reader.last_words(max_cpu_s))
    _give_back(reader)
    if "reason" in reply:
        raise SourceUnreadable(url, reply["reason"])
    return reply["title"], reply["text"]


def _take_idle() -> "_Reader | None":
    """Return a reader that waits; several threads may ask at once."""
    while _idle:
        with contextlib.suppress(IndexError):
            reader = _idle.pop()
            if reader.is_alive():
                return reader
            reader.close()
    return None


def _give_back(reader: "_Reader") -> None:
    if len(_idle) < _MAX_IDLE:
        _idle.append(reader)
    else:
        reader.close()


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_idle.clear)  # a pipe has one writer


def _environment() -> dict[str, str]:
    """Return what a reader is told: where we are imported from, and no key and no database."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


class _Reader:
    """A process that reads one document at a time; it ends with us, its input being closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agent_app.sources.formats"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us to handle
        )

    def ask(self, header: dict[str, Any], body: bytes) -> dict[str, str] | None:
        """Return the reply; None where the reader died over the document."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            write_message(self._process.stdin, header, body)
        except BrokenPipeError:
            return None
        message = read_message(self._process.stdout)
        return None if message is None else message[0]

    def is_alive(self) -> bool:
        """Say whether nobody has ended it."""
        return self._process.poll() is None

    def last_words(self, max_cpu_s: float) -> str:
        """Return why the process died, as a clause."""
        self._process.wait()
        self.close()
        code = self._process.returncode
        if code == -signal.SIGPROF:
            return f"reading it took more than {max_cpu_s:g} s"
        return f"reading it ended its reader with {code}"

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def write_message(pipe: IO[bytes], header: dict[str, Any], body: bytes) -> None:
    """Write a header in JSON and a body of bytes."""
    pipe.write(json.dumps(header | {"body_bytes": len(body)}).encode() + b"\n")
    pipe.write(body)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Return the next header and body, None at the end of the pipe or of a broken message."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    body = pipe.read(header.pop("body_bytes"))
    return header, body
