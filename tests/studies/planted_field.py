"""Gaps of every method of the comparison, made up."""

import numpy as np
import xarray as xr

from apo_sim.studies import field
from apo_sim.studies.field_methods import TRIALS


def planted(changes: dict[str, float], problems: str = "bandits", seeds: int = 60) -> xr.Dataset:
    """Gaps of .2 with some noise for every method, but for some that are changed."""
    methods, kinds, _ = field.PROBLEMS[problems]
    noise, parts = np.random.default_rng(0), []
    for name, contender in methods.items():
        alphas = (0.0, 0.3) if contender.accelerates else (0.0,)
        shape = (len(alphas), len(kinds), 2, 3)
        labels = [field.label(name, alpha) for alpha in alphas]
        gap = noise.normal(0.2, 0.01, (*shape, seeds))
        gap += np.array([changes.get(each, 0.0) for each in labels]).reshape(-1, 1, 1, 1, 1)
        dims = ("contender", *field.CELL)
        parts.append(
            xr.Dataset(
                {
                    "tuning_gap": ((*dims, "trial"), np.ones((*shape, TRIALS))),
                    "best": (dims, np.full(shape, 3)),
                    "gap": ((*dims, "seed"), gap),
                },
                {
                    "problem": list(kinds),
                    "flipped": [0.0, 0.1],
                    "labels": [100, 1000, 10_000],
                    "contender": labels,
                    "base": ("contender", [name] * len(alphas)),
                    "alpha": ("contender", list(alphas)),
                },
            )
        )
    return xr.concat(parts, "contender").assign_attrs(problems=problems, iterations=10, tuning=5)
