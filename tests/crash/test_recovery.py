"""SIGKILL while a process goes on with what another one left, and again in the next one."""

import signal

import pytest

from tests.crash.conftest import Tell
from tests.crash.laboratory import Laboratory

AGENT, TEXT = "three-diggers", "here there yonder"
RESULT = [
    f'{{"left-hand": "left of {place}", "right-hand": "right of {place}"}}'
    for place in TEXT.split()
]


@pytest.mark.parametrize("command", ["resume", "resume r", "run"])
@pytest.mark.parametrize(
    "places",
    [
        ["handed over", "handed over"],
        ["handed over", "dequeued"],
        ["dequeued", "dequeued"],
        ["dequeued", "replayed"],
        ["replayed", "replayed"],
    ],
    ids=" + ".join,
)
def test_two_recoveries_in_a_row_are_killed(
    laboratory: Laboratory, tell: Tell, places: list[str], command: str
) -> None:
    """Whatever way a third process goes on, it ends the run, and no completed step is repeated."""
    first = laboratory.plan("start", "r", agent=AGENT, text=TEXT, kill=("end", 4))
    later = [laboratory.plan("recover", "r", kill=(place, 1)) for place in places]
    repeated: frozenset[tuple[str, int]] = frozenset()
    for plan in (first, *later):
        mark = laboratory.mark()
        assert laboratory.zygote.start(plan).wait() == -signal.SIGKILL
        laboratory.wait_for_silence()
        repeated |= laboratory.repeated(mark)
    mark = laboratory.mark()

    words = {"run": ["run", AGENT, TEXT, "--id", "r"]}.get(command, command.split())
    record = laboratory.command(*words, "--json").json()

    assert record["output"] == RESULT
    assert set(laboratory.statuses().values()) == {"SUCCESS"}
    repeated |= laboratory.repeated(mark)
    tell("two recoveries in a row", len(places), 1, len(repeated))
    assert repeated == set()
