"""A TCP proxy in front of Postgres that stops forwarding, or resets every connection, on demand."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from psycopg import conninfo

_CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: the peer gets RST instead of an orderly end."""


class Proxy:
    """Forwards connections to a server until it is told otherwise; every method is thread-safe."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._loop = asyncio.new_event_loop()
        self._forwards = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's URL with the proxy in its place."""
        port = self._listener.getsockname()[1]
        parts = conninfo.conninfo_to_dict(self._server_url)
        login = f"{parts.get('user', '')}:{parts.get('password', '')}".rstrip(":")
        return f"postgresql://{login}@127.0.0.1:{port}/{parts['dbname']}?sslmode=disable"

    def pause(self) -> None:
        """Forward nothing and answer nobody from now on; all connections stay open."""
        self._loop.call_soon_threadsafe(self._forwards.clear)

    def resume(self) -> None:
        """Forward again, what has waited first."""
        self._loop.call_soon_threadsafe(self._forwards.set)

    def strand(self) -> None:
        """Never forward again on the connections of now, which stay open; new ones work."""
        self._loop.call_soon_threadsafe(self._strand)

    def cut(self) -> None:
        """Reset every connection; new ones are forwarded."""
        self._loop.call_soon_threadsafe(self._reset)

    def close(self) -> None:
        """End it with all its connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._forwards.set()
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, sock=self._listener)
        )
        self._loop.run_forever()
        server.close()
        self._reset()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        forwards = self._forwards
        await forwards.wait()
        try:
            upstream_reader, upstream_writer = await self._connect()
        except OSError:  # the server is down: the client is told as a closed port would tell it
            self._drop(writer)
            return
        self._writers.add(upstream_writer)
        self._start(self._forward(reader, upstream_writer, forwards))
        self._start(self._forward(upstream_reader, writer, forwards))

    def _start(self, forwarding: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(forwarding)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = conninfo.conninfo_to_dict(self._server_url)
        host, port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forwards: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await forwards.wait()
                writer.write(chunk)
                await writer.drain()
        await forwards.wait()  # an end is told as late as everything else
        self._drop(writer)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    def _strand(self) -> None:
        self._forwards.clear()
        self._forwards = asyncio.Event()
        self._forwards.set()

    def _reset(self) -> None:
        for writer in list(self._writers):
            with suppress(OSError):
                peer = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
            self._writers.discard(writer)


@contextmanager
def proxied(server_url: str) -> Iterator[Proxy]:
    """Yield a proxy of the server while the block runs."""
    proxy = Proxy(server_url)
    try:
        yield proxy
    finally:
        proxy.close()
