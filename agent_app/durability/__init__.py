"""The heart: an agent's model and tool calls go in, steps with checkpoints in Postgres come out."""
