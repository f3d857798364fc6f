"""The verbs that all doors share: start, read, control."""
