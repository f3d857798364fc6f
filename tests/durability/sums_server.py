"""An MCP server over stdio that notes each request to it in the file that it is given."""

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("sums", instructions="Add with care.")


def note(what: str) -> None:
    """Append a line."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{what}\n")


@server.tool()
def add(x: int, y: int) -> int:
    """Add two numbers."""
    note(f"add {x} {y}")
    return x + y


@server.tool()
def refuse() -> int:
    """Fail."""
    note("refuse")
    raise ValueError("never")


if __name__ == "__main__":
    note("started")
    server.run("stdio")
