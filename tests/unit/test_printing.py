"""What a model or a tool wrote reaches the terminal as text, whatever is in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_app.cli.printing import notice, print_fields, print_json, print_table

STEERING = "\x1b[2J \x9b5m \u202e \x07 \ud83d"


@pytest.mark.parametrize("value", [STEERING, {"key": STEERING}, [STEERING]])
def test_no_output_steers_the_terminal(capsys: pytest.CaptureFixture[str], value: object) -> None:
    """Tables, fields, JSON and notices hold no control character, nor one that is no text."""
    print_table(("A",), [(value,)])
    print_fields({"a": value})
    print_json(value)
    notice(str(value))
    printed = capsys.readouterr()
    assert all(sign.isprintable() or sign == "\n" for sign in printed.out + printed.err)


def test_json_keeps_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    """What is escaped is still the same JSON, and other letters stay readable."""
    print_json({"a": STEERING, "b": "ä ☃"})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"a": STEERING, "b": "ä ☃"}
    assert "ä ☃" in printed


def test_closed_standard_streams_are_opened(tmp_path: Path) -> None:
    """A file that is opened later gets none of their numbers, and each stream can be used."""
    result = tmp_path / "result"
    program = (
        "import os, sys; from agent_app.cli.standard_streams import open_standard_streams;"
        "open_standard_streams(); print(sys.stdin.read(), file=sys.stderr); print('x');"
        f"number = os.open({str(result)!r}, os.O_CREAT | os.O_WRONLY);"
        "os.write(number, str(number > 2).encode())"
    )
    subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program],
        check=True,
        timeout=30,
    )
    assert result.read_text() == "True"


def test_output_in_a_narrow_encoding_is_escaped() -> None:
    """A sign that the terminal's encoding lacks is written as its number."""
    program = (
        "from agent_app.cli.standard_streams import open_standard_streams;"
        "open_standard_streams(); print('\u2603')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "\\u2603\n"
