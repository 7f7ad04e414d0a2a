"""Exit statuses of `apo-sim`."""

DONE, UNSOUND, USAGE, INTERRUPTED = 0, 1, 2, 130
