"""SIGKILL around a call that must not be made twice, and the person who says what became of it."""

import json
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.laboratory import Laboratory
from tests.helpers import wait_until

STEP = 2
"""Number of the payment's step: a model's request goes before it."""
IN_DOUBT = {
    "after-the-intent": ("after intent", 1),
    "as-the-body-begins": ("start", 2),
    "in-the-body": ("call", 1),
    "before-the-checkpoint": ("checkpoint", 2),
}
"""Places where a kill leaves nobody who knows."""
PLAIN = {"before-the-intent": ("before intent", 1), "after-the-checkpoint": ("commit", 3)}
"""Places where it does not matter."""


@dataclass(frozen=True)
class Ending:
    """What a person says, and what comes of it."""

    words: tuple[str, ...]
    output: str
    error: str
    more_calls: int


ENDINGS = {
    "done": Ending(("--done", '"by hand"'), "by hand", "", 0),
    "retry": Ending(("--retry",), "paid me", "", 1),
    "fail": Ending(
        ("--fail", "--reason", "the bank says no"),
        "",
        "CallFailed: The external call of step 'payer.tool.pay' counts as failed: the bank says no",
        0,
    ),
}
ANY_ENDING = pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)


def kill_all(
    laboratory: Laboratory, places: dict[str, tuple[str, int]], agent: str, text: str = "me"
) -> None:
    """Start a run for each place, under its name, and let its process die there."""
    plans = [
        laboratory.plan("start", run_id, agent=agent, text=text, kill=place)
        for run_id, place in places.items()
    ]
    lives = laboratory.zygote.run_all(plans)
    assert {life.wait() for life in lives} == {-signal.SIGKILL}, lives[0].stderr
    laboratory.wait_for_silence()


def undecided(laboratory: Laboratory) -> list[dict[str, Any]]:
    """Return the calls that wait for a person."""
    return laboratory.query("select * from agent_app.undecided_call order by run_id")


def intents(laboratory: Laboratory) -> list[dict[str, Any]]:
    """Return every intent."""
    return laboratory.query("select * from agent_app.intent order by run_id")


def wait_for_doubt(laboratory: Laboratory, count: int = 1) -> None:
    """Wait until so many calls wait for a person."""
    wait_until(lambda: len(undecided(laboratory)) == count, 60)


def resolve(laboratory: Laboratory, run_id: str, *words: str) -> Life:
    """Execute `agent-app resolve` and return it when it has ended."""
    life = laboratory.command("resolve", run_id, str(STEP), *words)
    life.wait()
    return life


def has_ended_as(record: Any, ending: Ending) -> bool:
    """Say whether a run's record, or the text of its error, is what the ending promises."""
    if ending.error:
        return isinstance(record, str) and ending.error in record
    return isinstance(record, dict) and record["output"] == ending.output


@ANY_ENDING
def test_a_call_in_doubt_waits_for_a_person(
    effect_laboratory: Laboratory, tell: Tell, ending: Ending
) -> None:
    """A recovery makes no call again: it waits, shows the call, and goes on as the person says."""
    laboratory = effect_laboratory
    kill_all(laboratory, IN_DOUBT, "payer")
    before = {run_id: laboratory.calls(run_id) for run_id in IN_DOUBT}
    assert [len(calls) for calls in before.values()] == [0, 0, 1, 1]

    waiting = laboratory.zygote.start(laboratory.plan("recover", *IN_DOUBT))
    wait_for_doubt(laboratory, len(IN_DOUBT))

    for row in undecided(laboratory):
        assert (row["step_number"], row["step_name"]) == (STEP, "payer.tool.pay")
        assert row["arguments"] == {"what": "me"}
        assert row["idempotency_key"] == f"{row['run_id']}:pay-0"
        assert row["intended_at"] < row["unknown_since"]
    assert laboratory.statuses() == dict.fromkeys(IN_DOUBT, "PENDING")
    assert {run_id: laboratory.calls(run_id) for run_id in IN_DOUBT} == before
    for run_id in IN_DOUBT:
        assert resolve(laboratory, run_id, *ending.words).wait() == 0

    records = waiting.json()["records"]
    assert [run_id for run_id in IN_DOUBT if not has_ended_as(records[run_id], ending)] == []
    for run_id, calls in before.items():
        assert laboratory.calls(run_id) == calls + [f"{run_id}:pay-0"] * ending.more_calls
    assert undecided(laboratory) == []
    tell("external call in doubt", 2, 2, 0)


def test_a_call_that_cannot_be_in_doubt_is_asked_of_nobody(
    effect_laboratory: Laboratory, tell: Tell
) -> None:
    """Before its intent a call was not made, after its checkpoint it was: one call in either."""
    laboratory = effect_laboratory
    kill_all(laboratory, PLAIN, "payer")

    records = laboratory.zygote.start(laboratory.plan("recover", *PLAIN)).json()["records"]

    assert [record["output"] for record in records.values()] == ["paid me", "paid me"]
    assert [laboratory.calls(run_id) for run_id in PLAIN] == [[f"{r}:pay-0"] for r in PLAIN]
    assert {row["unknown_since"] for row in intents(laboratory)} == {None}
    tell("external call, no doubt", 2, 0, 0)


