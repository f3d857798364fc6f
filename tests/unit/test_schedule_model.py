"""The model that judges random schedules: what it lets pass, and what it must not."""

from dataclasses import replace

import pytest

from tests.crash.schedule_model import (
    LATE_S,
    LIMIT_S,
    SUCCESS,
    Action,
    Call,
    Checkpoint,
    History,
    Life,
    Passage,
    Row,
    Rows,
    Schedule,
    Try,
    find_violations,
)

BARE, DONE = Try(), Try(has_acted=True)
LOST, TIMED_OUT, REFUSED = "ConnectionError", "StepTimedOut", "ValueError"
MODEL = Passage((DONE,), (Row(1, "success"),), SUCCESS)
"""A request to the model, in the life that makes it."""
REPLAYED = replace(MODEL, tries=())


def schedule(*script: Action) -> Schedule:
    """Return one call; where lives are killed is no matter of the model's."""
    return Schedule(((Call("a", script),),))


def failures(*numbers: int) -> Rows:
    """Return rows of lost connections."""
    return tuple(Row(number, "error", LOST) for number in numbers)


def spent(*numbers: int) -> Checkpoint:
    """Return the end of a step whose tries all lost the connection."""
    return Checkpoint(LOST, tuple((number, LOST) for number in numbers))


def call(tries: tuple[Try, ...], rows: Rows, end: Checkpoint | None = None) -> Passage:
    """Return what the call did in one life and left behind."""
    return Passage(tries, rows, end)


def history(*passages: Passage, success: int = 0, error: tuple[str, int] | None = None) -> History:
    """Return lives in which the call did this; all but the last one are killed.

    `success` is the number of the try that succeeded.
    """
    lives = [
        Life({1: REPLAYED if index else MODEL, 2: passage})
        for index, passage in enumerate(passages)
    ]
    last = replace(lives[-1], is_killed=False)
    if success:
        last = replace(last, steps={**last.steps, 3: MODEL})
    results = {"a": f"a at try {success}"} if success else None
    status = "ERROR" if error else "SUCCESS"
    return History((*lives[:-1], last), status, results, error)


ALLOWED = {
    "two failures and a success": (
        schedule("lose", "lose"),
        history(call((BARE, BARE, DONE), (*failures(1, 2), Row(3, "success")), SUCCESS), success=3),
    ),
    "all tries spent": (
        schedule("lose", "lose", "lose", "lose"),
        history(call((BARE, BARE, BARE), failures(1, 2, 3), spent(1, 2, 3)), error=(LOST, 3)),
    ),
    "a final error at once": (
        schedule("refuse"),
        history(
            call((BARE,), (Row(1, "error", REFUSED),), Checkpoint(REFUSED)), error=(REFUSED, 1)
        ),
    ),
    "a time limit that struck before the body knew what to do": (
        schedule("succeed", "hang"),
        history(
            call(
                (Try(has_begun=False), BARE, DONE),
                (Row(1, "error", TIMED_OUT), Row(2, "error", TIMED_OUT), Row(3, "success")),
                SUCCESS,
            ),
            success=3,
        ),
    ),
    "failures of an earlier life count": (
        schedule("lose", "lose", "lose"),
        history(
            call((BARE, BARE), failures(1, 2)),
            call((BARE,), failures(1, 2, 3), spent(1, 2, 3)),
            error=(LOST, 3),
        ),
    ),
    "what the ledger had not written yet is forgotten, and its numbers used again": (
        schedule("lose", "lose", "lose", "lose"),
        history(
            call((BARE, BARE, BARE), failures(1)),
            call((BARE, DONE), (*failures(1, 2), Row(3, "success")), SUCCESS),
            success=5,
        ),
    ),
    "an attempt that a kill cut short is lost and does not count": (
        schedule("lose", "slow", "lose", "lose"),
        history(
            call((BARE, BARE), (*failures(1), Row(2))),
            call(
                (BARE, BARE),
                (*failures(1), Row(2, "lost"), *failures(3, 4)),
                spent(1, 3, 4),
            ),
            error=(LOST, 3),
        ),
    ),
    "a row before anything was seen of its try": (
        schedule(),
        history(
            call((), (Row(1),)),
            call((DONE,), (Row(1, "lost"), Row(2, "success")), SUCCESS),
            success=1,
        ),
    ),
    "one more try where the last failure is known and its checkpoint lost": (
        schedule("lose", "lose", "lose"),
        history(
            call((BARE, BARE, BARE), failures(1, 2, 3)),
            call((DONE,), (*failures(1, 2, 3), Row(4, "success")), SUCCESS),
            success=4,
        ),
    ),
    "a success whose checkpoint a kill lost": (
        schedule("succeed", "refuse"),
        history(
            call((DONE,), (Row(1, "success"),)),
            call((BARE,), (Row(1, "success"), Row(2, "error", REFUSED)), Checkpoint(REFUSED)),
            error=(REFUSED, 1),
        ),
    ),
    "a complete step whose row was not closed": (
        schedule(),
        history(call((DONE,), (Row(1),), SUCCESS), call((), (Row(1),), SUCCESS), success=1),
    ),
}

