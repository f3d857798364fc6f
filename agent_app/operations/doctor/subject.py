"""What is examined: settings, a database that may be missing, and modules of agents."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from agent_app.database.connect import Database
from agent_app.database.health import SchemaState, is_superuser, read_schema
from agent_app.database.remedies import SUPERUSER, psql_command
from agent_app.operations.doctor.finding import command
from agent_app.operations.doctor.modules import Modules, inspect_modules
from agent_app.operations.doctor.valid_settings import ReadSettings
from agent_app.settings import Settings


@dataclass(frozen=True)
class Subject:
    """Everything that checks look at; what takes long is looked at once."""

    read: ReadSettings
    shipped_agents: tuple[str, ...]
    """Modules that come along."""
    found: Database | None = None
    """None where no database could be opened; no check that needs one is made then."""

    @property
    def settings(self) -> Settings:
        """Return settings that are valid: defaults stand where a value is not."""
        return self.read.settings

    @property
    def is_embedded(self) -> bool:
        """Say whether the database is the embedded server's."""
        return self.settings.database_url is None

    @property
    def database(self) -> Database:
        """Return the database."""
        assert self.found is not None
        return self.found

    @cached_property
    def modules(self) -> Modules:
        """Return what importing the modules of agents came to, in processes of its own."""
        return inspect_modules(self.shipped_agents, self.settings)

    @cached_property
    def schema(self) -> SchemaState:
        """Return what is applied to the database.

        Raises: TimeoutError; DatabaseError.
        """
        return read_schema(self.database)

    @cached_property
    def superuser(self) -> str:
        """Return a role that may mend what ours may not: our own, if it may.

        Raises: TimeoutError; DatabaseError.
        """
        return self.database.role if is_superuser(self.database) else SUPERUSER

    def psql(self, *statements: str, role: str | None = None) -> str:
        """Return the command that executes the statements, as our role without another one."""
        return command(*psql_command(self.database, statements, role=role))

    def mend(self, statements: Sequence[str], *, role: str | None = None) -> list[str]:
        """Return that command in a list, which is empty where there is no statement."""
        return [self.psql(*statements, role=role)] if statements else []
