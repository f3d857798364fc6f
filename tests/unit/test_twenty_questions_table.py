import itertools
import time
from collections import Counter

import pytest

from agent_app.agents.twenty_questions.table import (
    Answer,
    Table,
    Thing,
    find_question,
    find_thing,
    load_table,
    nearest_things,
    parse_table,
)

SMALL = """
# a remark
[questions]
alive  Is it alive? | Is it a living thing?
metal  Is it made of metal?
[kinds]
beast
    y alive
    x metal
statue : beast
    n alive
[things]
dog | hound : beast
cat : beast
    k metal
knight : beast statue
    r metal
hammer
    y metal
"""


@pytest.fixture(scope="module")
def table() -> Table:
    """Return the shipped table."""
    return load_table()


def thing(text: str) -> Thing:
    """Return the thing, which must be known."""
    found = find_thing(text)
    assert found is not None
    return found


def test_answers_are_the_five_of_the_game() -> None:
    """The five answers carry exactly the words that the game shows."""
    assert [answer.value for answer in Answer] == [
        "yes",
        "kind of",
        "not really",
        "no",
        "complete wrong",
    ]


def test_table_is_large_and_complete(table: Table) -> None:
    """There are enough things and questions, and every thing answers every question."""
    keys = {question.key for question in table.questions}
    assert len(table.things) >= 200
    assert len(keys) == len(table.questions) >= 60
    assert all(thing.answers.keys() == keys for thing in table.things)


def test_every_answer_is_used(table: Table) -> None:
    """None of the five answers is an ornament."""
    used = Counter(answer for thing in table.things for answer in thing.answers.values())
    assert min(used[answer] for answer in Answer) >= 100


@pytest.mark.parametrize("name", ["potato", "man", "woman", "child", "bicycle", "house"])
def test_well_known_secrets_are_known(name: str) -> None:
    """The secrets that people try first are in the table under their own names."""
    assert thing(name).name == name


def test_every_pair_differs_plainly_in_two_questions(table: Table) -> None:
    """One wrong answer alone never makes two things the same."""
    sides = {
        thing.name: {key for key, answer in thing.answers.items() if answer.leans_yes}
        for thing in table.things
    }
    close = [
        (one, other)
        for one, other in itertools.combinations(sides, 2)
        if len(sides[one] ^ sides[other]) < 2
    ]
    assert close == []


def test_every_question_divides_the_things(table: Table) -> None:
    """No question has one answer for all things but one."""
    for question in table.questions:
        counts = Counter(thing.answers[question.key] for thing in table.things)
        assert max(counts.values()) < len(table.things) - 1, question.key


def test_questions_are_english_sentences(table: Table) -> None:
    """Every wording begins like a question, ends in a question mark and stands once."""
    wordings = [
        text for question in table.questions for text in (question.text, *question.other_wordings)
    ]
    beginnings = {"Is", "Are", "Does", "Do", "Did", "Can", "Would"}
    assert len(set(wordings)) == len(wordings)
    for text in wordings:
        assert text.endswith("?")
        assert text.count("?") == 1
        assert text.split()[0] in beginnings


def test_every_wording_finds_its_own_question(table: Table) -> None:
    """No wording is mistaken for that of another question."""
    for question in table.questions:
        for text in (question.text, *question.other_wordings):
            assert find_question(text) is question


def test_every_name_finds_its_own_thing(table: Table) -> None:
    """Names and variants are unique over all things, plurals included."""
    for expected in table.things:
        for name in (expected.name, *expected.variants):
            assert find_thing(name) is expected
            assert find_thing(f"  The {name.upper()}! ") is expected


def test_every_thing_has_a_variant(table: Table) -> None:
    """No thing is known under a single name."""
    assert [thing.name for thing in table.things if not thing.variants] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A potato!", "potato"),
        ("potatoes", "potato"),
        ("the  Aeroplane", "airplane"),
        ("T-shirt", "shirt"),
        ("tshirts", "shirt"),
        ("cherries", "cherry"),
        ("buses", "bus"),
        ("an umbrella.", "umbrella"),
        ("children", "child"),
        ("scissor", "scissors"),
        ("glass", "drinking glass"),
        ("glasses", "glasses"),
        ("hot air balloon", "hot-air balloon"),
    ],
)
def test_find_thing_reads_what_people_type(text: str, name: str) -> None:
    """Case, articles, plurals, punctuation, spaces and variants do not matter."""
    assert thing(text).name == name


