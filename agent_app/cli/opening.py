"""The database for commands that only read, opened late."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_app.database.connect import Database
    from agent_app.settings import Settings


@contextmanager
def reading(settings: "Settings | None" = None) -> Iterator["Database"]:
    """Yield the database with its schema in place."""
    from agent_app.application import open_reader
    from agent_app.cli.printing import notice
    from agent_app.settings import read_settings

    with open_reader(settings or read_settings(), notice) as database:
        yield database
