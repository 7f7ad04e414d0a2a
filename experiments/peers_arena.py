"""The solver of `arena-rank` (in JAX): maximum-likelihood Bradley-Terry scores, no bound on them.

Its releases pin older versions of JAX and NumPy than ours, so it is in no extra: `pip install
--no-deps arena-rank` puts it beside them.
"""

import jax.numpy as jnp
import numpy as np
from arena_rank.models.bradley_terry import BradleyTerry
from arena_rank.utils.data_utils import PairDataset
from peers_numpy import Floats, Solver


def _fit(wins: Floats, start: Floats, tolerance: float) -> Floats:
    """L-BFGS on the mean loss, which it compiles anew for every problem."""
    winners, losers = np.nonzero(wins)
    counts = jnp.asarray(wins[winners, losers])
    ones = jnp.ones_like(counts)
    pairs = jnp.asarray(np.stack([winners, losers], axis=1))
    names = list(map(str, range(len(wins))))
    data = PairDataset(names, pairs, ones, counts, ones, counts)
    model = BradleyTerry(len(wins), ftol=0.0, gtol=tolerance)
    model.params = {"ratings": jnp.asarray(start)}
    model.fit(data)
    scores = np.asarray(model.params["ratings"])
    return scores - scores.mean()


SOLVERS: dict[str, Solver] = {"BradleyTerry (L-BFGS)": _fit}