@pytest.mark.parametrize(
    ("agent", "text"), [("payer", "me"), ("careful-payer", "not made")], ids=["person", "tool"]
)
def test_the_ledger_keeps_the_try_that_nobody_knows_of(
    effect_laboratory: Laboratory, agent: str, text: str
) -> None:
    """A try that was cut short is `unknown`, and stays so when a second one is made."""
    laboratory = effect_laboratory
    first = laboratory.command("run", agent, text, "--id", "r", hold_from=2)
    wait_until(lambda: tries(laboratory) == [(1, None)], 30)
    assert first.kill() == -signal.SIGKILL
    laboratory.wait_for_silence()
    second = laboratory.command("resume", "r", "--json")
    if agent == "payer":
        wait_for_doubt(laboratory)
        wait_until(lambda: tries(laboratory) == [(1, "unknown")])
        assert resolve(laboratory, "r", "--retry").wait() == 0
    assert second.json()["output"] == f"paid {text}"
    assert tries(laboratory) == [(1, "unknown"), (2, "success")]


def tries(laboratory: Laboratory) -> list[tuple[int, str | None]]:
    """Return the tries of the payment and how they ended."""
    rows = laboratory.query(
        "select attempt_number, outcome from agent_app.attempt"
        " where step_number = %(step)s order by attempt_number",
        step=STEP,
    )
    return [(row["attempt_number"], row["outcome"]) for row in rows]


@ANY_ENDING
def test_a_decision_is_kept_while_nobody_lives(
    effect_laboratory: Laboratory, tell: Tell, ending: Ending
) -> None:
    """Killed while they wait, two processes change nothing; the next one applies the decision."""
    laboratory = effect_laboratory
    kill_all(laboratory, {"r": ("call", 1)}, "payer")
    since = set()
    for _ in range(2):
        waiting = laboratory.command("resume", "r", kill=("before look", 3))
        assert waiting.wait() == -signal.SIGKILL
        laboratory.wait_for_silence()
        since.add(undecided(laboratory)[0]["unknown_since"])
    assert len(since) == 1
    assert resolve(laboratory, "r", *ending.words).wait() == 0
    assert undecided(laboratory) == []

    life = laboratory.command("resume", "r", "--json")

    assert life.wait() == (1 if ending.error else 0)
    assert ending.output in life.stdout
    assert ending.error in life.stderr
    assert laboratory.calls("r") == ["r:pay-0"] * (1 + ending.more_calls)
    tell("external call, nobody lives", 0, 3, 0)


SAID = {
    "made": ("found r:pay-0", 0),
    "not made": ("paid not made", 1),
    "unknown": (None, 0),
    "nothing": (None, 0),
}
"""What a `reconcile` function says by its argument; the result, None for a person's; more calls."""


@pytest.mark.parametrize("agent", ["careful-payer", "async-payer"])
def test_the_tool_itself_says_what_became_of_its_call(
    effect_laboratory: Laboratory, tell: Tell, agent: str
) -> None:
    """A result is taken, a call not made is made, and what is unknown is left to a person."""
    laboratory = effect_laboratory
    runs = {word.replace(" ", "-"): word for word in SAID}
    for run_id, word in runs.items():
        kill_all(laboratory, {run_id: ("checkpoint", 2)}, agent, word)

    waiting = laboratory.zygote.start(laboratory.plan("recover", *runs))
    wait_for_doubt(laboratory, 2)
    assert [row["run_id"] for row in undecided(laboratory)] == ["nothing", "unknown"]
    for run_id in ("nothing", "unknown"):
        assert resolve(laboratory, run_id, "--done", "null").wait() == 0

    printed = waiting.json()
    assert {run_id: record["output"] for run_id, record in printed["records"].items()} == {
        "made": "found made:pay-0",
        "not-made": "paid not made",
        "unknown": "None",
        "nothing": "None",
    }
    assert {run_id: len(laboratory.calls(run_id)) for run_id in runs} == {
        "made": 1,
        "not-made": 2,
        "unknown": 1,
        "nothing": 1,
    }
    assert printed["counts"]["reconcile"] == 5  # one that fails is asked `max_attempts` times
    tell("external call, reconciled", 4, 0, 0)


@pytest.mark.parametrize(
    ("place", "text", "output", "call_count"),
    [
        (("reconcile", 1), "made", "found r:pay-0", 1),
        (("reconcile", 1), "not made", "paid not made", 2),
        (("checkpoint", 1), "made", "found r:pay-0", 1),
    ],
    ids=["inside, made", "inside, not made", "after it"],
)
def test_a_kill_while_it_is_found_out_changes_nothing(
    effect_laboratory: Laboratory,
    tell: Tell,
    place: tuple[str, int],
    text: str,
    output: str,
    call_count: int,
) -> None:
    """One that dies inside `reconcile`, or before its result is recorded, makes no second call."""
    laboratory = effect_laboratory
    kill_all(laboratory, {"r": ("call", 1)}, "careful-payer", text)
    for _ in range(2):
        dying = laboratory.zygote.start(laboratory.plan("recover", "r", kill=place))
        assert dying.wait() == -signal.SIGKILL
        laboratory.wait_for_silence()
    assert laboratory.calls("r") == ["r:pay-0"]

    assert laboratory.command("resume", "r", "--json").json()["output"] == output

    assert laboratory.calls("r") == ["r:pay-0"] * call_count
    tell("external call, killed in reconcile", 0, 2, 0)


