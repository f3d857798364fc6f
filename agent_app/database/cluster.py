"""One PostgreSQL cluster on disk: checked, made, started and asked to stop."""

import os
import re
import shlex
import shutil
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

from agent_app.database.binaries import MAJOR_VERSION, run_as
from agent_app.database.server_log import explain, open_log
from agent_app.database.server_user import ServerUser
from agent_app.errors import DataDirectoryUnusable

ROLE = "agent_app"
"""Owner of the cluster, and its superuser."""
_SERVER_SETTINGS = {
    "port": "5432",  # names the socket's file; nothing listens on TCP
    "listen_addresses": "",  # the socket is the only door
    "unix_socket_permissions": "0700",  # behind the directory's 0700, a second bolt
    "max_connections": "200",  # ten processes with a pool of 20
    "shared_buffers": "64MB",  # a laptop's share; checkpoints are small rows
    "max_wal_size": "256MB",  # keeps the recovery after a crash to seconds
    "dynamic_shared_memory_type": "mmap",  # containers give /dev/shm 64 MB, and logind empties it
    "temp_file_limit": "2GB",  # one query may not fill the disk
    "jit": "off",  # compiling costs more than our queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",  # nobody reads a line every five minutes
    "log_line_prefix": "%m [%p] %e ",  # %e, the SQLSTATE, tells a full disk from a corrupt file
    "lc_messages": "C",
    "cluster_name": "agent_app",  # says in `ps` whose server this is
}
_START_TIMEOUT_S = 60.0
"""For the shell that starts the server, which itself is not waited for."""


@dataclass(frozen=True)
class Postmaster:
    """What postmaster.pid says: a claim, since a server that was killed leaves it behind."""

    pid: int
    socket_directory: str
    port: int
    is_ready: bool


@dataclass(frozen=True)
class Cluster:
    """Where the cluster of one data directory lies, and who owns it."""

    home: Path
    user: ServerUser

    @property
    def data(self) -> Path:
        """PGDATA: it appears whole, by a rename."""
        return self.home / "postgres"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "server.log"

    def read_postmaster(self) -> Postmaster | None:
        """Read postmaster.pid; None where it is missing or only half written."""
        try:
            lines = (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
            return Postmaster(int(lines[0]), lines[4], int(lines[3]), lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def is_running(self, postmaster: Postmaster) -> bool:
        """Say whether that process is a server of this cluster, and not another that got its ID.

        A postmaster works in its data directory; a zombie works nowhere.
        """
        try:
            return os.path.samefile(f"/proc/{postmaster.pid}/cwd", self.data)
        except FileNotFoundError:
            return False
        except PermissionError:  # somebody else's process, or a hardened /proc: then to be careful
            return os.stat(f"/proc/{postmaster.pid}").st_uid == self.user.uid

    def check(self) -> bool:
        """Say whether there is a cluster; False is a directory that is missing or empty.

        Raises: DataDirectoryUnusable, when what lies there is not a cluster of ours.
        """
        try:
            found = self.data.lstat()
        except FileNotFoundError:
            return False
        if reason := self._objection(found):
            raise DataDirectoryUnusable(str(self.home), reason)
        return any(self.data.iterdir())

    def _objection(self, found: os.stat_result) -> str | None:
        if not stat.S_ISDIR(found.st_mode):
            return "'postgres' in it is not a directory"
        if found.st_uid != self.user.uid:
            return f"'postgres' in it belongs to uid {found.st_uid}, not to {self.user.name!r}"
        if not any(self.data.iterdir()):
            return None
        if found.st_mode & 0o077:
            return f"'postgres' in it has the mode {found.st_mode & 0o777:04o}, not 0700"
        return self._content_objection()

    def _content_objection(self) -> str | None:
        control = self.data / "global" / "pg_control"
        try:
            version = (self.data / "PG_VERSION").read_text(errors="replace").strip()
        except FileNotFoundError:
            return (
                "'postgres' in it is not empty, and not a Postgres cluster: PG_VERSION is missing"
            )
        if not re.fullmatch(r"[0-9.]{1,8}", version):
            return f"it is corrupt: PG_VERSION in it reads {version[:20]!r}"
        if version != MAJOR_VERSION:
            return f"it was made by PostgreSQL {version}, and this build runs {MAJOR_VERSION}"
        if not control.is_file() or not control.stat().st_size:
            return "it is corrupt: global/pg_control is missing or empty"
        return None

    def create(self, programs: Path, timeout_s: float, server_lock: int) -> None:
        """Run initdb beside the place and rename, so that one killed half-way leaves no cluster.

        initdb inherits `server_lock`: it outlives a starter that is killed, and whoever comes next
        must wait until it writes no more. Call it with the start serialised.
        """
        unfinished = self.home / "postgres.new"
        if unfinished.is_symlink():
            unfinished.unlink()
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.user.hand_over(unfinished)
        command = [str(programs / "initdb"), f"--username={ROLE}", "--encoding=UTF8"]
        # The builtin provider sorts alike on every machine; libc's order changes under an index.
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # Nobody but the owner and root reaches the socket; asking for a peer's name would refuse
        # a container's user that has none, and add nothing.
        command += ["--auth-local=trust", "--auth-host=reject", f"--pgdata={unfinished}"]
        done = run_as(self.user, command, timeout_s, pass_fds=(server_lock,))
        if done.returncode != 0:
            raise explain(self.home, done.stderr)
        unfinished.rename(self.data)  # also over an empty directory
        _sync_directory(self.home)

    def launch(self, programs: Path, socket_directory: Path, server_lock: int) -> None:
        """Start the server and return at once; all its processes inherit the lock `server_lock`.

        It has a session of its own and is nobody's child: it outlives us and our terminal, and
        once dead it does not linger as a zombie of ours. Call it with the start serialised.
        """
        self._drop_stale_files(socket_directory)
        settings = _SERVER_SETTINGS | {"unix_socket_directories": str(socket_directory)}
        server = [str(programs / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            server += ["-c", f"{name}={value}"]
        with open_log(self.home) as log:
            run_as(
                self.user,
                ["/bin/sh", "-c", f"{shlex.join(server)} </dev/null &"],
                _START_TIMEOUT_S,
                output=log,
                pass_fds=(server_lock,),
            )

    def _drop_stale_files(self, socket_directory: Path) -> None:
        """Remove what a killed server left: another process, or a zombie, can have its ID by now.

        Postgres would refuse to start then. The caller holds the lock that all processes of a
        server share, so none of ours is left; one started by hand is looked for.
        """
        postmaster = self.read_postmaster()
        if postmaster and self.is_running(postmaster):
            return
        self._stop_mark.unlink(missing_ok=True)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (socket_directory / name).unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Ask the server for a fast shutdown: it ends its sessions, writes a checkpoint, goes."""
        postmaster = self.read_postmaster()
        if postmaster and self.is_running(postmaster):
            # Written first: were we killed right after the signal, somebody could still connect.
            self._stop_mark.write_text(str(postmaster.pid))
            os.kill(postmaster.pid, signal.SIGINT)

    def is_stopping(self, postmaster: Postmaster) -> bool:
        """Say whether this server has been asked to stop, or was about to be."""
        try:
            return self._stop_mark.read_text() == str(postmaster.pid)
        except FileNotFoundError:
            return False

    @property
    def _stop_mark(self) -> Path:
        return self.home / "stopping"


def _sync_directory(path: Path) -> None:
    """Make a rename in it survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
