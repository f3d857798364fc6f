import math
import random
import statistics
import time
from collections.abc import Callable

import pytest

from agent_app.agents.twenty_questions.player import (
    MAX_TURNS,
    Turn,
    information_gained,
    next_turn,
)
from agent_app.agents.twenty_questions.table import (
    Answer,
    Table,
    Thing,
    find_question,
    find_thing,
    load_table,
    parse_table,
)

Answerer = Callable[[Thing, str], Answer]


@pytest.fixture(scope="module")
def table() -> Table:
    """Return the shipped table."""
    return load_table()


def truth(secret: Thing, question: str) -> Answer:
    """Answer as the table does."""
    found = find_question(question)
    assert found is not None
    return secret.answers[found.key]


def answerer_with_noise(share: float, *, seed: int) -> Answerer:
    """Return one who replaces this share of the answers by any other."""
    chance = random.Random(seed)

    def answer(secret: Thing, question: str) -> Answer:
        right = truth(secret, question)
        if chance.random() >= share:
            return right
        return chance.choice([other for other in Answer if other != right])

    return answer


def answerer_wrong_at(turn_number: int) -> Answerer:
    """Return one who answers one question with the opposite."""
    questions: list[str] = []

    def answer(secret: Thing, question: str) -> Answer:
        questions.append(question)
        right = truth(secret, question)
        if len(questions) != turn_number:
            return right
        return Answer.NO if right.leans_yes else Answer.YES

    return answer


def play(table: Table, secret: Thing, answer: Answerer = truth, *, seed: int = 0) -> list[Turn]:
    """Return the turns of a game, which ends with the right guess or the last turn."""
    history: list[Turn] = []
    while len(history) < MAX_TURNS:
        turn = next_turn(table, history, seed=seed)
        if turn.kind == "question":
            history.append(Turn(turn.kind, turn.text, answer(secret, turn.text)))
            continue
        is_right = turn.text == secret.name
        history.append(Turn(turn.kind, turn.text, Answer.YES if is_right else Answer.NO))
        if is_right:
            break
    return history


def is_found(history: list[Turn]) -> bool:
    """Tell whether the game was won."""
    return history[-1].kind == "guess" and history[-1].answer == Answer.YES


def named(name: str) -> Thing:
    """Return the thing, which must be known."""
    found = find_thing(name)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def true_games(table: Table) -> dict[str, list[Turn]]:
    """Play one game about every thing, answered as the table does."""
    return {secret.name: play(table, secret) for secret in table.things}


def test_every_thing_is_found_by_true_answers(true_games: dict[str, list[Turn]]) -> None:
    """No thing of the table outlasts twenty turns."""
    assert [name for name, turns in true_games.items() if not is_found(turns)] == []


def test_true_games_are_short(table: Table, true_games: dict[str, list[Turn]]) -> None:
    """On average a game takes about as many turns as halving the things would."""
    mean = statistics.mean(len(turns) for turns in true_games.values())
    assert mean <= math.log2(len(table.things))


def test_nothing_is_asked_or_guessed_twice(table: Table) -> None:
    """A game against nonsense uses all its turns, each for something new, the last for a guess."""
    nonsense = random.Random(5)
    scale = list(Answer)
    for secret in random.Random(6).sample(table.things, 25):
        turns = play(table, secret, lambda _secret, _question: nonsense.choice(scale))
        texts = [(turn.kind, turn.text) for turn in turns]
        assert len(set(texts)) == len(texts)
        assert turns[-1].kind == "guess"
        assert len(turns) == MAX_TURNS or is_found(turns)


def test_one_answer_in_twenty_may_be_wrong(table: Table) -> None:
    """With 5 % wrong answers at least 97 % of the games are still won."""
    answer = answerer_with_noise(0.05, seed=1)
    games = [play(table, secret, answer) for secret in table.things]
    assert statistics.mean(is_found(turns) for turns in games) >= 0.97


def test_asking_well_beats_asking_at_random(
    table: Table, true_games: dict[str, list[Turn]]
) -> None:
    """Random questions, read by the same player, need clearly more turns."""
    chance = random.Random(2)
    sample = chance.sample(table.things, 40)
    lengths = []
    for secret in sample:
        questions = chance.sample(table.questions, 18)
        history = [Turn("question", asked.text, secret.answers[asked.key]) for asked in questions]
        needed = next(
            count
            for count in range(len(history) + 1)
            if count == len(history)
            or next_turn(table, history[:count]) == Turn("guess", secret.name)
        )
        lengths.append(needed + 1)
    well = statistics.mean(len(true_games[secret.name]) for secret in sample)
    assert statistics.mean(lengths) > well + 2


