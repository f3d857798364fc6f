"""Durable AI agents on nothing but Postgres.

What flows, room by room, from the door down:

- `cli` parses a command and calls one operation; doors hold no SQL and no DBOS.
- `application` turns settings into a ready application, and closes it.
- `operations` are the verbs: start a run, read it, cancel it, go on with it.
- `agents` are those that come along: twenty questions between two agents, and deep research.
- `sources` are where facts come from: a corpus that is searched in SQL, the web, checked quotes.
- `failover` keeps an executor's sign of life, and finds the runs of executors that died.
- `durability` is the heart: each model request and each tool call of an agent becomes a step with a
  checkpoint; `catalog` knows what can be run, `capability` makes an agent's I/O steps, `step`
  records and replays, `attempts` tries, `effects` and `transaction` keep from doing harm twice,
  `serializer` writes JSON, `runtime` drives DBOS.
- `database` finds or starts Postgres, keeps the schema, reads typed rows out of the views.
- `settings` and `errors` are known to all.

Your own module needs three names: `durable(agent)`, `delegate(agent, input)`, `@workflow(name)`.
Its tools may ask for more: `idempotency_key()`, `http_client()`, `transaction()`, `heartbeat()`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_app.durability.catalog import durable, workflow
    from agent_app.durability.delegation import delegate
    from agent_app.durability.effects import CallOutcome
    from agent_app.durability.heartbeat import heartbeat
    from agent_app.durability.idempotency import http_client, idempotency_key
    from agent_app.durability.policy import StepPolicies, StepPolicy
    from agent_app.durability.transaction import transaction

__all__ = [
    "CallOutcome",
    "StepPolicies",
    "StepPolicy",
    "delegate",
    "durable",
    "heartbeat",
    "http_client",
    "idempotency_key",
    "transaction",
    "workflow",
]

_HOMES = {
    "CallOutcome": "agent_app.durability.effects",
    "StepPolicies": "agent_app.durability.policy",
    "StepPolicy": "agent_app.durability.policy",
    "delegate": "agent_app.durability.delegation",
    "durable": "agent_app.durability.catalog",
    "heartbeat": "agent_app.durability.heartbeat",
    "http_client": "agent_app.durability.idempotency",
    "idempotency_key": "agent_app.durability.idempotency",
    "transaction": "agent_app.durability.transaction",
    "workflow": "agent_app.durability.catalog",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `agent-app --help` needs none of them."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
