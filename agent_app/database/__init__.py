"""Postgres: the embedded server or the user's own, its schema, and typed rows out of it."""