@pytest.mark.parametrize("wrong_turn", [1, 2, 3])
@pytest.mark.parametrize("name", ["potato", "bicycle", "house", "woman"])
def test_an_early_wrong_answer_is_outlived(table: Table, name: str, wrong_turn: int) -> None:
    """One plainly wrong answer at the start costs turns, not the game."""
    assert is_found(play(table, named(name), answerer_wrong_at(wrong_turn)))


def test_same_arguments_give_the_same_turn(table: Table) -> None:
    """Two games about the same thing are the same game, with a seed too."""
    secret = named("potato")
    assert play(table, secret) == play(table, secret)
    assert play(table, secret, seed=7) == play(table, secret, seed=7)


TWINS = """
[questions]
big    Is it big?
large  Is it large?
red    Is it red?
[things]
""" + "\n".join(
    f"thing {number}\n{answers}"
    for number, answers in enumerate(
        ["", "    y big large", "    y red", "    y big large red"] * 8
    )
)


def test_a_seed_decides_between_equals_only() -> None:
    """Among equally good questions the first is taken, or with a seed any of them."""
    twins = parse_table(TWINS)
    assert next_turn(twins, []).text == "Is it big?"
    chosen = {next_turn(twins, [], seed=seed).text for seed in range(1, 40)}
    assert chosen == {"Is it big?", "Is it large?", "Is it red?"}
    red = [Turn("question", question.text, Answer.YES) for question in twins.questions[2:]]
    chosen = {next_turn(twins, red, seed=seed).text for seed in range(1, 40)}
    assert chosen == {"Is it big?", "Is it large?"}


def test_the_last_turn_is_a_guess(table: Table) -> None:
    """After nineteen turns that told nothing, the player guesses all the same."""
    history = [Turn("question", f"Is it number {count}?", Answer.NO) for count in range(19)]
    assert next_turn(table, history[:18]).kind == "question"
    assert next_turn(table, history).kind == "guess"
    assert next_turn(table, [*history, history[0]]).kind == "guess"


def test_unknown_questions_tell_nothing(table: Table) -> None:
    """A question that the table lacks, or one without an answer, changes no probability."""
    stray = Turn("question", "Is it bigger than a breadbox?", Answer.YES)
    unanswered = Turn("question", "Is it alive?", None)
    unknown_guess = Turn("guess", "quasar", Answer.NO)
    assert information_gained(table, [stray, unanswered, unknown_guess]) == [0.0, 0.0, 0.0]
    assert next_turn(table, [stray]) == next_turn(table, [])


def test_another_wording_counts_as_asked(table: Table) -> None:
    """A question asked in other words is not asked again, and its answer counts."""
    first = next_turn(table, [])
    reworded = Turn("question", first.text.upper().rstrip("?"), Answer.YES)
    exact = Turn("question", first.text, Answer.YES)
    assert next_turn(table, [reworded]) == next_turn(table, [exact])
    assert next_turn(table, [reworded]).text != first.text


def test_information_adds_up_to_the_secret(table: Table) -> None:
    """The bits of a won game sum to the logarithm of the number of things."""
    gained = information_gained(table, play(table, named("bicycle")))
    assert sum(gained) == pytest.approx(math.log2(len(table.things)))
    assert information_gained(table, []) == []


def test_a_wrong_answer_can_lose_information(table: Table) -> None:
    """An answer against what was nearly known makes it less known."""
    history = play(table, named("potato"))[:-1]
    surprise = Turn("question", "Can you eat it?", Answer.COMPLETE_WRONG)
    assert information_gained(table, [*history, surprise])[-1] < 0


def test_a_finished_game_has_no_next_turn(table: Table) -> None:
    """A history with its right guess is refused, and so is one in which all was guessed."""
    with pytest.raises(ValueError, match="The game is over"):
        next_turn(table, [Turn("guess", "a potato", Answer.YES)])
    twins = parse_table(TWINS)
    with pytest.raises(ValueError, match="The game is over"):
        next_turn(twins, [Turn("guess", thing.name, Answer.NO) for thing in twins.things])


def test_a_turn_is_chosen_in_milliseconds(table: Table) -> None:
    """A whole history is read anew for each turn, which stays unnoticeable."""
    history = [
        Turn("question", question.text, Answer.KIND_OF)
        for question in table.questions[: MAX_TURNS - 2]
    ]
    next_turn(table, history)
    started_at = time.perf_counter()
    for _ in range(10):
        next_turn(table, history)
    assert (time.perf_counter() - started_at) / 10 < 0.05
