"""Who Postgres runs as: ourselves, or a system user of its own where we are root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass

from agent_app.errors import ConfigurationInvalid

SYSTEM_USER = "agent-app"
"""Postgres refuses to run as root; this user, who cannot log in, owns the data then."""


@dataclass(frozen=True)
class ServerUser:
    """The owner of the data and of the server's processes."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Say whether the server's processes need another user than ours."""
        return self.uid != os.geteuid()

    def hand_over(self, path: str | os.PathLike[str]) -> None:
        """Make this user the owner; a symbolic link is not followed, so nobody can plant one."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def find_server_user() -> ServerUser:
    """Return ourselves, or, as root, the system user, which is created the first time.

    Raises: ConfigurationInvalid, when root has no other user to become.
    """
    if os.geteuid() != 0:
        return ServerUser(f"uid {os.geteuid()}", os.geteuid(), os.getegid())
    entry = _find(SYSTEM_USER) or _create(SYSTEM_USER) or _find("nobody")
    if entry is None or entry.pw_uid == 0:
        raise ConfigurationInvalid(
            f"Postgres does not run as root, and the system user {SYSTEM_USER!r} cannot be created "
            "here. Run as an ordinary user, or name a server in AGENT_APP_DATABASE_URL."
        )
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd | None:
    """Return the new user, or None where neither tool can make one (read-only /etc, no tool)."""
    system_path = "/usr/sbin:/sbin:/usr/bin:/bin"
    commands = (
        ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name),
        ("adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", name),  # BusyBox
    )
    for program, *arguments in commands:
        executable = shutil.which(program, path=system_path)
        if executable:
            subprocess.run(
                [executable, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            )
        # Asked for again whatever the tool said: another process may have been faster.
        if entry := _find(name):
            return entry
    return None
