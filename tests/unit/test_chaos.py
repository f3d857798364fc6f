"""Which tries fail on purpose: a matter of seed and place, close to the share asked for."""

from collections import Counter

import pytest

from agent_app.durability.chaos import Chaos, read_chaos


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_share_is_kept_and_halved_between_before_and_after(share: float) -> None:
    """Over many tries, about the share of them fails, half before the body and half after it."""
    chaos = Chaos(share, 7, "run")
    places = Counter(chaos.fault(f"run:{n}", n % 50, 1) for n in range(4000))
    assert places[None] == pytest.approx(4000 * (1 - share), abs=100)
    assert places["before"] == pytest.approx(4000 * share / 2, abs=100)


def test_a_fault_depends_on_seed_and_place_and_not_on_the_name_of_the_run() -> None:
    """Step, attempt, child and seed each change the draw; the root's ID does not."""
    places = [("", 1, 1), ("", 2, 1), ("", 1, 2), (":turn-1", 1, 1)]

    def drawn(chaos: Chaos) -> list[str | None]:
        return [
            chaos.fault(chaos.root + path, step * n, attempt)
            for n in range(1, 30)
            for path, step, attempt in places
        ]

    assert drawn(Chaos(0.5, 1, "a")) == drawn(Chaos(0.5, 1, "another"))
    assert drawn(Chaos(0.5, 1, "a")) != drawn(Chaos(0.5, 2, "a"))
    assert len({tuple(drawn(Chaos(0.5, 1, "a"))[start::4]) for start in range(4)}) == 4


def test_what_is_recorded_is_read_again() -> None:
    """The JSON that is stored with a run gives the same faults in its next life."""
    chaos = Chaos(0.2, 3, "run")
    assert read_chaos(chaos.as_json()) == chaos
    assert read_chaos(None) is None
