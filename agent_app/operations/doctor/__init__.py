"""The examination behind `agent-app doctor`: each check by itself, each finding with its remedy."""
