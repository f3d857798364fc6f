"""Where the embedded server keeps everything: found, made and checked before anything starts."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_app.database.binaries import run_as
from agent_app.database.server_user import ServerUser
from agent_app.errors import DataDirectoryUnusable, DiskFull

_SOCKET_PATH_LIMIT_BYTES = 107
"""Of `sun_path` on Linux, without its closing zero. Source: unix(7)."""
_SOCKET_NAME = "/.s.PGSQL.5432"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")
"""A path that needs no quoting in a list of directories, nor in a URL."""


def locate(data_directory: Path | None) -> Path:
    """Return the directory that was asked for, or the user's own; it need not exist."""
    if data_directory is not None:
        return Path(os.path.realpath(data_directory.expanduser()))
    if os.geteuid() == 0:
        return Path("/var/lib/agent-app")
    base = os.environ.get("XDG_DATA_HOME", "")
    parent = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return Path(os.path.realpath(parent / "agent-app"))


def prepare(home: Path, user: ServerUser) -> None:
    """Make the directory where it is missing; refuse one that belongs to somebody else.

    Raises: DataDirectoryUnusable, DiskFull.
    """
    with explained(home):
        home.mkdir(mode=0o711 if user.is_other else 0o700, parents=True, exist_ok=True)
        owner = home.stat().st_uid
    # Root owns the volumes that containers mount; anybody else could plant files under our feet.
    if owner not in (0, os.geteuid(), user.uid):
        raise DataDirectoryUnusable(str(home), f"it belongs to uid {owner}")


def check_way_in(home: Path, user: ServerUser) -> None:
    """Make sure that the system user who runs Postgres for root can come as far as `home`.

    It is tried, not computed: access lists and mount options count too.
    """
    if not user.is_other:
        return
    way = [str(path) for path in (*reversed(home.parents), home)]
    script = 'for step; do cd "$step" || { printf %s "$step"; exit 1; }; done'
    done = run_as(user, ["/bin/sh", "-c", script, "sh", *way], timeout_s=30)
    if done.returncode != 0:
        raise DataDirectoryUnusable(
            str(home),
            f"Postgres runs as user {user.name!r} for root, who may not enter {done.stdout!r}",
        )


def prepare_socket_directory(home: Path, user: ServerUser) -> Path:
    """Return a directory that only the server's owner (and root) can enter, made if missing.

    It lies in `home`, or in /tmp where the path would be too long for a socket.
    Raises: DataDirectoryUnusable, when somebody else made it first.
    """
    path = _choose_socket_directory(home, user)
    with explained(home):
        try:
            path.mkdir(mode=0o700)
            user.hand_over(path)
        except FileExistsError:
            pass
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() != user.uid:
            user.hand_over(path)  # root was killed between the two lines above
            found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid:
        raise DataDirectoryUnusable(
            str(home), f"its socket belongs into {str(path)!r}, which somebody else has made"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def _choose_socket_directory(home: Path, user: ServerUser) -> Path:
    path = str(home / "socket")
    length_bytes = len(os.fsencode(path + _SOCKET_NAME))
    if length_bytes <= _SOCKET_PATH_LIMIT_BYTES and _PLAIN_PATH.fullmatch(path):
        return Path(path)
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    # Not XDG_RUNTIME_DIR: it goes with the user's last login session, the server does not.
    return Path(f"/tmp/agent-app-{user.uid}-{digest}")


@contextmanager
def explained(home: Path) -> Iterator[None]:
    """Turn what the file system refuses into our errors: DiskFull, DataDirectoryUnusable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(str(home)) from error
        place = f" ({error.filename})" if error.filename else ""
        raise DataDirectoryUnusable(str(home), f"{error.strerror}{place}") from error
