"""Intents: a row that is committed before an external call, and what becomes of it."""

from dataclasses import dataclass
from typing import Any, Literal, LiteralString

from agent_app.database.connect import Database
from agent_app.database.pool import Pool

Decision = Literal["done", "retry", "fail"]

_COMMIT: LiteralString = """
with owner as (
    select from dbos.workflow_status
    where workflow_uuid = %(run_id)s and owner_xid = %(owner)s
    for no key update)
insert into agent_app.intent as old (
    run_id, step_number, step_name, call, arguments, idempotency_key, executor_id)
select %(run_id)s, %(step_number)s, %(step_name)s, %(call)s, %(arguments)s::jsonb,
    %(idempotency_key)s, %(executor_id)s
from owner
on conflict (run_id, step_number) do update set
    executor_id = excluded.executor_id, intended_at = now(), unknown_since = null,
    decision = null, decided_value = null, decided_at = null
where %(is_again)s and old.call = excluded.call
returning run_id
"""
_MARK_UNKNOWN: LiteralString = """
update agent_app.intent set unknown_since = coalesce(unknown_since, now())
where run_id = %(run_id)s and step_number = %(step_number)s
    and exists (
        select from dbos.workflow_status
        where workflow_uuid = %(run_id)s and owner_xid = %(owner)s)
"""
_READ_DECISION: LiteralString = """
select status.owner_xid, intent.decision, intent.decided_value
from dbos.workflow_status as status
left join agent_app.intent
    on intent.run_id = status.workflow_uuid and intent.step_number = %(step_number)s
where status.workflow_uuid = %(run_id)s
"""
_DECIDE: LiteralString = """
update agent_app.intent
set decision = %(decision)s, decided_value = %(value)s, decided_at = now()
where run_id = %(run_id)s and step_number = %(step_number)s
    and decision is null and unknown_since is not null
    and not exists (
        select from dbos.operation_outputs
        where workflow_uuid = %(run_id)s and function_id = %(step_number)s)
returning step_name
"""


@dataclass(frozen=True)
class Intent:
    """An external call that is about to be made."""

    run_id: str
    step_number: int
    step_name: str
    call: str
    """Identity of the call, as its checkpoint names it."""
    arguments: str | None
    """JSON, for people; None where they are not JSON."""
    idempotency_key: str
    executor_id: str


async def commit_intent(pool: Pool, intent: Intent, *, owner: str | None, is_again: bool) -> bool:
    """Write the intent durably; say whether the call may be made now.

    One that is there already says no, whoever wrote it, unless it is known that its call was not
    made (`is_again`); so does a run that another process owns: `owner` is the token of ours.
    Raises: DatabaseError; then the call must not be made.
    """
    values = {**vars(intent), "owner": owner, "is_again": is_again}
    return bool(await pool.execute(_COMMIT, **values))


async def mark_unknown(pool: Pool, run_id: str, step_number: int, *, owner: str | None) -> None:
    """Note that nobody knows whether the call was made, unless another process owns the run.

    Raises: DatabaseError.
    """
    await pool.execute(_MARK_UNKNOWN, run_id=run_id, step_number=step_number, owner=owner)


async def read_decision(
    pool: Pool, run_id: str, step_number: int
) -> tuple[str | None, Decision | None, str | None]:
    """Return who owns the run, what a person decided, None where nobody has, and its value.

    Raises: DatabaseError.
    """
    rows = await pool.execute(_READ_DECISION, run_id=run_id, step_number=step_number)
    assert rows, f"run {run_id!r} is executed and has no row"
    return rows[0]["owner_xid"], rows[0]["decision"], rows[0]["decided_value"]


def decide_intent(
    database: Database, run_id: str, step_number: int, decision: Decision, value: str | None
) -> str | None:
    """Record a person's decision and return the step's name; None where nothing is undecided.

    Raises: DatabaseError.
    """
    values: dict[str, Any] = {
        "run_id": run_id,
        "step_number": step_number,
        "decision": decision,
        "value": value,
    }
    with database.connect() as connection:
        row = connection.execute(_DECIDE, values).fetchone()
    return None if row is None else str(row["step_name"])
