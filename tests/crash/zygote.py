"""Forks processes that have everything imported and nothing opened: 4 s of imports, paid once.

Each line on standard input is a plan; each line on standard output tells of a child's start or end.
"""

import json
import os
import random
import selectors
import signal
import sys
import threading
from typing import Any

import uvloop  # noqa: F401  # what a life would import itself is imported here, once

import agent_app.agents.deep_research.workflow
import agent_app.agents.twenty_questions.workflow
import agent_app.application
import agent_app.cli.execute
import agent_app.database.binaries  # noqa: F401
from tests.crash import subjects as subjects
from tests.crash.hooks import Hooks
from tests.crash.life import Plan, live


def main() -> None:
    """Serve until standard input ends, then kill the children that are left."""
    assert threading.active_count() == 1, "a forked child would lack the other threads"
    children: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    _tell_end(key.fd, key.data)
                    del children[key.data]
                elif line := sys.stdin.readline():
                    process_id = _fork(json.loads(line), selector)
                    handle = os.pidfd_open(process_id)
                    children[process_id] = handle
                    selector.register(handle, selectors.EVENT_READ, process_id)
                    _tell(process_id=process_id)
                else:
                    for handle in children.values():
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                    return


def _tell(**parts: int) -> None:
    print(json.dumps(parts), flush=True)


def _tell_end(handle: int, process_id: int) -> None:
    os.close(handle)
    _, status = os.waitpid(process_id, 0)
    _tell(process_id=process_id, code=os.waitstatus_to_exitcode(status))


def _fork(request: dict[str, Any], selector: selectors.BaseSelector) -> int:
    process_id = os.fork()
    if process_id == 0:
        selector.close()
        _become(request)
    return process_id


def _become(request: dict[str, Any]) -> None:
    """Turn the forked child into a process of its own; it never comes back."""
    code = 70
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            opened = os.open(path, os.O_RDONLY if number == 0 else flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        random.seed()
        # Whoever runs the tests in the background may have them ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        plan = request["plan"]
        code = live(Plan(**{**plan, "hooks": Hooks(**_with_tuple(plan["hooks"]))}))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _with_tuple(hooks: dict[str, Any]) -> dict[str, Any]:
    places = {name: hooks[name] and tuple(hooks[name]) for name in ("kill", "stop")}
    return {**hooks, **places}


if __name__ == "__main__":
    main()
