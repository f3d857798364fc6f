"""Quotes are found where they stand, however they are spelled, and nowhere else; numbers too."""

# ruff: noqa: RUF001 - signs that look alike are what is tested

import re
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent_app.sources.quotes import (
    Span,
    find_quote,
    fold,
    is_too_short,
    nearest_passage,
    unsupported_numbers,
)

TEXT = (
    "Results\n\nThe “new” drug was not safe for adults, the authors wrote in 2021. It lowered "
    "blood pressure by 12.5 mmHg – the ﬁrst such re-\nsult in a well-known trial of 1,204 "
    "pa\u00adtients.\n\nNobody was able to repeat it. They can’t explain the company's "
    "long-\nterm plan at −50 °C."
)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzéü", min_size=1, max_size=9)
TOKENS = st.lists(
    st.one_of(
        WORDS,
        st.builds("{}-{}".format, WORDS, WORDS),
        st.builds("{}’s".format, WORDS),
        st.builds("“{}”,".format, WORDS),
        st.integers(0, 99_999).map(str),
        st.sampled_from(["–", "a/b", "not", "ﬁnal", "5%", "x²", "…", "(n", "cooper\u00adate"]),
    ),
    min_size=8,
    max_size=40,
)
GAPS = st.sampled_from([" ", "\n", "  ", "\n\n", "\u00a0", "\t", " \u200b"])


def mangled(words: str, draw: st.DataObject) -> str:
    """Return the words as a model or another reader could have copied them."""
    changes = [
        ("’", "'"), ("“", '"'), ("”", "'"), ("–", "-"), ("ﬁ", "fi"), ("\u00ad", ""),
        ("\u00a0", " "), ("é", "e\u0301"), ("\u200b", ""),
    ]  # fmt: skip
    for sign, other in changes:
        if draw.draw(st.booleans()):
            words = words.replace(sign, other)
    words = re.sub(r"\s+", lambda _: draw.draw(GAPS), words)
    cut = draw.draw(st.integers(1, max(len(words) - 1, 1)))
    if words[cut - 1 : cut].isalpha() and words[cut : cut + 1].isalpha():
        sign = draw.draw(st.sampled_from(["-\n", "\u00ad", "\u200b", ""]))
        words = words[:cut] + sign + words[cut:]
    return words


@settings(deadline=None)
@given(TOKENS, st.data())
def test_every_slice_is_found_at_its_place(tokens: list[str], draw: st.DataObject) -> None:
    """Words of a text, in any spelling, are found; what is found is as long as they are."""
    text = "".join(token + draw.draw(GAPS) for token in tokens)
    pieces = [m.span() for m in re.finditer(r"[^\s\u200b]+", text)]
    first = draw.draw(st.integers(0, len(pieces) - 3))
    last = draw.draw(st.integers(first + 2, len(pieces) - 1))
    words = text[pieces[first][0] : pieces[last][1]]
    assume(words[0].isalnum() and words[-1].isalnum() and not is_too_short(words))
    span = find_quote(text, mangled(words, draw))
    assert span is not None
    assert fold(text[span.start : span.stop]).text == fold(words).text
    assert span.start <= pieces[first][0]


