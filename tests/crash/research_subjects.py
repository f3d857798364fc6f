"""The shipped research in a process under test; its web is the server on CRASH_TEST_PORT."""

import os

import pytest

from tests.doors.page_server import Site
from tests.durability.researching import reach_web

reach_web(Site(int(os.environ["CRASH_TEST_PORT"])), pytest.MonkeyPatch())