WRONG = {
    "a complete step is executed again": (
        schedule(),
        history(
            call((DONE,), (Row(1, "success"),), SUCCESS),
            call((DONE,), (Row(1, "success"),), SUCCESS),
            success=2,
        ),
        "life 2, step 2 (a): it was complete and was executed again",
    ),
    "a complete step gets another row": (
        schedule(),
        history(
            call((DONE,), (Row(1, "success"),), SUCCESS),
            call((), (Row(1, "success"), Row(2)), SUCCESS),
            success=1,
        ),
        "it was complete, yet",
    ),
    "a number is left out": (
        schedule("lose"),
        history(call((BARE, DONE), (Row(1, "error", LOST), Row(3, "success")), SUCCESS), success=2),
        "step 2: numbers are missing",
    ),
    "numbers begin anew in the next life": (
        schedule("lose", "slow"),
        history(
            call((BARE, BARE), failures(1)), call((DONE,), (Row(1, "success"),), SUCCESS), success=3
        ),
        "the ledger has (Row(number=1, outcome='success'",
    ),
    "two successes in one life": (
        schedule(),
        history(call((DONE, DONE), (Row(1, "success"), Row(2, "success")), SUCCESS), success=2),
        "a try followed though Row(number=1, outcome='success'",
    ),
    "more successes than lives": (
        schedule(),
        history(call((DONE,), (Row(1, "success"), Row(2, "success")), SUCCESS), success=1),
        "step 2: more successes than lives",
    ),
    "a fourth failure": (
        schedule("lose", "lose", "lose", "lose"),
        history(
            call(
                (BARE,) * 4,
                failures(1, 2, 3, 4),
                spent(1, 2, 3, 4),
            ),
            error=(LOST, 4),
        ),
        "a try followed though Row(number=3, outcome='error'",
    ),
    "a kill gives all tries back": (
        schedule("lose", "lose", "lose", "lose"),
        history(
            call((BARE, BARE), failures(1, 2)),
            call(
                (BARE, BARE),
                failures(1, 2, 3, 4),
                spent(1, 2, 3, 4),
            ),
            error=(LOST, 4),
        ),
        "a try followed though Row(number=3, outcome='error'",
    ),
    "more failures than tries and kills": (
        schedule("lose", "lose", "lose", "lose"),
        history(call((BARE,) * 3, failures(1, 2, 3, 4), spent(1, 2, 3)), error=(LOST, 3)),
        "step 2: more failures than tries and kills",
    ),
    "it gives up too early": (
        schedule("lose", "lose", "lose"),
        history(
            call((BARE, BARE), failures(1, 2), spent(1, 2)),
            error=(LOST, 2),
        ),
        "its checkpoint is Checkpoint(error_type='ConnectionError'",
    ),
    "another final error": (
        schedule("lose", "lose", "hang"),
        history(
            call(
                (BARE, BARE, BARE),
                (*failures(1, 2), Row(3, "error", TIMED_OUT)),
                spent(1, 2, 3),
            ),
            error=(LOST, 3),
        ),
        "allowed: Checkpoint(error_type='StepTimedOut'",
    ),
    "the error names too few attempts": (
        schedule("lose", "lose", "lose"),
        history(call((BARE,) * 3, failures(1, 2, 3), Checkpoint(LOST)), error=(LOST, 1)),
        "its checkpoint is Checkpoint(error_type='ConnectionError', attempts=())",
    ),
    "the ledger has another error": (
        schedule("lose"),
        history(
            call((BARE, DONE), (Row(1, "error", REFUSED), Row(2, "success")), SUCCESS), success=2
        ),
        "the ledger has (Row(number=1, outcome='error', error_type='ValueError')",
    ),
    "a row is still open at the end": (
        schedule(),
        history(call((DONE,), (Row(1),), SUCCESS), success=1),
        "the ledger has (Row(number=1, outcome=None, error_type=None),)",
    ),
    "what was cut short is not closed": (
        schedule("slow"),
        history(
            call((BARE,), (Row(1),)), call((DONE,), (Row(1), Row(2, "success")), SUCCESS), success=2
        ),
        "the ledger has (Row(number=1, outcome=None, error_type=None), Row(number=2",
    ),
    "more lost attempts than kills": (
        schedule(),
        history(call((DONE,), (Row(1, "lost"), Row(2, "success")), SUCCESS), success=1),
        "step 2: more lost attempts than kills",
    ),
    "a success without its effect": (
        schedule(),
        history(call((BARE,), (Row(1, "success"),), SUCCESS), success=1),
        "it succeeded without its effect",
    ),
    "an effect after the time limit": (
        schedule("hang"),
        history(
            call((DONE, DONE), (Row(1, "error", TIMED_OUT), Row(2, "success")), SUCCESS), success=2
        ),
        "try 1 had an effect though it was to hang",
    ),
    "a checkpoint without a try": (
        schedule(),
        history(call((), (), SUCCESS), success=0),
        "its checkpoint is Checkpoint(error_type=None, attempts=()); allowed: None",
    ),
    "a run that ends without a checkpoint": (
        schedule("lose"),
        history(call((BARE, DONE), (*failures(1), Row(2, "success"))), success=2),
        "the run ended without its checkpoint",
    ),
    "a run that ends before its step": (
        schedule(),
        history(Passage()),
        "the run ended before steps [2] had",
    ),
    "a run with the result of another try": (
        schedule("lose"),
        history(call((BARE, DONE), (*failures(1), Row(2, "success")), SUCCESS), success=1),
        "expected: ('SUCCESS', {'a': 'a at try 2'}, None)",
    ),
    "a run that fails though its steps succeeded": (
        schedule(),
        history(call((DONE,), (Row(1, "success"),), SUCCESS), error=(LOST, 1)),
        "the run ended with ('ERROR', None, ('ConnectionError', 1))",
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_history_that_may_be_is_let_pass(name: str) -> None:
    """What a kill leaves open is open in the model too."""
    assert find_violations(*ALLOWED[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_history_that_must_not_be_is_rejected(name: str) -> None:
    """Each wrong history is found, and the text says what is wrong with it."""
    wrong_schedule, wrong_history, text = WRONG[name]
    assert any(text in violation for violation in find_violations(wrong_schedule, wrong_history))


@pytest.mark.parametrize(("age_s", "is_allowed"), [(LATE_S / 2, True), (LATE_S * 2, False)])
def test_a_row_may_be_late_by_a_moment_only(age_s: float, is_allowed: bool) -> None:
    """A killed life may lack the rows of its last moments, and none that are older."""
    first = call((Try(at=0.0), Try(at=LIMIT_S)), ())
    seen = history(first, call((BARE, DONE), (*failures(1), Row(2, "success")), SUCCESS), success=4)
    killed = replace(seen.lives[0], last_sign_at=LIMIT_S + age_s)
    found = find_violations(
        schedule("lose", "slow", "lose"), replace(seen, lives=(killed, seen.lives[1]))
    )
    assert (found == []) == is_allowed


def test_rows_are_written_in_order() -> None:
    """Where a later step has its row, an earlier one lacks none, however short ago it was."""
    first = Life({1: MODEL, 2: Passage((DONE,), (), SUCCESS), 3: Passage((DONE,), (Row(1),))})
    last = Life(
        {
            1: REPLAYED,
            2: Passage((), (), SUCCESS),
            3: Passage((DONE,), (Row(1, "lost"), Row(2, "success")), SUCCESS),
        },
        is_killed=False,
    )
    found = find_violations(schedule(), History((first, last), "SUCCESS", {"a": "a at try 1"}))
    assert len(found) == 1
    assert "life 1, step 2 (a): the ledger has ()" in found[0]


def test_a_step_begins_after_those_before_it() -> None:
    """A call that is made before the model has answered is found."""
    first = Life({2: Passage((DONE,), ())})
    last = Life({1: MODEL, 2: MODEL, 3: MODEL}, is_killed=False)
    found = find_violations(schedule(), History((first, last), "SUCCESS", {"a": "a at try 2"}))
    assert found == ["life 1, step 2 (a): it began before an earlier step had succeeded"]


@pytest.mark.parametrize(("error", "is_allowed"), [(REFUSED, True), (LOST, False)])
def test_the_first_call_gives_the_run_its_error(error: str, is_allowed: bool) -> None:
    """Of several parallel calls that fail, the first in the model's answer counts."""
    parallel = Schedule(((Call("a", ("refuse",)), Call("b", ("lose",) * 3)),))
    refused = Passage((BARE,), (Row(1, "error", REFUSED),), Checkpoint(REFUSED))
    life = Life(
        {1: MODEL, 2: refused, 3: call((BARE,) * 3, failures(1, 2, 3), spent(1, 2, 3))}, False
    )
    seen = History((life,), "ERROR", None, (error, 1 if error == REFUSED else 3))
    assert (find_violations(parallel, seen) == []) == is_allowed
