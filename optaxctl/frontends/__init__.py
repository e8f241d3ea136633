"""The few lines that a front end needs; most need none, see `examples/`."""
