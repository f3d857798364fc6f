"""The machine: room on the disk of the embedded server, and open files."""

import resource
import shutil
from collections.abc import Iterable

from agent_app.database.data_directory import locate
from agent_app.operations.doctor.finding import Finding, bad, command, ok, warn
from agent_app.operations.doctor.subject import Subject

MIN_FREE_BYTES = 3 * 1024**3
"""The embedded server's log of transactions takes 256 MB, and one query 2 GB of temporary files."""
FATAL_FREE_BYTES = 512 * 1024**2
"""Twice what the log of transactions takes: below it, writes are about to fail."""
FILES_BESIDE_POOL = 236
"""Connections to models, files of tools, and Python's own; with the pool of 20 it makes 256."""


def examine_disk(subject: Subject) -> Iterable[Finding]:
    """Say how much room the embedded server has; a server of the user's has its own disk."""
    if subject.settings.database_url is not None:
        return
    home = locate(subject.settings.data_directory)
    place = next(path for path in (home, *home.parents) if path.exists())
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 1024**3:.1f} GB are free where the embedded server's data lies ({home})."
    if free_bytes >= MIN_FREE_BYTES:
        yield ok(text)
        return
    remedies = (
        command("agent-app", "prune", "--older-than", "30d"),
        command("du", "-xh", "--max-depth=1", str(place)),
    )
    yield (bad if free_bytes < FATAL_FREE_BYTES else warn)(text, *remedies)


def examine_open_files(subject: Subject) -> Iterable[Finding]:
    """Say whether a process may open as many files and connections as it needs."""
    needed_count = subject.settings.database_pool_size + FILES_BESIDE_POOL
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < needed_count:
        text = f"A process may open {limit} files, and one that executes runs needs {needed_count}."
        yield warn(text, f"ulimit -n {max(4096, needed_count)}")
    else:
        yield ok(f"A process may open {'any number of' if limit < 0 else limit} files.")
