"""Traces and logs of a process that executes runs; without a token nothing leaves the machine."""

import logging

import logfire


def observe() -> None:
    """Configure Logfire, once at a door: agents' spans go out if a token is there, else nowhere.

    Any OTLP endpoint that the standard variables name gets them too.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logfire.configure(
        service_name="agent-app",
        send_to_logfire="if-token-present",
        console=False,
        inspect_arguments=False,
    )
    logfire.instrument_pydantic_ai()
