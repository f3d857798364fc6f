"""The hooks for a real `python -m agent_app`, which imports this through AGENT_APP_AGENTS."""

import json
import os

from tests.crash import subjects as subjects
from tests.crash.hooks import Hooks, install

install(Hooks(**json.loads(os.environ["CRASH_TEST_HOOKS"])))
