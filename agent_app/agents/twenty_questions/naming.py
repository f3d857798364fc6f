"""Two names of one thing: what a guess must say to be right."""

from agent_app.agents.twenty_questions.table import find_thing


def is_same_thing(guessed: str, secret: str) -> bool:
    """Say whether two names mean one thing: by the table's variants, else letter by letter."""
    known = find_thing(secret)
    if known is not None:
        return find_thing(guessed) is known
    return _letters(guessed) == _letters(secret)


def _letters(text: str) -> str:
    words = [word for word in text.casefold().split() if word not in ("a", "an", "the")]
    return "".join(sign for word in words for sign in word if sign.isalnum())
