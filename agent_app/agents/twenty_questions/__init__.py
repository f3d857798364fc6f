"""A game of twenty questions between an agent that asks and an agent that answers."""
