"""Attributes: labels by which runs are found, set at the start of a run and later."""

import re
from collections.abc import Collection, Mapping

from agent_app.database.connect import Database
from agent_app.database.history import drop_attributes
from agent_app.database.read import RunRow, read_run
from agent_app.durability.delegation import PARENT
from agent_app.durability.joint_commit import joint_commit
from agent_app.errors import AttributeInvalid, RunNotFound
from agent_app.operations.read import get_run

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")
_MAX_VALUE = 1000
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
IMPORTED = "imported"
"""Key of runs that came out of a file."""
OURS = frozenset({PARENT, IMPORTED})
"""Keys by which agent_app itself finds runs."""


def check_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes, each of them a key and a text.

    Raises: AttributeInvalid.
    """
    for key, value in attributes.items():
        _check_key(key)
        if len(value) > _MAX_VALUE or _UNSTORABLE.search(value):
            raise AttributeInvalid(
                f"Attribute {key!r} has the value {value[:80]!r}; up to {_MAX_VALUE} characters "
                "that Postgres can hold were expected."
            )
    return dict(attributes)


def _check_key(key: str) -> None:
    if key in OURS:
        raise AttributeInvalid(f"Attribute {key!r} belongs to agent_app. Choose another key.")
    if not _KEY.fullmatch(key):
        raise AttributeInvalid(
            f"Attribute {key[:80]!r} is no key: 1 to 100 letters, digits and the signs '_', '.', "
            "':', '/' and '-' were expected."
        )


def change_attributes(
    database: Database, run_id: str, attributes: Mapping[str, str], remove: Collection[str] = ()
) -> RunRow:
    """Set and remove labels of a run, whatever its status, and return it; the others stay.

    Durable, and both at once. To remove a key that is not there changes nothing.
    Raises: RunNotFound; AttributeInvalid.
    """
    added = check_attributes(attributes)
    for key in remove:
        _check_key(key)
    if not added and not remove:
        raise AttributeInvalid("KEY=VALUE or --remove KEY was expected, and there is neither.")
    if both := sorted(set(added) & set(remove)):
        raise AttributeInvalid(f"Attribute {both[0]!r} is to be set and removed. Choose one.")
    if read_run(database, run_id) is None:
        raise RunNotFound(run_id)
    with joint_commit(database) as commit:
        if added:
            commit.client.update_workflow_attributes(run_id, dict(added), merge=True)
        if remove:
            drop_attributes(commit, run_id, list(remove))
    return get_run(database, run_id)
