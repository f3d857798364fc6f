"""A process that may not touch the world: what Python does to it is refused, by audit hooks.

What C code does by itself (a driver with a network library of its own) raises no audit event.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_REFUSED = {
    "http.client.connect": "connect to {1!r}",
    "os.chmod": "change the mode of {0!r}",
    "os.chown": "change the owner of {0!r}",
    "os.exec": "execute {0!r}",
    "os.fork": "fork the process",
    "os.forkpty": "fork the process",
    "os.kill": "send a signal to process {0!r}",
    "os.killpg": "send a signal to process group {0!r}",
    "os.link": "link {1!r}",
    "os.mkdir": "make the directory {0!r}",
    "os.posix_spawn": "execute {0!r}",
    "os.remove": "remove {0!r}",
    "os.removexattr": "change the attributes of {0!r}",
    "os.rename": "rename {0!r}",
    "os.rmdir": "remove the directory {0!r}",
    "os.setxattr": "change the attributes of {0!r}",
    "os.spawn": "execute {1!r}",
    "os.startfile": "open {0!r}",
    "os.symlink": "link {1!r}",
    "os.system": "execute {0!r}",
    "os.truncate": "shorten {0!r}",
    "os.utime": "change the times of {0!r}",
    "socket.bind": "listen at {1!r}",
    "socket.connect": "connect to {1!r}",
    "socket.getaddrinfo": "look up the host {0!r}",
    "socket.gethostbyaddr": "look up the host {0!r}",
    "socket.gethostbyname": "look up the host {0!r}",
    "socket.sendmsg": "send to {1!r}",
    "socket.sendto": "send to {1!r}",
    "subprocess.Popen": "execute {1!r}",
    "syslog.syslog": "write to the system's log",
    "urllib.Request": "request {0!r}",
    "webbrowser.open": "open {0!r}",
}
"""Audit events of Python 3.11, and what they amount to; `shutil` and `tempfile` end in these."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ActRefused(PermissionError):
    """Raised in code that tries to touch the world from a sealed process."""


class _Seal:
    """What is allowed and who is told, while the process is sealed."""

    def __init__(self, allowed: Path, tell: Callable[[str], None]) -> None:
        self._allowed = os.fspath(allowed)
        self._tell = tell
        self._older = {thread.ident for thread in threading.enumerate()}
        self._older.discard(threading.get_ident())

    def check(self, event: str, args: tuple[Any, ...]) -> None:
        act = self._describe(event, args)
        if act is None:
            return
        if threading.get_ident() not in self._older:  # those belong to no run
            self._tell(act)
        raise ActRefused(f"not while a run is replayed: {act}")

    def _describe(self, event: str, args: tuple[Any, ...]) -> str | None:
        if event == "open":
            return self._describe_open(*args)
        if event == "sqlite3.connect":
            is_ours = self._allowed in str(args[0])
            return None if is_ours else f"open the database {args[0]!r}"
        form = _REFUSED.get(event)
        return None if form is None else _fill(form, args)

    def _describe_open(self, path: Any, mode: str | None, flags: int) -> str | None:
        is_write = bool(set(mode or "") & set("wax+")) or bool(flags & _WRITES)
        if not is_write or isinstance(path, int) or path == os.devnull:
            return None
        return _fill("open {0!r} for writing", (path,))


def _fill(form: str, args: tuple[Any, ...]) -> str:
    try:
        text = form.format(*args)
    except Exception:  # an argument whose repr fails is refused all the same
        text = form.partition(" {")[0]
    return text if len(text) <= 200 else f"{text[:199]}…"


_seals: list[_Seal] = []
_is_installed = False


@contextmanager
def sealed(allowed: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Refuse, while the block runs, what would touch the world; SQLite under `allowed` is exempt.

    `tell` hears of each act, in the thread that tries it; not of those that threads try which were
    there before. Reading files is allowed. Installs an audit hook, which stays and then sleeps.
    """
    global _is_installed
    if not _is_installed:
        sys.addaudithook(_audit)
        _is_installed = True
    seal = _Seal(allowed, tell)
    _seals.append(seal)
    try:
        with _no_spawn(seal):
            yield
    finally:
        _seals.remove(seal)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _seals:
        _seals[-1].check(event, args)


@contextmanager
def _no_spawn(seal: _Seal) -> Iterator[None]:
    """Refuse the call by which multiprocessing spawns, which raises no audit event of its own."""
    import _posixsubprocess

    spawn = _posixsubprocess.fork_exec

    def refuse(*args: Any) -> int:
        seal.check("os.posix_spawn", (args[0] if args else (),))
        raise AssertionError("the seal lets nothing be executed")

    setattr(_posixsubprocess, "fork_exec", refuse)  # noqa: B010 - a C module
    try:
        yield
    finally:
        setattr(_posixsubprocess, "fork_exec", spawn)  # noqa: B010
