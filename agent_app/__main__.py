"""The command `agent-app`."""

import sys


def main() -> None:
    """Run the command line and end the process: 0 done, 1 our error, 2 bad usage."""
    from agent_app.cli import command_line
    from agent_app.cli.standard_streams import open_standard_streams

    open_standard_streams()
    sys.exit(command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
