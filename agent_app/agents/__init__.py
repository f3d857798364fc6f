"""The agents that agent_app ships, each in its own package."""
