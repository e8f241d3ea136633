"""What the exit status of a command means, beside 0, success, and 2, wrong usage."""

FAILED, NOT_FOUND, INTERRUPTED = 1, 3, 130
