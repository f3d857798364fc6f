"""What a replay says about the code: the same as recorded, or where it first differs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from agent_app.database.history import StoredStep
from agent_app.database.recording import Recording
from agent_app.durability.events import describe_error
from agent_app.durability.history import RecordedStep, decode_step
from agent_app.durability.replay import Trace
from agent_app.durability.serializer import OF, JsonSerializer
from agent_app.errors import PayloadRefused, ReplayDiverged

_JSON = JsonSerializer()
_NOTHING = object()
_MAX_VALUE = 60
"""Characters of a value that a difference shows."""

Kind = Literal[
    "another_step",
    "another_call",
    "unrecorded_step",
    "missing_step",
    "other_output",
    "other_error",
    "raised",
    "not_raised",
    "side_effect",
    "unknown_agent",
    "payload_refused",
    "foreign_run",
    "not_over",
    "process_ended",
    "not_reached",
]
"""The first nine are of the code; with the others nobody knows."""


@dataclass(frozen=True)
class Finding:
    """Where the code first differs from the recording, or why nobody knows."""

    kind: Kind
    text: str
    """A sentence for people."""
    step_number: int | None = None
    recorded: str | None = None
    """Name or call of the recorded step; the recorded outcome."""
    asked: str | None = None
    """The same of the code of today."""


@dataclass(frozen=True)
class RunCheck:
    """What came of one run."""

    run_id: str
    agent: str
    status: str
    application_version: str | None
    verdict: Literal["same", "diverges", "unchecked"]
    step_count: int
    """Recorded steps."""
    next_step: int | None = None
    """Where an unfinished run goes on; None where it would end, and for a finished one."""
    next_name: str | None = None
    finding: Finding | None = None


def unchecked(recording: Recording, kind: Kind, text: str) -> RunCheck:
    """Return that the run could not be checked."""
    return _check(recording, "unchecked", finding=Finding(kind, text))


def judge(trace: Trace) -> RunCheck:
    """Return what a replay says."""
    recording = trace.recording
    if trace.foreign_run_id is not None:
        return unchecked(
            recording,
            "foreign_run",
            f"It starts run {trace.foreign_run_id!r} by DBOS itself, which is not checked; "
            "`delegate` is.",
        )
    if finding := next(_findings(trace), None):
        return _check(recording, "diverges", finding=finding)
    number, name = min(trace.unrecorded, default=(None, None))
    is_over = recording.is_finished or trace.has_ended
    return _check(recording, "same", (None, None) if is_over else (number, name))


def _check(
    recording: Recording,
    verdict: Literal["same", "diverges", "unchecked"],
    following: tuple[int | None, str | None] = (None, None),
    finding: Finding | None = None,
) -> RunCheck:
    return RunCheck(
        recording.run_id,
        recording.agent,
        recording.status,
        recording.application_version,
        verdict,
        len(recording.steps),
        *following,
        finding,
    )


def _findings(trace: Trace) -> Iterator[Finding]:
    """Yield what is wrong, the first that happened first."""
    steps = [decode_step(step) for step in trace.recording.steps]
    if trace.acts:
        text = f"Workflow code outside of a step tried to {trace.acts[0]}."
        yield Finding("side_effect", text, asked=trace.acts[0])
    if trace.mismatch is not None:
        yield _another_step(*trace.mismatch, steps)
    if isinstance(trace.error, ReplayDiverged) and not _ends_alike(trace):
        yield from _another_call(trace.error, steps)
    if not trace.has_ended:
        yield from _stuck(trace)
    elif left := trace.left():
        yield _missing(left)
    else:
        yield from _endings(trace)


def _another_step(step: StoredStep, asked: str, steps: Sequence[RecordedStep]) -> Finding:
    number = step.step_number
    later = [s.step_number for s in steps if s.step_number > number and s.name == asked]
    hint = "which is new there, or renamed"
    if later:
        hint = f"which is recorded as step {later[0]}: what stood before it is gone, or comes later"
    return Finding(
        "another_step",
        f"Step {number} is recorded as {step.name!r}; the code now asks for {asked!r}, {hint}.",
        number,
        step.name,
        asked,
    )


def _another_call(error: ReplayDiverged, steps: Sequence[RecordedStep]) -> Iterator[Finding]:
    """Name the step that the error is of; none where a child run has raised it."""
    there = [s for s in steps if (s.name, s.call) == (error.step, error.recorded)]
    if not there:
        return
    number = there[0].step_number
    places = [s.step_number for s in steps if (s.name, s.call) == (error.step, error.asked)]
    hint = f", which is recorded as step {places[0]}" if places else ""
    yield Finding(
        "another_call",
        f"Step {number}, {error.step!r}, is recorded for {error.recorded!r}; the code now asks for "
        f"{error.asked!r}{hint}.",
        number,
        error.recorded,
        error.asked,
    )


def _stuck(trace: Trace) -> Iterator[Finding]:
    """Say what is wrong where the code waits for a step that has no checkpoint."""
    left = trace.left()
    if not left and not trace.recording.is_finished:
        return
    if not trace.unrecorded:
        return
    number, name = min(trace.unrecorded)
    reason = "the run had ended without it"
    if left:
        reason = f"not recorded, though step {left[0].step_number}, {left[0].name!r}, is"
    yield Finding(
        "unrecorded_step",
        f"The code now asks for {name!r} as step {number}: {reason}.",
        number,
        left[0].name if left else None,
        name,
    )


def _missing(left: Sequence[StoredStep]) -> Finding:
    first, others = left[0], len(left) - 1
    more = f" and {others} more after it" if others else ""
    return Finding(
        "missing_step",
        f"The code no longer asks for step {first.step_number}, {first.name!r}{more}.",
        first.step_number,
        first.name,
    )


def _ends_alike(trace: Trace) -> bool:
    """Say whether the run had ended with the error that the code ends with."""
    recorded = _recorded_error(trace.recording)
    return (
        recorded is not None and trace.error is not None and recorded == describe_error(trace.error)
    )


def _recorded_error(recording: Recording) -> str | None:
    if recording.status != "ERROR" or recording.error is None:
        return None
    return describe_error(_JSON.deserialize(recording.error))


def _endings(trace: Trace) -> Iterator[Finding]:
    """Compare how the code ended with how the run did, where it did."""
    recording, error = trace.recording, trace.error
    was = _recorded_error(recording)
    now = None if error is None else describe_error(error)
    if recording.status == "ERROR" and now is None:
        yield Finding("not_raised", f"The code no longer raises {was}", recorded=was)
    elif was is not None and now != was:
        text = f"The run had ended with {was}, and the code now raises {now}"
        yield Finding("other_error", text, recorded=was, asked=now)
    elif recording.status == "SUCCESS" and now is None:
        yield from _other_output(trace)
    elif was is None and now is not None and (recording.is_finished or not hasattr(error, OF)):
        yield Finding("raised", f"The code now raises {now}", asked=now)


def _other_output(trace: Trace) -> Iterator[Finding]:
    recorded = _JSON.deserialize(trace.recording.output or "null")
    now = _JSON.deserialize(_JSON.serialize(trace.record))
    place = _first_difference(recorded["output"], now["output"], "output")
    if place is not None:
        where, was, is_now = place
        yield Finding(
            "other_output",
            f"The output differs: {where} was {was}, and is now {is_now}.",
            recorded=was,
            asked=is_now,
        )


def _first_difference(was: Any, now: Any, place: str) -> tuple[str, str, str] | None:
    """Return where two JSON values differ first, and what stands there in each."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(key for key in now if key not in was)]
        parts = [(was.get(k, _NOTHING), now.get(k, _NOTHING), f"{place}.{k}") for k in keys]
    elif isinstance(was, list) and isinstance(now, list):
        pairs = zip_longest(was, now, fillvalue=_NOTHING)
        parts = [(a, b, f"{place}[{n}]") for n, (a, b) in enumerate(pairs)]
    else:
        return None if was == now else (place, _shown(was), _shown(now))
    return next((found for part in parts if (found := _first_difference(*part))), None)


def _shown(value: Any) -> str:
    text = "nothing" if value is _NOTHING else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"


def request_of(recording: Recording) -> dict[str, Any]:
    """Return what the run was started with.

    Raises: PayloadRefused.
    """
    if recording.serialization != _JSON.name():
        raise PayloadRefused(str(recording.serialization))
    stored = _JSON.deserialize(recording.inputs or "null")
    try:
        request = stored["args"][0]
        if isinstance(request, Mapping) and "input" in request and "models" in request:
            return dict(request)
    except (TypeError, LookupError):
        pass
    raise PayloadRefused("no request of agent_app")
