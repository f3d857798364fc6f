"""Connections to Postgres that are refused: libpq opens its sockets where no audit hook sees it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg


@contextmanager
def no_connection(refuse: Callable[[], NoReturn]) -> Iterator[None]:
    """Call `refuse`, which raises, wherever psycopg is to connect while the block runs."""

    def connect(*args: Any, **options: Any) -> NoReturn:
        refuse()

    places: list[tuple[Any, Any]] = [
        (place, vars(place)["connect"])
        for place in (psycopg, psycopg.Connection, psycopg.AsyncConnection)
    ]
    for place, _ in places:
        place.connect = staticmethod(connect) if isinstance(place, type) else connect
    try:
        yield
    finally:
        for place, original in places:
            place.connect = original
