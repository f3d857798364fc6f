"""The lines that tell a game."""

from typing import Any

from agent_app.agents.twenty_questions.narrator import GameNarrator
from agent_app.durability.events import Kind, RunEvent


def event(kind: Kind, step_number: int, value: Any = None, tool: str = "ask") -> RunEvent:
    """Return an event of a turn, whose text is the step's number."""
    subject = {"question" if tool == "ask" else "thing": f"thing {step_number}"}
    name = f"questioner.tool.{tool}"
    return RunEvent(kind, "run", "questioner", step_number, name=name, subject=subject, value=value)


def test_parallel_turns_are_numbered_in_call_order() -> None:
    """Of two turns at once the one that ends first keeps the number that it was called with."""
    tell = GameNarrator()
    assert [tell(event("step_started", number)) for number in (3, 4)] == [None, None]
    assert tell(event("step_finished", 4, {"result": "no"})) == " 2  thing 4  no"
    assert tell(event("step_finished", 3, {"result": "yes"})) == " 1  thing 3  yes"
    guess = event("step_replayed", 6, {"result": "yes"}, tool="guess")
    assert tell(guess) == " 3  Is it: thing 6?  yes  (from its checkpoint)"


def test_a_refused_call_has_no_number() -> None:
    """What the tool refused is told as such, and the turns of others go on counting."""
    tell = GameNarrator()
    line = tell(event("step_finished", 2, {"kind": "tool_failed", "message": "It is over."}))
    assert line == "--  thing 2  refused: It is over."


def test_other_steps_are_not_told() -> None:
    """A model's step, or another workflow's, is no turn."""
    tell = GameNarrator()
    assert tell(RunEvent("step_finished", "run", "questioner", 1, name="questioner.model")) is None
