"""Standard input, line by line, without holding up the event loop or the end of the process."""

import asyncio
import os
import sys
import threading
from typing import TextIO


class InputLines:
    """Lines as they come; None at the end of the input."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdin
        self._rest = b""
        self.is_terminal = self._stream.isatty()

    async def next(self) -> str | None:
        """Return the next line without its end, None where there is none any more."""
        descriptor = _descriptor(self._stream)
        if descriptor is None:
            return self._stream.readline().rstrip("\r\n") or None
        while b"\n" not in self._rest:
            piece = await _read(descriptor)
            if not piece:
                break
            self._rest += piece
        line, separator, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r") if line or separator else None


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


async def _read(descriptor: int) -> bytes:
    """Read in a thread that does not count: Ctrl-C need not wait for a line that never comes.

    From the descriptor, not from `sys.stdin`: its lock, held by the thread, would abort the
    interpreter's end.
    """
    loop = asyncio.get_running_loop()
    piece: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        try:
            taken = os.read(descriptor, 65536)
        except OSError:
            taken = b""  # the terminal is gone
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, piece, taken)

    threading.Thread(target=read, daemon=True).start()
    return await piece


def _settle(piece: "asyncio.Future[bytes]", taken: bytes) -> None:
    if not piece.done():
        piece.set_result(taken)
