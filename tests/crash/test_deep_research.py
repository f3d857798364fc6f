"""A research killed at random moments: what was searched, read and written is not done again."""

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Tell
from tests.crash.laboratory import Laboratory
from tests.doors.page_server import Page, Site, serving_pages
from tests.durability.researching import POTATO, YAM, page, tavily
from tests.helpers import wait_until

QUESTION = "Where was the potato first grown, where are yams grown, and how heavy is a yam?"
TEXTS = {
    "potato": "The potato is a tuber. It was first grown in the Andes about 8,000 years ago.",
    "yam": "Most yams of the world are grown in West Africa. A yam can weigh up to 60 kilograms.",
    "sun": "The Sun is a star. Its light needs about eight minutes to reach the Earth.",
}
RESEARCH = ("run", "deep-research", QUESTION, "--search", "corpus", "--json", "--id")
ROUND = 3
"""Searches that the plan has for the question."""
KILLS = 10


@pytest.fixture
def library(laboratory: Laboratory, tmp_path: Path) -> Laboratory:
    """Return the laboratory with a small corpus."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    life = laboratory.command("corpus", "add", str(folder))
    assert life.wait() == 0, life.stderr
    return laboratory


def told(record: Any) -> Any:
    """Return what a research says, without what differs from run to run."""
    other = ("sources", "input_tokens", "output_tokens")
    return {name: value for name, value in record["output"].items() if name not in other}


@pytest.mark.slow
@pytest.mark.parametrize("faults", [(), ("--chaos", "0.2", "--seed", "5")], ids=["", "faults"])
def test_research_survives_kills_at_random_moments(
    library: Laboratory, tell: Tell, faults: tuple[str, ...]
) -> None:
    """The same command, killed ten times, gives the report that it would have given at once.

    With faults in a fifth of the tries too; what tries spent in vain is in the bill alone.
    """
    draw = random.Random(7)
    repeated: frozenset[tuple[str, int]] = frozenset()
    for _ in range(KILLS):
        mark = library.mark()
        life = library.command(*RESEARCH, "r", *faults, pause_s=0.02)
        goal = mark.effect_count + draw.randint(1, 4)
        wait_until(  # a life may end the run before
            lambda goal=goal, life=life: (  # type: ignore[misc]
                len(library.effects()) >= goal or not life.is_alive
            ),
            60,
        )
        moment = time.monotonic() + draw.uniform(0, 0.03)
        wait_until(lambda moment=moment: time.monotonic() >= moment)  # type: ignore[misc]
        if not life.is_alive:
            break
        assert life.kill() == -signal.SIGKILL
        library.wait_for_silence()
        repeated |= library.repeated(mark)
    mark = library.mark()

    record = library.command(*RESEARCH, "r", *faults).json()

    repeated |= library.repeated(mark)
    undisturbed = library.command(*RESEARCH, "undisturbed").json()
    tell(
        f"agent-app run deep-research, random moments{', faults' * bool(faults)}",
        KILLS,
        0,
        len(repeated),
    )
    assert repeated == set()
    assert told(record) == told(undisturbed)
    assert set(library.statuses().values()) == {"SUCCESS"}
    assert record["output"]["rates"]["verified_count"] > 0


def test_searches_of_a_killed_process_go_on_in_another(library: Laboratory, tell: Tell) -> None:
    """Killed with all searches in flight: a resume attaches to the same children, no new ones."""
    life = library.command(*RESEARCH, "r", hold_from=3)
    wait_until(lambda: len(searches(library)) >= ROUND, 60)
    before = searches(library)
    assert life.kill() == -signal.SIGKILL
    library.wait_for_silence()
    mark = library.mark()

    record = library.command("resume", "--json").json()

    repeated = library.repeated(mark)
    tell("agent-app run deep-research, searches in flight", 1, 0, len(repeated))
    assert repeated == set()
    assert record["status"] == "SUCCESS"
    assert set(before) <= set(searches(library))
    rounds = [search["query"] for search in record["output"]["searches"] if search["round"] == 1]
    assert len(rounds) == len(before) == ROUND


def test_a_cancelled_research_leaves_no_search(library: Laboratory) -> None:
    """Cancelled from another process: searches that work or wait end with it, for good."""
    library.environment["AGENT_APP_SEARCH_CONCURRENCY"] = "1"
    life = library.command(*RESEARCH, "r", hold_from=2)
    wait_until(lambda: len(searches(library)) >= 2, 60)

    cancel = library.command("cancel", "r")

    assert cancel.wait() == 0, cancel.stderr
    assert life.wait() == 1
    assert len(searches(library)) >= 2
    assert set(library.statuses().values()) == {"CANCELLED"}
    left = library.command("resume")
    assert left.wait() == 0
    assert "Nothing is left to go on with." in left.stderr


def test_a_page_that_was_fetched_is_not_fetched_again(laboratory: Laboratory, tell: Tell) -> None:
    """Killed while a second page is on its way: Tavily and the first page are not asked again."""
    gate = threading.Event()

    def held(handler: Any) -> None:
        gate.wait(60)
        handler.wfile.write(page(YAM).body)

    with serving_pages() as site:
        site.pages = {"/potato": page(POTATO), "/yam": Page(held)}
        site.pages["/search"] = tavily(site.url("/potato"), site.url("/yam"))
        laboratory.environment |= {
            "AGENT_APP_AGENTS": "tests.crash.research_subjects",
            "CRASH_TEST_PORT": str(site.port),
        }
        web = ("--search", "tavily", "--max-searches", "1", "--json", "--id", "r")
        life = laboratory.command("run", "deep-research", "grown tuber", *web)
        wait_until(lambda: pages_read(laboratory) and ("/yam" in asked(site)), 60)
        assert life.kill() == -signal.SIGKILL
        gate.set()
        laboratory.wait_for_silence()
        mark = laboratory.mark()

        record = laboratory.command("resume", "r", "--json").json()

        repeated = laboratory.repeated(mark)
        tell("agent-app run deep-research, pages in flight", 0, 1, len(repeated))
        assert repeated == set()
        assert asked(site) == {"/search": 1, "/potato": 1, "/yam": 2}
    assert record["output"]["rates"]["verified_count"] > 0
    urls = {source["url"] for source in record["output"]["sources"]}
    assert urls == {site.url("/potato"), site.url("/yam")}


def asked(site: Site) -> Counter[str]:
    """Return how often each page was asked for."""
    return Counter(path for path, _ in site.requests)


def pages_read(laboratory: Laboratory) -> int:
    """Return how many pages have been read, with their checkpoint."""
    return sum(step.name == "research-searcher.tool.read" for step in laboratory.steps())


def searches(library: Laboratory) -> list[str]:
    """Return the IDs of the runs that search."""
    return sorted(run for run in library.statuses() if run.startswith("r:"))