@settings(deadline=None)
@given(TOKENS, st.data())
def test_changed_words_are_not_found(tokens: list[str], draw: st.DataObject) -> None:
    """A word that is changed, left out or put in, and a digit that is changed, is noticed."""
    text = " ".join(tokens)
    place = draw.draw(st.integers(1, len(tokens) - 2))
    change = draw.draw(st.sampled_from(["replace", "drop", "insert", "digit"]))
    others = list(tokens)
    if change == "replace":
        others[place] = draw.draw(WORDS)
    elif change == "drop":
        del others[place]
    elif change == "insert":
        others.insert(place, draw.draw(st.sampled_from(["not", "no", "never", "7"])))
    else:
        others[place] = str(draw.draw(st.integers(0, 99_999)))
    words = " ".join(others)
    plain, other = (re.sub(r"[^\w²]+", "", unicodedata.normalize("NFC", t)) for t in (text, words))
    assume(other not in plain and "…" not in words)
    assert find_quote(text, words) is None


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ('The "new" drug was not safe', "The “new” drug was not safe"),
        ("the 'new' drug was NOT safe", None),
        ("the 'new' drug was not safe", "The “new” drug was not safe"),
        ("drug was safe for adults", None),
        ("drug was not safe for adults.", "drug was not safe for adults"),
        ('"drug was not safe for adults..."', "drug was not safe for adults"),
        ("first such result in a well-known trial", "ﬁrst such re-\nsult in a well-known trial"),
        ("the first such re-sult in a", "the ﬁrst such re-\nsult in a"),
        ("result in a wellknown trial of", None),
        ("long-term plan at −50 °C", "long-\nterm plan at −50 °C"),
        ("longterm plan at -50 °C", "long-\nterm plan at −50 °C"),
        ("trial of 1,204 patients", "trial of 1,204 pa\u00adtients"),
        ("trial of 1,205 patients", None),
        ("trial of 1204 patients", None),
        ("204 patients. Nobody was able to", None),
        ("5 mmHg - the first such", None),
        ("pressure by 12.5 mmHg", "pressure by 12.5 mmHg"),
        ("lowered blood pressure by 12", None),
        ("body was able to repeat it", None),
        ("Nobody was able to rep", None),
        ("to repeat it. They can", None),
        ("They can't explain the company", "They can’t explain the company"),
        ("50 °C", None),
        ("lowered blood pressure by 12.5 mmHg –", "lowered blood pressure by 12.5 mmHg –"),
        ("The “new” drug … the authors wrote in 2021", None),
        ("It lowered blood pressure … a well-known trial", "It lowered blood pressure by 12.5 "
         "mmHg – the ﬁrst such re-\nsult in a well-known trial"),
        ("It lowered blood pressure [...] a well-known trial.", "It lowered blood pressure by 12.5 "
         "mmHg – the ﬁrst such re-\nsult in a well-known trial"),
        ("a well-known trial … It lowered blood pressure", None),
        ("The new drug was … safe for adults, the authors", None),
        ("“new” drug was … for adults, the authors", None),
        ("It … trial", None),
        ("Results The “new” drug", "Results\n\nThe “new” drug"),
        ("in 2021", None),
        ("", None),
        ("…", None),
        (" . , \n", None),
        ("not safe for", None),
    ],
)  # fmt: skip
def test_quote(words: str, found: str | None) -> None:
    """Spelling does not matter, meaning does; ends are whole words and numbers."""
    span = find_quote(TEXT, words)
    assert (TEXT[span.start : span.stop] if span else None) == found


def test_elision_is_near() -> None:
    """Parts of a quote may not be gathered from all over a text."""
    for filling, is_found in (("so " * 90, True), ("so " * 110, False)):
        text = f"The first part of this {filling}and here is the second part."
        quote = "The first part of this … here is the second part"
        assert (find_quote(text, quote) is not None) == is_found


def test_the_nearest_parts_of_an_elision_are_found() -> None:
    """A part that stands in several places counts where the next one follows."""
    text = f"we measured the height. {'so ' * 200} we measured the height, then the weight of it."
    quote = "we measured the height … the weight of it"
    assert find_quote(text, quote) == Span(text.rindex("we measured"), len(text) - 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The area is 10² metres wide", "The area is 102 metres wide"),
        ("About 1½ cups of sugar", "About 11/2 cups of sugar"),
        ("They re-sign the contract today", "They resign the contract today"),
        ("The pipe is 5″ wide at the end", "The pipe is 5' wide at the end"),
        ("It was at 2.50 percent of it", "50 percent of it was"),
        ("It was -50 percent of all", "50 percent of all"),
        ("COVID-19 cases rose in May", "19 cases rose in May"),
        ("There were 5–10 percent more of them", "10 percent more of them"),
        ("About 1/20 of all the people", "20 of all the people"),
        ("The price of it grew by 50 % then", "The price of it grew by 50"),
        ("We could see from 2019–2020 that", "We could see from 2019"),
        ("Polish people like to dance", "They polish people like to"),
    ],
)
def test_what_only_looks_the_same(text: str, words: str) -> None:
    """Superscripts, fractions, hyphens within words, inches and signs have a meaning."""
    assert find_quote(text, words) is None


def test_script_without_spaces() -> None:
    """A quote in Chinese needs no spaces, and fewer signs to be one."""
    text = "研究表明，该药物对成年人并不安全。作者在二〇二一年写道。"
    assert find_quote(text, "该药物对成年人并不安全") == Span(5, 16)
    assert find_quote(text, "该药物对成年人安全") is None
    assert is_too_short("研究")


def test_long_text_is_searched_in_pieces_with_the_same_result() -> None:
    """A quote at the end of a megabyte is found there; what a piece's edge cuts is not."""
    text = "All work and no play makes Jack a dull boy.\n" * 25_000 + TEXT
    quote = "the first such result in a well-known trial"
    span = find_quote(text, quote)
    assert span is not None
    assert text[span.start : span.stop] == "the ﬁrst such re-\nsult in a well-known trial"
    assert find_quote(text, "the first such result in a well-known trail") is None


