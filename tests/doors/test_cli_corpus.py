"""`corpus add | list | search | remove`, as they are typed."""

from pathlib import Path

import pytest

from tests.doors.conftest import Command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with documents of several kinds, and with what is passed over."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a b.md").write_text("# Durable runs\n\nA checkpoint survives a crash.\n")
    (tmp_path / "sub" / "page.html").write_text(
        "<html><title>Page</title><body><p>Failover is done by a living executor.</p></body>"
    )
    (tmp_path / "sub" / "code.py").write_text("print('not read')\n")
    (tmp_path / ".hidden" / "c.md").write_text("Hidden words.\n")
    return tmp_path


def test_corpus_of_a_folder(agent_app: Command, folder: Path) -> None:
    """A folder is added whole, again without a change, and again after one of its files changed."""
    assert agent_app("corpus", "add", str(folder)).stdout == "2 added.\n"
    assert agent_app("corpus", "add", str(folder)).stdout == "2 unchanged.\n"
    (folder / "a b.md").write_text("# Durable runs\n\nAnother sentence about snapshots.\n")
    assert agent_app("corpus", "add", str(folder)).stdout == "1 replaced, 1 unchanged.\n"
    (match,) = agent_app("corpus", "search", "snapshot", "--json").json()
    assert match["url"] == (folder / "a b.md").as_uri()
    assert match["words"] == ["snapshots"]
    assert agent_app("corpus", "search", "checkpoint", "--json").json() == []


def test_list_shows_what_is_there(agent_app: Command, folder: Path) -> None:
    """Sources are listed with their IDs and URLs, as a table and as JSON."""
    agent_app("corpus", "add", str(folder))
    entries = agent_app("corpus", "list", "--json").json()
    assert [entry["url"].rpartition("/")[2] for entry in entries] == ["a%20b.md", "page.html"]
    printed = agent_app("corpus", "list").stdout
    assert all(entry["source_id"] in printed for entry in entries)


def test_search_prints_passages(agent_app: Command, folder: Path) -> None:
    """A match shows score, title, URL, the words that were met, and the passage itself."""
    agent_app("corpus", "add", str(folder))
    printed = agent_app("corpus", "search", "crashes checkpoints")
    assert printed.code == 0
    for part in ("Durable runs", "a%20b.md", "checkpoint, crash", "survives a crash."):
        assert part in printed.stdout
    assert "living executor" not in printed.stdout
    nothing = agent_app("corpus", "search", "unicorns")
    assert (nothing.code, nothing.stdout) == (0, "")
    assert "No source" in nothing.stderr


def test_limit_of_a_search(agent_app: Command, folder: Path) -> None:
    """No more sources are printed than were asked for; 0 is bad usage."""
    agent_app("corpus", "add", str(folder))
    assert len(agent_app("corpus", "search", "crash executor", "--json").json()) == 2
    limited = agent_app("corpus", "search", "crash executor", "--json", "--limit", "1")
    assert len(limited.json()) == 1
    assert agent_app("corpus", "search", "crash", "--limit", "0").code == 2


def test_what_cannot_be_read_does_not_stop_the_others(agent_app: Command, folder: Path) -> None:
    """A bad file is one line on stderr, the others are added, and the exit code is 1."""
    (folder / "bad.txt").write_bytes(b"\0\1\2")
    missing, code = folder / "missing.md", folder / "sub" / "code.py"
    names = [str(folder), str(missing), str(code), "http://127.0.0.1/secret", "ftp://a.example/b"]
    outcome = agent_app("corpus", "add", *names)
    assert (outcome.code, outcome.stdout) == (1, "2 added, 5 unreadable.\n")
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("'")]
    assert len(lines) == 5
    assert all(any(name in line for line in lines) for name in ("bad", "missing", "code", "ftp"))


def test_pipe_is_not_waited_for(agent_app: Command, tmp_path: Path) -> None:
    """What is no ordinary file is refused, instead of being read for ever."""
    import os

    os.mkfifo(tmp_path / "pipe.txt")
    outcome = agent_app("corpus", "add", str(tmp_path / "pipe.txt"))
    assert outcome.code == 1
    assert "it is no file" in outcome.stderr


@pytest.mark.parametrize("by", ["source_id", "url", "path", "folder"])
def test_remove(agent_app: Command, folder: Path, by: str) -> None:
    """A source is removed by its ID, its URL, its file's path, or the folder above it."""
    agent_app("corpus", "add", str(folder))
    (entry,) = (e for e in agent_app("corpus", "list", "--json").json() if "page" in e["url"])
    names = {"path": str(folder / "sub" / "page.html"), "folder": str(folder / "sub")}
    outcome = agent_app("corpus", "remove", names.get(by) or entry[by])
    assert (outcome.code, outcome.stdout) == (0, "1 removed.\n")
    assert len(agent_app("corpus", "list", "--json").json()) == 1


def test_unknown_source_is_not_removed(agent_app: Command, folder: Path) -> None:
    """One name that is not known is an error, and nothing is removed."""
    agent_app("corpus", "add", str(folder))
    outcome = agent_app("corpus", "remove", str(folder), "0123456789abcdef")
    assert outcome.code == 1
    assert "Source '0123456789abcdef' is not in the corpus." in outcome.stderr
    assert len(agent_app("corpus", "list", "--json").json()) == 2


def test_empty_corpus_says_how_to_fill_it(agent_app: Command) -> None:
    """Listing and searching an empty corpus is no error, and names the way out."""
    for arguments in (("list",), ("search", "anything")):
        outcome = agent_app("corpus", *arguments)
        assert (outcome.code, outcome.stdout) == (0, "")
        assert "--installed" in outcome.stderr
    assert agent_app("corpus", "list", "--json").json() == []


def test_add_wants_something(agent_app: Command, tmp_path: Path) -> None:
    """Nothing to add is bad usage; a folder without readable files is none, and says so."""
    assert agent_app("corpus", "add").code == 2
    assert "nothing to add" in agent_app("corpus", "add", str(tmp_path)).stdout
