"""SIGKILL after commits and inside bodies of four subjects, then a recovery.

A sample of them, unless AGENT_APP_TEST_EVERY_POINT asks for every commit and every body.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from tests.crash.conftest import Tell
from tests.crash.driver import Life
from tests.crash.effects import count_starts
from tests.crash.laboratory import Laboratory, Mark, Step, of_run
from tests.crash.research_world import RESEARCH, asked, research_world
from tests.doors.page_server import Site
from tests.doors.stub_server import Stub


def _no_servers(_: Laboratory) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Subject:
    """What is killed, and what it must show by itself."""

    agent: str
    text: str
    is_sequential: bool
    """Say whether one thing happens at a time, so that each kill leaves exactly its own rows."""
    places: tuple[str, ...] = ("commit", "start", "end")
    """Where it is killed: after a commit, when a body begins, when it has done its work."""
    world: Callable[[Laboratory], AbstractContextManager[tuple[Site, Stub] | None]] = _no_servers
    """Servers that it talks to, which count what they are asked."""


SUBJECTS = [
    Subject("twenty-questions", "rabbit", is_sequential=True, places=("commit", "start")),
    Subject("five-tools", "go", is_sequential=False),
    Subject("three-diggers", "here there yonder", is_sequential=False),
    Subject(
        "deep-research",
        RESEARCH,
        is_sequential=False,
        world=research_world,
    ),
]
_RECOVERED = 10
"""Runs that one process recovers."""
_COMMITS = 6
"""Commits of each subject after which it is killed, where a sample is enough."""


@dataclass(frozen=True)
class Undisturbed:
    """What the subject does when nobody kills it; run IDs are cut to what follows the root's."""

    record: Any
    steps: dict[str, list[tuple[int, str, str | None]]]
    bodies: Counter[tuple[str, int, str]]
    places: dict[str, int]
    kinds: dict[str, list[tuple[bool, str]]]
    """By phase, what began or ended one after another: whether in a child, and which body."""

    def points(self, place: str) -> list[int]:
        """Return the numbers at which a run is killed, in order.

        Bodies: the first of each kind at its beginning, the last of each at its end. What runs in
        parallel may change places in the next life, so a kind is where it was, no more.
        """
        count = self.places[place]
        if "AGENT_APP_TEST_EVERY_POINT" in os.environ:
            return list(range(1, count + 1))
        if place == "commit":
            return sorted({1 + (count - 1) * n // (_COMMITS - 1) for n in range(_COMMITS)})
        numbered = list(enumerate(self.kinds[place], 1))
        chosen = {kind: number for number, kind in (numbered if place == "end" else numbered[::-1])}
        return sorted(chosen.values())


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.agent)
def test_run_survives_a_kill_at_boundaries_and_in_bodies(
    laboratory: Laboratory, tell: Tell, subject: Subject
) -> None:
    """Each killed run ends with the undisturbed result, and no completed step is executed again."""
    with subject.world(laboratory) as servers:
        _kill_everywhere(laboratory, tell, subject)
        if servers is not None:
            _check_servers(laboratory, *servers)


def _check_servers(laboratory: Laboratory, site: Site, stub: Stub) -> None:
    """Check that each body that ended has asked its server, and none that began asked twice.

    How often a body may begin is checked run by run: after its checkpoint never again.
    """
    phases = Counter((effect.phase, effect.body) for effect in laboratory.effects())
    for body, asked_count in (("model", len(stub.requests)), ("search", asked(site)["/search"])):
        assert phases["end", body] <= asked_count <= phases["start", body]


def _kill_everywhere(laboratory: Laboratory, tell: Tell, subject: Subject) -> None:
    undisturbed = _run_undisturbed(laboratory, subject)
    kills = [(place, number) for place in subject.places for number in undisturbed.points(place)]
    roots = {f"{place}-{number}": (place, number) for place, number in kills}
    _kill_all(laboratory, subject, roots)
    _check_that_kills_hit(laboratory, subject, roots)
    mark = laboratory.mark()

    resumers = _recover(laboratory, list(roots))

    records = {root: resumer.json()["records"][root] for root, resumer in resumers.items()}
    assert [root for root in roots if records[root] != undisturbed.record] == []
    repeated = laboratory.repeated(mark)
    bodies = sum(place != "commit" for place, _ in kills)
    tell(subject.agent, len(kills) - bodies, bodies, len(repeated))
    assert repeated == set()
    for root in roots:
        _check_run(laboratory, undisturbed, root, mark, resumers[root])


def _recover(laboratory: Laboratory, roots: list[str]) -> dict[str, Life]:
    """Go on with the runs, some in each process, and return who recovered which."""
    resumers: dict[str, Life] = {}
    for first in range(0, len(roots), _RECOVERED):
        some = roots[first : first + _RECOVERED]
        laboratory.query(
            "update dbos.workflow_status set application_version = '1'"
            " where split_part(workflow_uuid, ':', 1) = any(%(roots)s) returning workflow_uuid",
            roots=some,
        )
        resumer = laboratory.zygote.start(laboratory.plan("finish", *some, is_flipped=True))
        assert resumer.wait() == 0, resumer.stderr
        resumers |= dict.fromkeys(some, resumer)
    return resumers


def _run_undisturbed(laboratory: Laboratory, subject: Subject) -> Undisturbed:
    """Run it once and check that the hooks see all there is to see."""
    root = "undisturbed"
    plan = laboratory.plan("start", root, agent=subject.agent, text=subject.text)
    printed = laboratory.zygote.start(plan).json()
    steps, effects = laboratory.steps(), laboratory.effects()
    statuses = of_run(laboratory.statuses(), root)
    places = printed["counts"]
    bodies = Counter(
        (effect.step[0][len(root) :], effect.step[1], effect.body)
        for effect in effects
        if effect.phase == "start"
    )
    assert set(statuses.values()) == {"SUCCESS"}
    assert places["commit"] == len(steps) + 2 * len(statuses)  # each run's row and its outcome
    assert places["start"] == places["end"] == bodies.total() == len(effects) / 2
    assert all(effect.run_id is not None for effect in effects)
    kinds = {
        phase: [(e.run_id != root, e.body) for e in effects if e.phase == phase]
        for phase in ("start", "end")
    }
    return Undisturbed(printed["records"][root], _step_lists(steps, root), bodies, places, kinds)


def _kill_all(laboratory: Laboratory, subject: Subject, roots: dict[str, tuple[str, int]]) -> None:
    """Kill each run in a process and an application version of its own.

    Of one version the next process would take what the last one has left in a queue.
    """
    plans = [
        laboratory.plan(
            "start", root, agent=subject.agent, text=subject.text, kill=kill, version=root
        )
        for root, kill in roots.items()
    ]
    lives = laboratory.zygote.run_all(plans)
    laboratory.wait_for_silence()
    assert {life.wait() for life in lives} == {-signal.SIGKILL}, lives[0].stderr


def _check_that_kills_hit(
    laboratory: Laboratory,
    subject: Subject,
    roots: dict[str, tuple[str, int]],
) -> None:
    """Check that the n-th commit was committed when the process died, and that nothing followed."""
    statuses, effects, found = laboratory.statuses(), laboratory.effects(), laboratory.steps()
    for root, (place, number) in roots.items():
        own = of_run(statuses, root)
        steps = sum(len(own_steps) for own_steps in _step_lists(found, root).values())
        commits = len(own) + steps + sum(status == "SUCCESS" for status in own.values())
        phases = Counter(e.phase for e in effects if _belongs(e.run_id, root))
        if place == "commit":
            assert commits == number if subject.is_sequential else commits >= number
        elif place == "start":
            assert phases["start"] == number
        else:
            assert phases["end"] == number - 1


def _check_run(
    laboratory: Laboratory,
    undisturbed: Undisturbed,
    root: str,
    mark: Mark,
    resumer: Life,
) -> None:
    """Check one run after its recovery: steps, children, and how often each body began."""
    assert _step_lists(laboratory.steps(), root) == undisturbed.steps
    statuses = of_run(laboratory.statuses(), root)
    assert statuses == dict.fromkeys(of_run(_runs(undisturbed), "root"), "SUCCESS")
    effects = laboratory.effects()
    for (child, number, body), tries in undisturbed.bodies.items():
        step = (root + child, number)
        starts = count_starts(effects, step)
        again = count_starts(effects, step, process_id=resumer.process_id)
        if step in mark.completed:
            assert (starts, again) == (tries, 0)
        elif body == "ring":  # the other side counts the tries, in whichever life
            assert again == max(tries - (starts - again), 1)
        else:
            assert (again, starts) in ((1, 1), (1, 2))


def _runs(undisturbed: Undisturbed) -> dict[str, None]:
    return {f"root{child}": None for child in undisturbed.steps}


def _step_lists(steps: Sequence[Step], root: str) -> dict[str, list[tuple[int, str, str | None]]]:
    lists: dict[str, list[tuple[int, str, str | None]]] = {}
    for step in steps:
        if _belongs(step.run_id, root):
            found = lists.setdefault(step.run_id[len(root) :], [])
            found.append((step.number, step.name, step.of))
    return lists


def _belongs(run_id: str | None, root: str) -> bool:
    return run_id is not None and (run_id == root or run_id.startswith(f"{root}:"))
