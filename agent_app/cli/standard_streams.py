"""Standard streams as a process finds them: closed ones come in, ones that can be used go out."""

import io
import os
import sys


def open_standard_streams() -> None:
    """Put the null device in the place of closed streams, and let no sign be without an encoding.

    The next file of ours would get a closed one's number: the embedded server's lock did, and the
    server, which has its own standard streams, started without it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
