"""What several rooms of tests share."""

import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until `predicate` is true; fail with its name when it is not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"{predicate!r} was not true within {timeout_s:g} s")
        time.sleep(0.01)
