"""The process that replays: a recording comes in as a line of JSON, a verdict goes out as one."""

import asyncio
import faulthandler
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from agent_app.database.history import StoredStep
from agent_app.database.no_connection import no_connection
from agent_app.database.recording import Recording
from agent_app.durability.catalog import load_agents
from agent_app.durability.history import decode_step
from agent_app.durability.replay import Replayer, ReplayLoop, replaying
from agent_app.durability.seal import ActRefused, sealed
from agent_app.durability.serializer import JsonSerializer
from agent_app.errors import AgentAppError, AgentNotFound, PayloadRefused
from agent_app.operations.replay.verdict import RunCheck, judge, request_of, unchecked
from agent_app.settings import read_settings

_GRACE_S = 5.0
_JSON = JsonSerializer()


def main() -> None:
    """Answer recordings until there are no more; an error of the start is the only answer then."""
    sys.dont_write_bytecode = True
    questions, answers = _take_streams()
    order = json.loads(questions.readline())
    try:
        with asyncio.Runner(loop_factory=ReplayLoop) as runner:
            runner.run(_serve(order, questions, answers))
    except AgentAppError as error:
        _send(answers, {"error": _JSON.serialize(error)})


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for ourselves: what user code prints has been printed before."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return questions, answers


def _send(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


async def _serve(order: dict[str, Any], questions: BinaryIO, answers: BinaryIO) -> None:
    timeout_s: float = order["timeout_s"]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    async with _replayer(order) as replayer:
        _send(answers, {"ready": True})
        for line in iter(questions.readline, b""):
            # A run that holds the interpreter up is ended even if nobody is left to do so.
            faulthandler.dump_traceback_later(timeout_s + _GRACE_S, exit=True, file=nowhere)
            check = await check_recording(replayer, _read(line), timeout_s)
            faulthandler.cancel_dump_traceback_later()
            _send(answers, asdict(check))
        os._exit(0)  # nothing is to be kept, and what the user's modules have started need not end


@asynccontextmanager
async def _replayer(order: dict[str, Any]) -> AsyncIterator[Replayer]:
    """Load the code and launch, then let nothing out any more."""
    sys.path.insert(0, os.getcwd())
    catalog = load_agents(tuple(order["import_paths"]))
    directory = Path(order["directory"])
    async with replaying(catalog, read_settings(), directory) as replayer:

        def refuse() -> NoReturn:
            replayer.tell_act("connect to Postgres")
            raise ActRefused("not while a run is replayed: connect to Postgres")

        with sealed(directory, replayer.tell_act), no_connection(refuse):
            yield replayer


def _read(line: bytes) -> Recording:
    stored = json.loads(line)
    steps = tuple(StoredStep(**step) for step in stored.pop("steps"))
    return Recording(**stored, steps=steps)


async def check_recording(replayer: Replayer, recording: Recording, timeout_s: float) -> RunCheck:
    """Return what the code of this process would do with one run."""
    try:
        _refuse_foreign(recording)
        trace = await replayer.replay(recording, request_of(recording), timeout_s)
        return judge(trace)
    except AgentNotFound as error:
        return unchecked(recording, "unknown_agent", str(error))
    except PayloadRefused as error:
        return unchecked(recording, "payload_refused", str(error))
    except TimeoutError:
        text = f"Its workflow code was neither over nor at a step within {timeout_s:g} s."
        return unchecked(recording, "not_over", text)


def _refuse_foreign(recording: Recording) -> None:
    """Decode everything that the run has stored.

    Raises: PayloadRefused.
    """
    for step in recording.steps:
        decode_step(step)
    for text in (recording.output, recording.error):
        if text is not None:
            _JSON.deserialize(text)


if __name__ == "__main__":
    main()
