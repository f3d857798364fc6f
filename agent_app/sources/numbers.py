"""Numbers and dates of a claim that its quotes do not say."""

from collections.abc import Iterator, Sequence

from agent_app.sources.mentions import Value, exact, find_mentions

_VAGUE = {"zero", "one", "first", "second", "third"}
"""Words that mostly count nothing: "one of them", "a second later", "a third of it"."""


def unsupported_numbers(claim: str, quotes: Sequence[str]) -> list[str]:
    """Return the numbers and dates of the claim that stand in none of the quotes, as it has them.

    Each once, in order. 1,000 is 1000 and 1 000; 3.5 million is 3,500,000 and 3.5m; 5 % is 5
    percent, and not 5; three is 3; 1/2 is 0.5; 3rd is third; a date is the same in any spelling,
    and says its year, its month and year, and its day and month too. Of 5-10 % both are
    percentages. A negative number says its amount: what is -5 % may have fallen by 5 %. Words and
    months are English. Not looked at: `one`, `zero`, `first`, `second` and `third` by themselves,
    digits after a letter (CO2), citations such as [1]. What can be read in two ways (1.500,
    03/04/2024) is supported by either.
    """
    known = {
        value
        for quote in quotes
        for mention in find_mentions(quote)
        for reading in mention.values
        for value in (reading, *_implied(reading))
    }
    dates = [date.split("-") for kind, date in known if kind == "date"]
    missing = [
        claim[mention.start : mention.stop].strip()
        for mention in find_mentions(claim)
        if not any(_is_known(value, known, dates) for value in mention.values)
    ]
    return [number for number in dict.fromkeys(missing) if number.lower() not in _VAGUE]


def _is_known(value: Value, known: set[Value], dates: Sequence[Sequence[str]]) -> bool:
    if value in known:
        return True
    if value[0] != "date":
        return False
    wanted = value[1].split("-")
    return any(all(w in ("*", p) for w, p in zip(wanted, d, strict=True)) for d in dates)


def _implied(value: Value) -> Iterator[Value]:
    """Yield what else a text says that says this."""
    kind, text = value
    if kind == "date":
        year, _, day = text.split("-")
        yield "number", year
        yield "ordinal", day
    elif text.startswith("-"):
        yield kind, text[1:]
    elif kind == "version":
        parts = text.split(".")
        yield from (("version", ".".join(parts[:n])) for n in range(1, len(parts)))
        yield "number", exact(".".join(parts[:2]))
        yield "number", exact(parts[0])
