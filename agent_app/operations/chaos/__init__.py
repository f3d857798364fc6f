"""Chaos: what a run survives, in processes that are made to fail and are killed."""
