"""The embedded server's life: started, shared, found again, stopped by the last."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agent_app.database.data_directory import locate
from agent_app.database.embedded import READER_ROLE, embedded_server
from tests.database.embedded_tools import (
    find_postmaster,
    kill,
    make_home,
    read_url,
    release,
    start_holder,
)
from tests.helpers import wait_until


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield an empty data directory."""
    with make_home() as path:
        yield path


def ask(url: str, query: str) -> object:
    """Return the one value of a query."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def enter(home: Path, said: list[str] | None = None, timeout_s: float = 60) -> str:
    """Use the server for a moment; return its URL."""
    notes: list[str] = [] if said is None else said
    with embedded_server(home, start_timeout_s=timeout_s, notify=notes.append) as url:
        return url


def test_server_starts_in_an_empty_directory_and_stops(home: Path) -> None:
    """The first use makes a durable cluster with our database; the last one stops the server."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        assert ask(url, "select current_database()") == "agent_app"
        assert ask(url, "show server_encoding") == "UTF8"
        assert ask(url, "show fsync") == "on"
        assert ask(url, "show listen_addresses") == ""
        assert find_postmaster(home)
    assert find_postmaster(home) is None


def test_data_survive_a_restart(home: Path) -> None:
    """What one process wrote is there for the next, after the server was stopped in between."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        ask(url, "create table kept as select 42 as answer")
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        assert ask(url, "select answer from kept") == 42


def test_two_processes_share_one_server(home: Path) -> None:
    """The second process gets the same server, which stays until both are gone."""
    first, second = start_holder(home), start_holder(home)
    urls = {read_url(first), read_url(second)}
    pid = find_postmaster(home)
    release(first)
    assert len(urls) == 1
    assert find_postmaster(home) == pid
    release(second)
    assert find_postmaster(home) is None


def test_many_processes_start_and_stop_at_once(home: Path) -> None:
    """Whatever the order in which eight processes come and go, each gets a server that answers."""
    for _ in range(3):
        holders = [start_holder(home) for _ in range(8)]
        for holder in holders:
            release(holder)
        assert find_postmaster(home) is None


def test_server_outlives_a_killed_starter_and_is_found_again(home: Path) -> None:
    """SIGKILL of the process that started the server leaves it to the next one, which stops it."""
    starter = start_holder(home)
    read_url(starter)
    pid = find_postmaster(home)
    kill(starter)
    with embedded_server(home, start_timeout_s=60, notify=print):
        assert find_postmaster(home) == pid
    assert find_postmaster(home) is None


def test_starter_killed_at_any_moment_blocks_nobody(home: Path) -> None:
    """A first start that is killed early or late, initdb included, is mended by the next one."""
    for delay_s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7):
        holder = start_holder(home)
        time.sleep(delay_s)  # the moment is the point: there is no state to wait for
        kill(holder)
    assert enter(home).startswith("postgresql://")


def test_killed_server_is_started_again(home: Path) -> None:
    """SIGKILL of the server leaves a stale postmaster.pid; whoever comes next gets a new server."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        ask(url, "create table kept as select 42 as answer")
        pid = find_postmaster(home)
        assert pid
        os.kill(pid, signal.SIGKILL)
        with embedded_server(home, start_timeout_s=60, notify=print) as again:
            assert ask(again, "select answer from kept") == 42
            assert find_postmaster(home) not in (None, pid)
    assert find_postmaster(home) is None


def test_server_that_was_left_half_stopped_is_stopped(home: Path) -> None:
    """A process killed between its decision to stop the server and the signal deceives nobody."""
    starter = start_holder(home)
    read_url(starter)
    pid = find_postmaster(home)
    kill(starter)
    (home / "stopping").write_text(str(pid))
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        assert find_postmaster(home) not in (None, pid)
        assert ask(url, "select 1") == 1


def test_user_who_comes_while_it_stops_gets_a_new_server(home: Path) -> None:
    """Whoever arrives during the shutdown waits for its end and starts the server again."""
    first = start_holder(home)
    read_url(first)
    assert first.stdin
    first.stdin.write("\n")
    first.stdin.flush()
    for _ in range(5):
        with embedded_server(home, start_timeout_s=60, notify=print) as url:
            assert ask(url, "select 1") == 1
    release(first)
    assert find_postmaster(home) is None


def test_process_id_that_somebody_else_has_by_now_is_seen_through(home: Path) -> None:
    """A stale postmaster.pid that names a living process of another kind stops no start."""
    enter(home)
    with subprocess.Popen(["sleep", "60"]) as other:
        lines = [str(other.pid), str(home / "postgres"), "1", "5432", str(home / "socket")]
        (home / "postgres" / "postmaster.pid").write_text("\n".join([*lines, "", "1 1", "ready"]))
        try:
            assert ask_once(home) == 1
            assert other.poll() is None
        finally:
            other.kill()


