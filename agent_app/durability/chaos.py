"""How often tries meet a fault, and which: a pure function of a seed and of the try's place."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Place = Literal["before", "after", "slow", "hung"]
PLACES: tuple[Place, ...] = get_args(Place)
"""A try fails before its body or after it, takes longer and goes on, or never answers."""
_SLOW_MIN_S, _SLOW_MAX_S = 0.05, 0.3


@dataclass(frozen=True)
class Fault:
    """What one try meets."""

    place: Place
    delay_s: float
    """Seconds that a slow try takes longer."""


@dataclass(frozen=True)
class Chaos:
    """How often tries meet a fault; it is recorded with the run, and its children have the same."""

    share: float
    """Share of the tries that meet one, 0 to 1."""
    seed: int
    root: str
    """ID of the run that it was asked for: faults do not depend on what that run is called."""

    def as_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return asdict(self)

    def fault(self, run_id: str, step_number: int, attempt: int) -> Fault | None:
        """Return what this try meets, None where nothing; time plays no part in it."""
        path = run_id.removeprefix(self.root)
        text = f"{self.seed} {path} {step_number} {attempt}"
        digest = hashlib.sha256(text.encode()).digest()
        if _fraction(digest[:8]) >= self.share:
            return None
        delay_s = _SLOW_MIN_S + _fraction(digest[8:16]) * (_SLOW_MAX_S - _SLOW_MIN_S)
        return Fault(PLACES[digest[16] % len(PLACES)], delay_s)


def _fraction(eight_bytes: bytes) -> float:
    """Return a number from 0 to below 1."""
    return int.from_bytes(eight_bytes, "big") / 2**64


def read_chaos(stored: dict[str, Any] | None) -> Chaos | None:
    """Return what was recorded with a run; most have none."""
    return None if stored is None else Chaos(**stored)
