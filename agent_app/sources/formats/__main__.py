"""The reader's process: a document in, its title and text out, until its input is closed."""

import contextlib
import resource
import signal
import sys
from typing import Any

from agent_app.sources.formats.prose import Prose, Unreadable
from agent_app.sources.reading import (
    MAX_MEMORY_BYTES,
    MAX_TEXT_CHARS,
    read_message,
    write_message,
)


def main() -> None:
    """Answer until the other side closes the pipe."""
    with contextlib.suppress(ValueError, OSError):  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    output = sys.stdout.buffer
    sys.stdout = sys.stderr  # a library that prints must not write into the reply
    while (message := read_message(sys.stdin.buffer)) is not None:
        header, body = message
        # Without a handler SIGPROF ends the process, in the middle of C code too.
        signal.setitimer(signal.ITIMER_PROF, header["max_cpu_s"])
        reply = _reply(body, header["media_type"], header["charset"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_message(output, reply, b"")


def _reply(body: bytes, media_type: str, charset: str | None) -> dict[str, Any]:
    try:
        prose = _read(body, media_type, charset)
    except Unreadable as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": "reading it took too much memory"}
    except Exception as error:  # whatever a parser finds in somebody else's bytes
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return {"reason": f"it is damaged: {reason}"}
    text = "\n\n".join(prose.paragraphs)
    if len(text) > MAX_TEXT_CHARS:
        return {"reason": f"its text has more than {MAX_TEXT_CHARS:,} characters"}
    return {"title": prose.title, "text": text}


def _read(body: bytes, media_type: str, charset: str | None) -> Prose:
    """Read it by its format; each is imported when it is met."""
    if media_type == "application/pdf":
        from agent_app.sources.formats.pdf import read_pdf

        return read_pdf(body)
    if media_type.endswith("html") or media_type.endswith("html+xml"):
        from agent_app.sources.formats.web_page import read_web_page

        return read_web_page(body, charset)
    if media_type.endswith("markdown"):
        from agent_app.sources.formats.markdown import read_markdown

        return read_markdown(body, charset)
    if media_type.endswith("rst"):
        from agent_app.sources.formats.restructured_text import read_restructured_text

        return read_restructured_text(body, charset)
    from agent_app.sources.formats.plain_text import read_plain_text

    return read_plain_text(body, charset)


if __name__ == "__main__":
    main()