@pytest.mark.parametrize("text", ["a " * 500_000, "-" * 1_000_000, "\u00ad\n" * 500_000])
@pytest.mark.parametrize("words", ["a " * 900 + "b", "a a a a a a a a a a a a … " * 70, "." * 2000])
def test_nothing_is_quadratic(text: str, words: str) -> None:
    """Repetitions in text and quote end within the time limit of a test, with the right answer."""
    is_there = text.startswith("a ") and "…" in words
    assert (find_quote(text, words) is not None) == is_there


def test_nearest_passage_is_where_the_words_were_meant() -> None:
    """What shares most words is shown as the text has it; nothing where too little is shared."""
    near = nearest_passage(TEXT, "the novel drug was considered safe for adults")
    assert near is not None
    assert "drug was not safe for adults" in near
    assert nearest_passage(TEXT, "bananas grow in warm and humid countries") is None
    assert nearest_passage("", "anything at all") is None


@pytest.mark.parametrize(
    ("claim", "quote", "missing"),
    [
        ("1,000 people", "1000 people", []),
        ("1 000 000", "1,000,000", []),
        ("1'000", "1000", []),
        ("1.000.000 Euro", "1 million", []),
        ("1,00,000", "100000", []),
        ("3.5 million", "3,500,000", []),
        ("$3.5m", "3.5 million", []),
        ("$4.2 billion", "4.2bn", []),
        ("10k users", "10,000 users", []),
        ("3.50", "3.5", []),
        ("1,5 km", "1.5 km", []),
        ("0.05", "p = .05", []),
        ("1.5 × 10^6", "1.5e6", []),
        ("10⁶ cells, 10^6", "1 million", []),
        ("10⁶ cells", "10 cells", ["10⁶"]),
        ("10⁻³", "0.001", []),
        ("99 bottles", "99.5 bottles", ["99"]),
        ("5 % of", "5% of", []),
        ("5 percent", "5 %", []),
        ("five per cent", "5%", []),
        ("5%", "5 people", ["5%"]),
        ("between 5% and 10%", "5–10%", []),
        ("from 5 to 10 million", "5,000,000 to 10,000,000", []),
        ("a fall of 5%", "change: −5 %", []),
        ("-5 degrees", "5 degrees", ["-5"]),
        ("three dogs", "3 dogs", []),
        ("twenty-one", "21", []),
        ("two hundred and five thousand", "205,000", []),
        ("a dozen eggs", "12 eggs", []),
        ("hundreds of them, one by one", "", []),
        ("1/2 of, ½ of", "0.5", []),
        ("1½", "1.5", []),
        ("two thirds", "2/3", []),
        ("½", "", ["½"]),
        ("1/0", "1/0", []),
        ("the 19th century", "the nineteenth century", []),
        ("3rd", "third", []),
        ("2nd, second", "", ["2nd"]),
        ("the twenty-first century", "the 21st century", []),
        ("12 March 2024", "2024-03-12", []),
        ("March 12, 2024", "the 12th of March 2024", []),
        ("March 2024, 12 March, 2024, the 12th", "on 12.03.2024", []),
        ("Sept. 5", "5 September 2020", []),
        ("12 March 2024", "March 2024", ["12 March 2024"]),
        ("12 people died", "on 12 March 2024", ["12"]),
        ("12 may do", "12", []),
        ("99/99/2024", "", ["99/99/2024"]),
        ("the 1990s", "1990", ["1990s"]),
        ("2019–20 and 2020", "2019-2020", []),
        ("2019–2021", "2019–20", ["2021"]),
        ("at 10:30", "10:30 pm", []),
        ("Python 3.11, v2.1", "Python 3.11.7, version 2.1", []),
        ("GPT-4", "GPT-3", ["4"]),
        ("CO2 and H2O [1] [2, 3]", "", []),
        ("42 and 43, 42", "", ["42", "43"]),
        ("٣ people", "3 people", []),
        ("In 2021", "作者在2021年写道", []),
        ("1e99", "1e98", ["1e99"]),
        ("9" * 5000, "", ["9" * 5000]),
    ],
)
def test_unsupported_numbers(claim: str, quote: str, missing: list[str]) -> None:
    """A number that no quote says is named as the claim writes it; spelling does not matter."""
    assert unsupported_numbers(claim, [quote]) == missing


def test_numbers_of_several_quotes_count() -> None:
    """Each number may stand in another quote; without quotes none is supported."""
    claim = "Of 20 patients, 14 recovered in 2021."
    assert unsupported_numbers(claim, ["20 patients", "14 of them, in 2021"]) == []
    assert unsupported_numbers(claim, []) == ["20", "14", "2021"]


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_read(text: str, words: str) -> None:
    """No sign, however odd, stops either function, and a span lies within the text."""
    span = find_quote(text, words)
    assert span is None or 0 <= span.start < span.stop <= len(text)
    assert unsupported_numbers(text, [text]) == []