@pytest.mark.parametrize("place", ["after intent", "call", "checkpoint"])
def test_a_second_call_in_doubt_is_asked_about_again(
    effect_laboratory: Laboratory, tell: Tell, place: str
) -> None:
    """A process that dies in the call that a person ordered leaves a question, not a third call."""
    laboratory = effect_laboratory
    kill_all(laboratory, {"r": ("call", 1)}, "payer")
    dying = laboratory.zygote.start(laboratory.plan("recover", "r", kill=(place, 1)))
    wait_for_doubt(laboratory)
    assert resolve(laboratory, "r", "--retry").wait() == 0
    assert dying.wait() == -signal.SIGKILL
    laboratory.wait_for_silence()
    calls = laboratory.calls("r")

    last = laboratory.command("resume", "r", "--json")
    wait_for_doubt(laboratory)
    assert resolve(laboratory, "r", "--done", '"by hand"').wait() == 0

    assert last.json()["output"] == "by hand"
    assert laboratory.calls("r") == calls == ["r:pay-0"] * (1 if place == "after intent" else 2)
    tell("external call, killed in its second", 1, 1, 0)


BAD = {
    "unknown run": (("nobody", "2", "--retry"), 1, "Run 'nobody' does not exist."),
    "unknown step": (("r", "9", "--retry"), 1, "Step 9 of run 'r' waits for no decision."),
    "step of a model": (("r", "1", "--retry"), 1, "Step 1 of run 'r' waits for no decision."),
    "huge step": (("r", "9" * 30, "--retry"), 1, "of run 'r' waits for no decision."),
    "no number": (("r", "pay", "--retry"), 2, "Invalid value for 'step'"),
    "no option": (("r", "2"), 1, "One of --done JSON, --retry and --fail was expected."),
    "two options": (
        ("r", "2", "--retry", "--fail"),
        1,
        "One of --done JSON, --retry and --fail was expected.",
    ),
    "invalid JSON": (("r", "2", "--done", "sent"), 1, "--done 'sent' is not JSON"),
    "empty JSON": (("r", "2", "--done", ""), 1, "--done '' is not JSON"),
    "no JSON number": (("r", "2", "--done", "NaN"), 1, "--done 'NaN' is not JSON"),
    "reason alone": (("r", "2", "--retry", "--reason", "x"), 1, "--fail is missing."),
}


def test_a_bad_decision_changes_nothing(effect_laboratory: Laboratory) -> None:
    """Each wrong use of `resolve` has its exit code and its sentence, and decides nothing."""
    laboratory = effect_laboratory
    kill_all(laboratory, {"r": ("call", 1)}, "payer")
    waiting = laboratory.command("resume", "r")
    wait_for_doubt(laboratory)
    assert waiting.kill() == -signal.SIGKILL
    kept = intents(laboratory)
    for name, (words, code, sentence) in BAD.items():
        life = laboratory.command("resolve", *words)
        assert (name, life.wait()) == (name, code)
        assert sentence in life.stderr, name
        assert life.stdout == ""
    assert intents(laboratory) == kept
    assert laboratory.statuses() == {"r": "PENDING"}


def test_a_decision_is_made_once(effect_laboratory: Laboratory) -> None:
    """What is being called, what is decided and what has ended cannot be decided."""
    laboratory = effect_laboratory
    sentence = f"Step {STEP} of run 'r' waits for no decision."
    first = laboratory.command("run", "payer", "me", "--id", "r", hold_from=2)
    laboratory.wait_for_starts(2)
    assert refused(laboratory) == (1, sentence)
    assert first.kill() == -signal.SIGKILL
    laboratory.wait_for_silence()
    assert refused(laboratory) == (1, sentence)
    waiting = laboratory.command("resume", "r")
    wait_for_doubt(laboratory)
    waiting.kill()
    laboratory.wait_for_silence()
    told = laboratory.command("resolve", "r", str(STEP), "--done", ' {"a": 1} ', "--json").json()
    assert told == {"run_id": "r", "step_number": 2, "name": "payer.tool.pay", "decision": "done"}
    kept = intents(laboratory)
    assert refused(laboratory) == (1, sentence)
    record = laboratory.command("resume", "r", "--json").json()
    assert json.loads(record["output"].replace("'", '"')) == {"a": 1}
    assert refused(laboratory) == (1, sentence)
    assert intents(laboratory) == kept


def refused(laboratory: Laboratory) -> tuple[int, str]:
    """Return exit code and first sentence of a decision that comes at the wrong time."""
    life = resolve(laboratory, "r", "--retry")
    return life.wait(), life.stderr.split(" `agent-app")[0]
