from agent_app.agents.deep_research.extract import (
    Sentence,
    choose,
    clauses,
    content_words,
    split_sentences,
    stems,
)

QUESTION = (
    "What is the best Python agent framework if I care about durable execution and type safety?"
)


def test_content_words_are_those_that_carry_meaning() -> None:
    """Question words go, names and numbers stay, each once and in order."""
    assert content_words("What is the Python agent, and which agent is C++ or GPT-5.2?") == [
        "Python",
        "agent",
        "C++",
        "GPT-5.2",
    ]


def test_clauses_part_a_question_into_what_it_asks_for() -> None:
    """A conjunction or a comma begins another search."""
    assert clauses(QUESTION) == [
        ["Python", "agent", "framework"],
        ["durable", "execution"],
        ["type", "safety"],
    ]
    assert clauses("?!") == []


def test_endings_do_not_part_words_that_belong_together() -> None:
    """A question in the singular finds a source in the plural."""
    assert stems("frameworks agent") == stems("framework agents")
    assert stems("durable") == stems("durability")
    assert stems("safety") != stems("agent")


def test_sentences_stand_in_the_text_as_they_are_returned() -> None:
    """Headings, code, tables and addresses are no sentences."""
    text = (
        "Install\n\nRun the installer and follow what it says on the screen. It takes about 3.5 "
        "minutes on most of the machines that we know. X = foo(bar) is a call of some function "
        "here {}.\n\n| a table | that | has | bars | and | ends | so. |\n\n"
        "See https://example.org/page for the whole list of the options."
    )
    sentences = split_sentences(text)
    assert sentences == [
        "Run the installer and follow what it says on the screen.",
        "It takes about 3.5 minutes on most of the machines that we know.",
    ]
    assert all(sentence in text for sentence in sentences)


def test_the_best_sentences_are_those_about_the_question() -> None:
    """What shares no word is left out, and what says the same again comes later or never."""
    durable = Sentence("a", "Durable execution lets an agent survive the crash of its process.")
    again = Sentence("b", "Durable execution lets an agent survive the crash of its machine.")
    typed = Sentence("c", "Type safety tells a developer of agents of mistakes before they run.")
    other = Sentence("d", "Bananas are rich in potassium and are eaten in many countries.")
    chosen = choose([other, again, durable, typed], QUESTION, max_count=2)
    assert {sentence.source_id for sentence in chosen} in ({"a", "c"}, {"b", "c"})
    assert other not in choose([other, again, durable, typed], QUESTION, max_count=9)


def test_one_source_is_not_all_that_is_quoted() -> None:
    """Of one source no more sentences are taken than asked for."""
    many = [
        Sentence("a", f"Agent framework number {n} has durable execution of kind {n * 7}.")
        for n in range(9)
    ]
    assert len(choose(many, QUESTION, max_count=9, max_per_source=2)) == 2
