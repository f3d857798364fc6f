"""The command that prints the offline player's scores."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "twenty_questions.py"


def test_the_scores_are_a_table_and_the_same_for_the_same_seed() -> None:
    """A small sample has a row for each kind of game, and says who plays."""
    command = [sys.executable, str(SCRIPT), "--sample", "6", "--seed", "3"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        for _ in range(2)
    )
    assert first == second
    head, _, columns, rule, *rows = first.splitlines()
    assert head.startswith("offline player, no language model; ")
    assert rule.count("|") == columns.count("|") == 5
    names = [row.split(" | ")[0].strip("| ") for row in rows]
    assert names == [
        "true answers",
        "5 % wrong answers",
        "10 % wrong answers",
        "true answers, random questions",
    ]
    assert "| 6 of 6 | 100.0% |" in rows[0]
