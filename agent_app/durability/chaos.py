"""How often tries are made to fail, and which: a pure function of a seed and of the try's place."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

Place = Literal["before", "after"]


@dataclass(frozen=True)
class Chaos:
    """How often tries fail; it is recorded with the run, and its children have the same."""

    share: float
    """Share of the tries that fail, 0 to 1."""
    seed: int
    root: str
    """ID of the run that it was asked for: faults do not depend on what that run is called."""

    def as_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return asdict(self)

    def fault(self, run_id: str, step_number: int, attempt: int) -> Place | None:
        """Return where this try fails, None where it may succeed; time plays no part in it."""
        path = run_id.removeprefix(self.root)
        text = f"{self.seed} {path} {step_number} {attempt}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if drawn / 2**64 >= self.share:
            return None
        return "before" if drawn % 2 else "after"


def read_chaos(stored: dict[str, Any] | None) -> Chaos | None:
    """Return what was recorded with a run; most have none."""
    return None if stored is None else Chaos(**stored)
