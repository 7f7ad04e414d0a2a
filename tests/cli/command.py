"""The command in this process: its status, and what it printed."""

from apo_sim import cli


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def validate(capsys, out, *ids, more=()):
    return run(capsys, "validate", "--out", out, "--jobs", 1, *more, "--claim", *ids)
