"""`agent-app run twenty-questions --you-ask`: a person asks, through a pipe or at a terminal."""

import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from agent_app.agents.twenty_questions.person import guessed_thing
from agent_app.agents.twenty_questions.table import find_thing, load_table
from tests.doors.conftest import Command, Outcome

Play = Callable[..., Outcome]


@pytest.fixture
def play(agent_app: Command, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that plays with these lines on standard input."""

    def execute(lines: list[str], *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return agent_app("run", "twenty-questions", *arguments, "--you-ask")

    return execute


def test_questions_are_answered_until_the_right_guess(play: Play, agent_app: Command) -> None:
    """Each question is a run of the answerer; nothing is read after the right guess."""
    lines = ["Can it fly?", "is it a bicycle?", "guess A Potato", "Is it red?"]
    outcome = play(lines, "potato", "--id", "mine")
    assert outcome.code == 0
    assert outcome.stdout.splitlines() == [
        " 1  Can it fly?  no",
        " 2  is it a bicycle?  no",
        " 3  guess A Potato  yes",
        "You found it in 3 turns: potato (answered by: offline player, no language model).",
    ]
    assert "offline player, no language model" in outcome.stderr
    runs = [(row["run_id"], row["agent"]) for row in agent_app("list", "--json").json()]
    assert runs == [("mine:question-1", "answerer")]


def test_twenty_turns_and_no_more(play: Play) -> None:
    """The twentieth turn is the last; the thing is told."""
    texts = [question.text for question in load_table().questions]
    outcome = play(texts[:30], "potato", "--json")
    output = outcome.json()["output"]
    assert (output["found"], output["turns"]) == (False, 20)
    assert [turn["text"] for turn in output["history"]] == texts[:20]
    assert output["input_tokens"] > 0
    assert all(turn["bits"] is not None for turn in output["history"])


def test_what_cannot_be_answered_takes_no_turn(play: Play) -> None:
    """A question that the table lacks is told to be so, with the nearest one that it has."""
    outcome = play(["Would it give away much light?", "Does it have weels?", ""], "potato")
    unknown, near, end = outcome.stdout.splitlines()
    assert unknown.startswith(" 1  ")
    assert "The table has no answer to this (offline player, no language model)." in unknown
    assert near.endswith("No turn is taken. Try: Does it have wheels?")
    assert end.startswith("You stopped after 0 turns; it was: potato")


def test_without_a_secret_one_is_chosen_and_kept(play: Play, agent_app: Command) -> None:
    """A thing of the table is chosen by chance, the same one when the same game is played again."""
    first = play([], "--json", "--id", "again").json()["output"]["secret"]
    assert find_thing(first) is not None
    assert play([], "--json", "--id", "again").json()["output"]["secret"] == first
    secrets = {play([], "--json").json()["output"]["secret"] for _ in range(3)}
    assert len(secrets | {first}) > 1
    assert agent_app("list", "--json").json() == []


def test_the_same_game_again_takes_answers_from_its_checkpoints(
    play: Play, agent_app: Command
) -> None:
    """The same ID and questions attach to the same runs; another question there is refused."""
    game = ("potato", "--id", "twice")
    first = play(["Is it alive?", "Can you eat it?"], *game)
    runs = agent_app("list", "--json").json()
    assert play(["Is it alive?", "Can you eat it?"], *game) == first
    assert agent_app("list", "--json").json() == runs
    other = play(["Is it heavy?"], *game)
    assert other.code == 1
    assert "Run 'twice:question-1' exists" in other.stderr


def test_a_workflow_without_a_part_for_people_says_so(agent_app: Command) -> None:
    """--you-ask of an agent that has no such part is one clear sentence."""
    outcome = agent_app("run", "answerer", "x", "--you-ask")
    assert outcome.code == 1
    assert "it has no part that a person can take" in outcome.stderr


@pytest.mark.parametrize(
    ("line", "thing"),
    [
        ("guess potato", "potato"),
        ("Guess: the Eiffel tower!", "the Eiffel tower"),
        ("Is it a bicycle?", "a bicycle"),
        ("is it: an eiffel tower", "an eiffel tower"),
        ("Is it a tool?", None),
        ("Is it an animal", None),
        ("Is it a piece of cake that nobody knows?", None),
        ("Can you guess it?", None),
        ("guess", None),
    ],
)
def test_a_guess_is_told_from_a_question(line: str, thing: str | None) -> None:
    """A line "Is it …?" guesses where it names a thing of the table, or the secret."""
    assert guessed_thing(line, "eiffel tower") == thing


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._own, other = pty.openpty()
        command = [sys.executable, "-m", "agent_app", "run", "twenty-questions", *arguments]
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other)
        os.close(other)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read until the text is there; the end of the program is the end of the reading."""
        while text not in self.shown:
            self.shown += os.read(self._own, 4096).decode()

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._own, text.encode())

    def close(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(60)
        os.close(self._own)
        return code


def test_a_person_plays_at_a_terminal(agent_app: Command) -> None:
    """The prompt has the turn's number; Ctrl-D ends the game and tells the thing."""
    terminal = Terminal("potato", "--you-ask")
    terminal.wait_for(" 1  ")
    terminal.type("Is it alive?\n")
    terminal.wait_for(" 2  ")
    terminal.type("\x04")
    terminal.wait_for("You stopped after 1 turn; it was: potato")
    assert terminal.close() == 0
    assert "    not really" in terminal.shown


def test_ctrl_c_does_not_wait_for_a_line(agent_app: Command) -> None:
    """An interrupt while the person thinks ends the process at once, and cleanly."""
    terminal = Terminal("potato", "--you-ask")
    terminal.wait_for(" 1  ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("Stopped.")
    assert terminal.close() == 1
    assert "Fatal" not in terminal.shown
