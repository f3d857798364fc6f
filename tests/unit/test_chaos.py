"""Which tries meet a fault: a matter of seed and place, close to the share asked for."""

from collections import Counter

import pytest

from agent_app.durability.chaos import PLACES, Chaos, Fault, read_chaos


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_share_is_kept_and_every_kind_gets_a_quarter_of_it(share: float) -> None:
    """Over many tries, about the share of them meets a fault, each of the four kinds as often."""
    chaos = Chaos(share, 7, "run")
    faults = [chaos.fault(f"run:{n}", n % 50, 1) for n in range(4000)]
    places = Counter(fault.place for fault in faults if fault is not None)
    assert places.total() == pytest.approx(4000 * share, abs=100)
    for place in PLACES:
        assert places[place] == pytest.approx(4000 * share / 4, abs=100)


def test_a_slow_try_takes_some_tenths_of_a_second_longer() -> None:
    """Delays are spread between 0.05 and 0.3 s."""
    faults = [Chaos(1, 7, "run").fault("run", n, 1) for n in range(1000)]
    delays_s = [fault.delay_s for fault in faults if fault is not None]
    assert 0.05 <= min(delays_s) < 0.06
    assert 0.29 < max(delays_s) < 0.3


def test_a_fault_depends_on_seed_and_place_and_not_on_the_name_of_the_run() -> None:
    """Step, attempt, child and seed each change the draw; the root's ID does not."""
    places = [("", 1, 1), ("", 2, 1), ("", 1, 2), (":turn-1", 1, 1)]

    def drawn(chaos: Chaos) -> list[Fault | None]:
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
