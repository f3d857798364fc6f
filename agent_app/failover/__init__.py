"""Signs of life of executors, and the runs of those that died."""
