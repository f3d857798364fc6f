"""Plain text into paragraphs."""

from agent_app.sources.formats.prose import Prose, blocks, decode, readable, unwrap


def read_plain_text(body: bytes, charset: str | None) -> Prose:
    """Return its paragraphs; the first line is the title."""
    paragraphs = [p for block in blocks(decode(body, charset)) for p in unwrap(block)]
    return readable("", paragraphs)
