"""Connections on which nothing comes back, though nobody has closed them."""

import socket

from agent_app.database.connect import Database
from agent_app.failover.lease import executor_lease
from tests.crash.proxy import proxied
from tests.failover.test_lease import is_free, keepers
from tests.helpers import wait_until


def test_lock_is_taken_anew_when_no_ping_is_answered(database: Database) -> None:
    """The server frees the lock; the executor gives its silent connection up and has it again."""
    with proxied(database.url) as proxy:
        behind = Database(proxy.url, "proxy")
        with executor_lease(behind, "one", lease_s=0.5):
            (keeper,) = keepers(database)
            proxy.strand()
            wait_until(lambda: is_free(database, "one"))
            wait_until(lambda: keepers(database) not in ([], [keeper]))
            assert not is_free(database, "one")


def test_kernel_gives_up_a_peer_that_is_gone(database: Database) -> None:
    """Every connection over TCP asks for signs of life, as often as the URL says if it does."""
    with proxied(database.url) as proxy:
        for url, idle_s in ((proxy.url, 15), (f"{proxy.url}&keepalives_idle=99", 99)):
            with Database(url, "proxy").connect() as connection:
                end = socket.socket(fileno=connection.fileno())
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle_s
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
                end.detach()
            assert f"keepalives_idle={idle_s}" in Database(url, "proxy").sqlalchemy_url
