"""How the command shows things: on a terminal, in a log, and as JSON."""
