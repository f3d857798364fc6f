"""A game told to people, line by line, while it is played."""

from agent_app.agents.twenty_questions.models import GameResult
from agent_app.agents.twenty_questions.offline import PLAYER
from agent_app.durability.events import RunEvent

_TURNS = ("questioner.tool.ask", "questioner.tool.guess")


class GameNarrator:
    """Counts the turns of one game; made anew for each run that is watched."""

    def __init__(self) -> None:
        self._numbers: dict[int | None, int] = {}

    def __call__(self, event: RunEvent) -> str | None:
        """Return the turn that has just been answered, or the end."""
        if event.kind == "run_finished" and event.error is None:
            return tell_end(GameResult.model_validate(event.value))
        if event.name not in _TURNS:
            return None
        # Numbered as they start, in call order: parallel turns end in any order.
        number = self._numbers.setdefault(event.step_number, len(self._numbers) + 1)
        if event.kind not in ("step_finished", "step_replayed"):
            return None
        text = event.subject.get("question") or f"Is it: {event.subject.get('thing')}?"
        source = "  (from its checkpoint)" if event.kind == "step_replayed" else ""
        if "result" not in event.value:
            return f"--  {text}  refused: {event.value.get('message', '')}{source}"
        return f"{number:>2}  {text}  {event.value['result']}{source}"


def tell_end(result: GameResult) -> str:
    """Return the sentence that a game ends with."""
    who = f" ({result.player})" if result.player == PLAYER else f" by {result.player}"
    if result.found:
        return f"Found in {say_turns(result.turns)}: {result.secret}{who}."
    return f"Not found in {say_turns(result.turns)}; it was: {result.secret}{who}."


def say_turns(count: int) -> str:
    """Return the number with its noun."""
    return "1 turn" if count == 1 else f"{count} turns"
