"""Verdicts for the tests: a worker checks a claim once, for all that ask for it."""

import functools

import pytest

from apo_sim import claims
from apo_sim.claims import registry

OURS = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]


@functools.cache
def check(id: str, seed: int = 0) -> claims.Verdict:
    return claims.check(id, seed=seed)


def of_group(id: str, *values, name: str | None = None):
    """A parameter whose test runs on the worker that checks the claim."""
    return pytest.param(id, *values, id=name or id, marks=pytest.mark.xdist_group(id))
