"""What `apo-sim` does: a file a subcommand, whose `run` takes its options and gives a status.

Each is imported when it is asked for, and imports what it needs at its top: until `run` begins,
Ctrl-C ends the process without a word.
"""
