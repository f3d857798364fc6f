"""Processes and directories for the tests of the embedded server."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_app.database.cluster import Cluster
from agent_app.database.server_user import find_server_user
from tests.helpers import wait_until

_HOLD = """
import sys
from pathlib import Path
from agent_app.database.embedded import embedded_server
with embedded_server(Path(sys.argv[1]), start_timeout_s=60, notify=sys.stderr.write) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def make_home(mode: int = 0o711) -> Iterator[Path]:
    """Yield a data directory that is short enough for a socket; end its server afterwards."""
    home = Path(tempfile.mkdtemp(prefix="aa-", dir="/tmp"))
    home.chmod(mode)
    try:
        yield home
    finally:
        if pid := find_postmaster(home):
            os.kill(pid, signal.SIGQUIT)
            wait_until(lambda: find_postmaster(home) is None)
        shutil.rmtree(home)


def find_postmaster(home: Path) -> int | None:
    """Return the process ID of the directory's server, None where none runs."""
    cluster = Cluster(home, find_server_user())
    postmaster = cluster.read_postmaster()
    return postmaster.pid if postmaster and cluster.is_running(postmaster) else None


def start_holder(home: Path) -> "subprocess.Popen[str]":
    """Start a process that uses the server until it is told to go; it has not entered yet."""
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_url(holder: "subprocess.Popen[str]") -> str:
    """Wait until the process uses the server; return the URL that it got."""
    assert holder.stdout
    url = holder.stdout.readline().strip()
    assert url.startswith("postgresql://"), holder.communicate()[1]
    return url


def release(holder: "subprocess.Popen[str]") -> None:
    """Let the process end in order."""
    _, complaint = holder.communicate("\n", timeout=60)
    assert holder.returncode == 0, complaint


def kill(holder: "subprocess.Popen[str]") -> None:
    """End the process with SIGKILL."""
    holder.kill()
    holder.communicate()
