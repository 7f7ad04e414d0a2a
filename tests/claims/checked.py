"""Verdicts for the tests: a worker checks a claim once, for all that ask for it."""

import contextlib
import functools
from collections.abc import Iterator
from unittest import mock

import pytest
from jax._src import compiler

from apo_sim import claims
from apo_sim.claims import registry

# Claims that compile the same programs, or look at the same sweep, go to one worker.
SHARED = {
    **dict.fromkeys(("T4.4", "T4.4-stat", "T4.8", "LC.1", "R4.4"), "sampled"),
    **dict.fromkeys(("V4", "V4-gain"), "V4"),
    **dict.fromkeys(("N22", "N23"), "N22"),
    **dict.fromkeys(("F6", "F6b"), "F6"),
    **dict.fromkeys(("N13", "N15"), "N13"),
}
# Checks of ten seconds and more that are left to `make long`: each has shorter ones beside it, of
# the same kind of claim, and the reference ledger keeps its verdict.
LONG = {"A4.3", "B1", "B2", "F2", "N5", "N17", "R4.5", "V6"}
OURS = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]


# Checks that take far longer to run than to compile.
BUSY = {"N6", "N11", "V4", "V4-gain"}


@functools.cache
def check(id: str, seed: int = 0) -> claims.Verdict:
    with optimized() if id in BUSY else contextlib.nullcontext():
        return claims.check(id, seed=seed)


@contextlib.contextmanager
def optimized() -> Iterator[None]:
    """Compile as `apo-sim validate` does at quick effort, where conftest.py asks for less."""
    options = compiler.get_compile_options

    def better(*arguments, **named):
        made = options(*arguments, **named)
        made.executable_build_options.debug_options.xla_backend_optimization_level = 1
        return made

    with mock.patch.object(compiler, "get_compile_options", better):
        yield


def of_group(id: str, *values, name: str | None = None):
    """A parameter whose test runs on the worker that checks the claim, or in `make long`."""
    marks = [group(id), *([pytest.mark.long] if id in LONG else [])]
    return pytest.param(id, *values, id=name or id, marks=marks)


def group(id: str) -> pytest.MarkDecorator:
    """The mark of a test that asks for the claim."""
    return pytest.mark.xdist_group(SHARED.get(id, id))
