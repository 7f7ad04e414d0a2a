"""The claims about networks: what they compare."""

import jax
import numpy as np

from apo_sim.claims import v6

SEEDS = 12


def test_what_is_missed_is_small_beside_the_control():
    with jax.enable_x64(True):
        for name in v6.LABELS:
            for alpha in v6.ALPHAS:
                missed, moved = v6._measured(name, SEEDS, alpha, 0, False)
                flipped, beside = v6._measured(name, SEEDS, alpha, 0, True)
                assert np.all(missed >= 0) and np.all(moved > 0)
                # Before the first extrapolation the two trainings are one.
                np.testing.assert_allclose(beside[:, 0], moved[:, 0], rtol=1e-9)
                # The other direction is twice as far away, which divergences square.
                assert 2.0 < np.median(flipped[:, -1] / beside[:, -1]) < 6.0
                if alpha == 0.3:
                    assert np.median(missed[:, -1] / moved[:, -1]) < 0.1