def ask_once(home: Path) -> object:
    """Return 1 from a server that is started and stopped for it."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        return ask(url, "select 1")


def test_attaching_starts_no_subprocess(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that finds a running server only connects: that takes milliseconds."""
    with embedded_server(home, start_timeout_s=60, notify=print):
        monkeypatch.setattr(subprocess, "Popen", None)
        assert enter(home).startswith("postgresql://")


def test_forked_child_does_not_stop_the_server(home: Path) -> None:
    """A child that unwinds its parent's stack leaves the server alone."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        script = (
            "import os, sys, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "from pathlib import Path\n"
            "from agent_app.database.embedded import embedded_server\n"
            "with embedded_server(Path(sys.argv[1]), start_timeout_s=60, notify=print) as url:\n"
            "    if child := os.fork():\n"
            "        os.waitpid(child, 0)\n"
            "        import psycopg; psycopg.connect(url).close()\n"
        )
        subprocess.run([sys.executable, "-c", script, str(home)], check=True)
        assert ask(url, "select 1") == 1


def test_server_survives_ctrl_c(home: Path) -> None:
    """Ctrl-C reaches a terminal's whole process group; the server is not in ours."""
    with embedded_server(home, start_timeout_s=60, notify=print):
        pid = find_postmaster(home)
        assert pid
        assert os.getsid(pid) != os.getsid(0)


def test_server_inherits_no_lock_of_ours(home: Path) -> None:
    """Of our lock files the server holds its own one only, or we could never be the last."""
    with embedded_server(home, start_timeout_s=60, notify=print):
        held = [os.readlink(path) for path in Path(f"/proc/{find_postmaster(home)}/fd").iterdir()]
    assert [Path(path).name for path in held if path.endswith(".lock")] == ["server.lock"]


def test_socket_is_closed_to_others(home: Path) -> None:
    """Only the server's owner, and root, can enter the directory of the socket."""
    with embedded_server(home, start_timeout_s=60, notify=print):
        found = (home / "socket").lstat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700
        if os.geteuid() == 0:
            done = subprocess.run(
                ["/bin/ls", str(home / "socket")], user=65534, group=65534, extra_groups=[],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert found.st_uid not in (0, 65534)
            assert "Permission denied" in done.stderr


def test_reader_cannot_reach_beyond_reading(home: Path) -> None:
    """The role for users' queries is no superuser and owns nothing."""
    with embedded_server(home, start_timeout_s=60, notify=print) as url:
        reader_url = url.replace("agent_app@", f"{READER_ROLE}@")
        assert ask(reader_url, "show is_superuser") == "off"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(reader_url, "create table planted (x int)")


def test_long_directory_gets_a_short_socket(home: Path) -> None:
    """A path that is too long for a socket, or full of quotes, works; its socket lies in /tmp."""
    deep = home / ('it\'s "a" $(long), place ' * 4) / ("x" * 60)
    deep.mkdir(parents=True, mode=0o755)
    for path in (deep, *deep.parents[:1]):
        path.chmod(0o711)
    with embedded_server(deep, start_timeout_s=60, notify=print) as url:
        assert ask(url, "select 1") == 1
        socket_directory = ask(url, "show unix_socket_directories")
    assert str(socket_directory).startswith("/tmp/agent-app-")
    Path(str(socket_directory)).rmdir()


def test_slow_recovery_is_waited_for_and_told(home: Path) -> None:
    """A recovery of some seconds is waited for in patience, and the person is told once."""
    crash_into_slow_recovery(home, seconds=4)
    said: list[str] = []
    enter(home, said)
    assert sum("recovering from a crash" in sentence for sentence in said) == 1


def test_recovery_beyond_the_timeout_goes_on_for_the_next(home: Path) -> None:
    """A start that takes too long is an error, and not stopped: the next process comes into it."""
    crash_into_slow_recovery(home, seconds=4)
    with pytest.raises(Exception, match=r"did not start: it was not ready within 1 s"):
        enter(home, timeout_s=1)
    pid = find_postmaster(home)
    assert pid
    with embedded_server(home, start_timeout_s=60, notify=print):
        assert find_postmaster(home) == pid
    wait_until(lambda: find_postmaster(home) is None)


def crash_into_slow_recovery(home: Path, seconds: int) -> None:
    """Leave a killed server whose recovery asks an archive that takes its time, once."""
    enter(home)
    marker = home / "postgres" / "asked"
    command = f"test -e {marker} || {{ touch {marker}; sleep {seconds}; }}; exit 1"
    with (home / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = '{command}'\n")
    holder = start_holder(home)
    read_url(holder)
    pid = find_postmaster(home)
    assert pid
    kill(holder)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: find_postmaster(home) is None)
    (home / "postgres" / "recovery.signal").touch()


def test_directory_of_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a setting, data lie where the system keeps a user's data, and root's in /var/lib."""
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert locate(None) == Path("/srv/data/agent-app")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/srv/ann")
    assert locate(None) == Path("/srv/ann/.local/share/agent-app")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert locate(None) == Path("/var/lib/agent-app")