@pytest.mark.parametrize("text", ["quasar", "", "  ", "!?", "the", "big red potato"])
def test_find_thing_refuses_what_it_does_not_know(text: str) -> None:
    """An unknown thing is None, never the nearest one."""
    assert find_thing(text) is None


def test_nearest_things_helps_after_a_slip() -> None:
    """The misspelt thing comes first, or the one that is named among other words."""
    assert nearest_things("bycicle")[0] == "bicycle"
    assert nearest_things("my old potato")[0] == "potato"


@pytest.mark.parametrize("text", ["bycicle", "quasar", "", "a potato in a house"])
def test_nearest_things_gives_as_many_as_asked(text: str) -> None:
    """There are always `count` different names to offer."""
    assert len(set(nearest_things(text))) == 3
    assert len(set(nearest_things(text, count=5))) == 5


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("is this thing alive", "alive"),
        ("IS  IT ALIVE ?!", "alive"),
        ("Is the object dangerus?", "danger"),
        ("Can people eat it?", "edible"),
        ("Is it usually made of metal?", "metal"),
        ("Does this thing have a tail?", "tail"),
        ("Is it found in kitchens?", "kitchen"),
    ],
)
def test_find_question_reads_other_words(text: str, key: str) -> None:
    """A model's own wording of a known question is recognised."""
    question = find_question(text)
    assert question is not None
    assert question.key == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "Is it?",
        "Is it not alive?",
        "Isn't it alive?",
        "Was it ever alive?",
        "Can it eat you?",
        "Is it bigger than a cat?",
        "Is a car bigger than it?",
        "Is it alive and green?",
        "Is it invisible?",
        "Would it fit in a bread box?",
    ],
)
def test_find_question_is_unsure_rather_than_wrong(text: str) -> None:
    """A denied, turned, joined or unknown question is None."""
    assert find_question(text) is None


def test_kinds_apply_from_left_to_right_and_own_lines_last() -> None:
    """A later kind overrides an earlier one, and a thing's own line overrides its kinds."""
    small = parse_table(SMALL)
    letters = {thing.name: tuple(thing.answers.values()) for thing in small.things}
    assert letters == {
        "dog": (Answer.YES, Answer.COMPLETE_WRONG),
        "cat": (Answer.YES, Answer.KIND_OF),
        "knight": (Answer.NO, Answer.NOT_REALLY),
        "hammer": (Answer.NO, Answer.YES),
    }


def test_lookups_search_the_table_that_they_are_given() -> None:
    """A table of one's own is searched in place of the shipped one."""
    small = parse_table(SMALL)
    assert find_thing("the hounds", table=small) is small.things[0]
    assert find_thing("potato", table=small) is None
    assert find_question("Does it have a tail?", table=small) is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[kinds]", "[sorts]", "Section 'sorts' is unknown"),
        ("cat : beast", "cat : ghost", "'cat' builds on kind 'ghost'"),
        ("k metal", "k mettle", "'cat' sets k mettle"),
        ("k metal", "q metal", "'cat' sets q metal"),
        ("k metal", "k metal metal", "key 'metal' stands twice"),
        ("cat : beast", "Hound : beast", "Thing 'hound' stands twice"),
        ("metal  Is", "alive  Is", "Question 'alive' stands twice"),
        ("statue : beast", "beast", "Kind 'beast' stands twice"),
        ("beast\n    y alive", "    y alive", "'    y alive' belongs to nothing"),
    ],
)
def test_a_broken_file_is_refused(old: str, new: str, complaint: str) -> None:
    """A slip in the file is reported with the word that is wrong."""
    with pytest.raises(ValueError, match=complaint):
        parse_table(SMALL.replace(old, new))


def test_loading_is_fast_and_done_once() -> None:
    """Reading the whole file takes well under a second; afterwards it costs nothing."""
    started_at = time.perf_counter()
    load_table.cache_clear()
    first = load_table()
    assert time.perf_counter() - started_at < 0.5
    assert load_table() is first
