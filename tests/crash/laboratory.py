"""One test's world: a database, a file of effects, and processes on both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_app.database.connect import Database
from tests.crash.driver import Life, Zygote
from tests.crash.effects import Effect, read_effects
from tests.crash.hooks import Hooks
from tests.crash.life import Action, Plan
from tests.helpers import wait_until

OF_PROCESSES = ("agent_app.executor", "dbos.application_versions", "dbos.queues")
"""Tables that a process writes to by starting."""


@dataclass(frozen=True)
class Step:
    """One checkpoint."""

    run_id: str
    number: int
    name: str
    of: str | None


@dataclass(frozen=True)
class Mark:
    """A moment."""

    completed: frozenset[tuple[str, int]]
    """Run and number of each step that has its checkpoint."""
    effect_count: int


class Laboratory:
    """One database, one file of effects, and processes on both."""

    def __init__(self, zygote: Zygote, database: Database, directory: Path) -> None:
        self.zygote = zygote
        self.database = database
        self.effects_path = directory / "effects.jsonl"
        self.gate = directory / "gate"
        self.environment = {
            "AGENT_APP_DATABASE_URL": database.url,
            "AGENT_APP_AGENTS": "tests.crash.subjects",
            "AGENT_APP_RETRY_BACKOFF_S": "0.001",
        }

    def plan(
        self,
        action: Action,
        *run_ids: str,
        agent: str = "",
        text: str = "",
        kill: tuple[str, int] | None = None,
        stop: tuple[str, int] | None = None,
        is_flipped: bool = False,
        version: str = "1",
    ) -> Plan:
        """Plan a life that uses the operations."""
        hooks = Hooks(str(self.effects_path), kill=kill, stop=stop, is_flipped=is_flipped)
        environment = self.environment | {"AGENT_APP_APPLICATION_VERSION": version}
        return Plan(action, hooks, environment, list(run_ids), agent, text)

    def command(
        self,
        *arguments: str,
        hold_from: int | None = None,
        hold_bodies: tuple[str, ...] = (),
        pause_s: float = 0.0,
        kill: tuple[str, int] | None = None,
        stop: tuple[str, int] | None = None,
    ) -> Life:
        """Start `agent-app` with these arguments."""
        hooks = Hooks(
            str(self.effects_path),
            kill=kill,
            stop=stop,
            hold_from=hold_from,
            hold_bodies=hold_bodies,
            gate=str(self.gate),
            pause_s=pause_s,
        )
        return self.zygote.start(Plan("command", hooks, self.environment, command=list(arguments)))

    def effects(self) -> list[Effect]:
        """Return what all bodies did so far."""
        return read_effects(self.effects_path)

    def calls(self, run_id: str) -> list[str]:
        """Return what the run's bodies have said to the world, in the order of the calls."""
        return [e.note for e in self.effects() if e.phase == "call" and e.run_id == run_id]

    def query(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Return rows of a query of the test's own."""
        with self.database.connect() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def tables(self) -> dict[str, list[str]]:
        """Return every row, as text, of every table of DBOS's and ours but those of processes."""
        names = self.query(
            "select table_schema || '.' || table_name as name from information_schema.tables"
            " where table_schema in ('dbos', 'agent_app') and table_type = 'BASE TABLE'"
        )
        return {
            row["name"]: self._rows(row["name"]) for row in names if row["name"] not in OF_PROCESSES
        }

    def _rows(self, table: str) -> list[str]:
        query = f"select to_jsonb(t)::text as row from {table} as t order by 1"  # noqa: S608
        found = self.query(query)
        return [row["row"] for row in found]

    def backends(self) -> set[int]:
        """Return the process IDs of the server's sessions on the database, without our own."""
        rows = self.query(
            "select pid from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        return {row["pid"] for row in rows}

    def wait_for_silence(self, backends: set[int] | None = None) -> None:
        """Wait until the server has noticed every death: a statement in flight may still commit.

        `backends` are those of the dead where others are alive.
        """
        wait_until(lambda: not (self.backends() & backends if backends else self.backends()), 30)

    def mark(self) -> Mark:
        """Return where things stand."""
        completed = {(step.run_id, step.number) for step in self.steps()}
        return Mark(frozenset(completed), len(self.effects()))

    def repeated(self, mark: Mark) -> frozenset[tuple[str, int]]:
        """Return the steps that were complete at the mark and were executed since all the same."""
        return mark.completed & {effect.step for effect in self.effects()[mark.effect_count :]}

    def wait_for_starts(self, count: int, run_id: str = "") -> None:
        """Wait until so many bodies have begun, in all runs or in one and its children."""
        wait_until(
            lambda: (
                sum(e.phase == "start" and str(e.run_id).startswith(run_id) for e in self.effects())
                >= count
            ),
            60,
        )

    def steps(self) -> list[Step]:
        """Return every checkpoint, by run and number."""
        rows = self.query(
            "select run_id, step_number as number, name, checkpoint_of as of"
            " from agent_app.step order by 1, 2"
        )
        return [Step(**row) for row in rows]

    def statuses(self) -> dict[str, str]:
        """Return the status of every run."""
        rows = self.query("select run_id, status from agent_app.run")
        return {row["run_id"]: row["status"] for row in rows}


def of_run(values: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Return what belongs to a run and its children, by the end of the run's ID."""
    return {
        run_id[len(root) :]: value
        for run_id, value in values.items()
        if run_id == root or run_id.startswith(f"{root}:")
    }
