"""What bodies did, in a file that no crash can lose: one line each, appended and synced."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Phase = Literal["start", "end", "call"]
"""A body begins or ends; in between, it may do something to the world, which is a call."""


@dataclass(frozen=True)
class Effect:
    """One trace that a body left in the world."""

    phase: Phase
    run_id: str | None
    """None for a body that no step encloses, which must not be."""
    step_number: int | None
    body: str
    """The tool's name, or `model`."""
    process_id: int
    note: str = ""
    """What a call had to say, its idempotency key above all."""
    at: float = field(default_factory=time.time)

    @property
    def step(self) -> tuple[str, int]:
        """Return which step the body belongs to; one that is in no step gives an empty ID."""
        return self.run_id or "", self.step_number or 0


def append_effect(path: str, effect: Effect) -> None:
    """Write the effect so that neither SIGKILL nor a power cut takes it back."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, (json.dumps(asdict(effect)) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read_effects(path: str | Path) -> list[Effect]:
    """Return all effects in the order in which they were written; empty where there is no file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [Effect(**json.loads(line)) for line in lines]


def count_starts(
    effects: Sequence[Effect],
    step: tuple[str, int],
    *,
    process_id: int | None = None,
) -> int:
    """Return how often the step's body began, in all processes or in one."""
    return sum(
        effect.phase == "start" and effect.step == step and process_id in (None, effect.process_id)
        for effect in effects
    )
