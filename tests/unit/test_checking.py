"""Quotes of a draft are looked up, counted, and complained of so that they can be mended."""

from agent_app.agents.deep_research.checking import (
    MAX_COMPLAINTS,
    check_draft,
    complaint,
    rates_of,
)
from agent_app.agents.deep_research.models import CheckedClaim, Claim, Draft, Quote

TEXTS = {
    "a" * 16: "The engine resumes from its last checkpoint. It was released in March 2021 by 14 "
    "people, and it does not run a finished step again.",
    "b" * 16: "A queue holds the runs that wait until a worker takes one of them.",
}
ATTESTED = ["https://Example.org/page?utm_source=x"]


def check(text: str, *quotes: tuple[str, str]) -> CheckedClaim:
    """Return one claim, checked."""
    claim = Claim(text=text, quotes=[Quote(source_id=s, words=w) for s, w in quotes])
    (checked,) = check_draft(Draft(summary="-", claims=[claim]), TEXTS, attested_urls=ATTESTED)
    return checked


def test_words_that_stand_in_the_source_are_verified_at_their_place() -> None:
    """A verified quote says where it stands, whatever spelling it has, and no reason."""
    claim = check("It resumes.", ("a" * 16, "the engine  resumes\nfrom its last checkpoint"))
    (quote,) = claim.quotes
    assert (quote.status, quote.reason) == ("verified", "")
    assert (
        TEXTS["a" * 16][quote.start : quote.stop] == "The engine resumes from its last checkpoint"
    )
    assert quote.words == "the engine  resumes\nfrom its last checkpoint"


def test_words_that_do_not_are_unverified_with_the_reason() -> None:
    """Other words, words of another source, an unknown source and too few words are told apart."""
    claim = check(
        "It is so.",
        ("a" * 16, "it does run a finished step again"),
        ("b" * 16, "resumes from its last checkpoint"),
        ("c" * 16, "resumes from its last checkpoint"),
        ("a" * 16, "by 14"),
        ("a" * 16, ""),
    )
    assert {quote.status for quote in claim.quotes} == {"unverified"}
    assert {quote.start for quote in claim.quotes} == {None}
    reasons = [quote.reason for quote in claim.quotes]
    assert reasons[0] == reasons[1] == "The words do not stand in the source."
    assert reasons[2] == f"The run has no source '{'c' * 16}'."
    assert reasons[3] == reasons[4]
    assert "too short" in reasons[3]


def test_a_page_that_only_the_provider_names_is_attested() -> None:
    """Its URL may be spelled in another way; a page that nobody names is unknown."""
    words = "words that nobody could look up"
    claim = check("So.", ("https://example.org/page", words), ("https://example.org/x", words))
    assert [quote.status for quote in claim.quotes] == ["attested", "unverified"]
    assert "not fetched" in claim.quotes[0].reason


def test_numbers_are_supported_by_verified_quotes_alone() -> None:
    """A number that stands in words which were made up is as unsupported as without them."""
    text = "14 people released it in 2021, 99 % of them at night."
    verified = ("a" * 16, "released in March 2021 by 14 people")
    made_up = ("a" * 16, "released by 99 % of them at night")
    assert check(text, verified, made_up).unsupported_numbers == ["99 %"]
    assert check(text, made_up).unsupported_numbers == ["14", "2021", "99 %"]


def test_rates_are_counted_over_quotes_and_claims() -> None:
    """Each quote counts once, under its status; a claim needs one verified quote."""
    words = "resumes from its last checkpoint"
    claims = [
        check("Both.", ("a" * 16, words), ("b" * 16, words)),
        check("In 1999.", (ATTESTED[0], words)),
        check("Nothing."),
    ]
    assert rates_of(claims).model_dump() == {
        "quote_count": 3,
        "verified_count": 1,
        "unverified_count": 1,
        "attested_count": 1,
        "claim_count": 3,
        "supported_claim_count": 1,
        "claims_with_unsupported_numbers": 1,
    }
    assert rates_of([]).quote_count == 0


def test_no_complaint_where_everything_stands() -> None:
    """Verified quotes, and attested ones that nobody can look up, are not complained of."""
    words = "resumes from its last checkpoint"
    claims = [check("It resumes.", ("a" * 16, words)), check("In 1999.", (ATTESTED[0], words))]
    assert complaint(claims, TEXTS) is None


def test_complaint_shows_what_the_source_says() -> None:
    """It names claim and quote, and has the nearest passage, so that it can be copied."""
    claims = [
        check("Right.", ("a" * 16, "resumes from its last checkpoint")),
        check("Wrong, in 2022.", ("a" * 16, "it does run every finished step again")),
    ]
    told = complaint(claims, TEXTS)
    assert told is not None
    assert "Claim 1" not in told
    assert "- Claim 2, quote 1, «it does run every finished step again»: The words do not" in told
    assert "it does not run a finished step again" in told
    assert "- Claim 2: no verified quote of it says 2022." in told


def test_complaint_names_the_source_where_the_words_do_stand() -> None:
    """A quote under a wrong ID, or one that does not exist, is mended by the right ID."""
    for source_id in ("b" * 16, "c" * 16):
        claims = [check("It resumes.", (source_id, "resumes from its last checkpoint"))]
        assert f"They stand in the source '{'a' * 16}'." in (complaint(claims, TEXTS) or "")


def test_complaint_of_claims_without_quotes_and_of_long_ones() -> None:
    """A claim without a quote is named; a complaint is never longer than a model can read."""
    assert "- Claim 1 has no quote." in (complaint([check("Nothing.")], TEXTS) or "")
    wrong = check("It is so.", *[("a" * 16, f"made up {'and made up ' * 300}")] * 8)
    told = complaint([wrong] * 10, TEXTS) or ""
    assert told.count("\n- ") == MAX_COMPLAINTS + 1
    assert told.endswith("- and so on")
    assert len(told) < 30_000
