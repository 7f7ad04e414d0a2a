"""The coverage coefficient kappa_t: how well the data of update t cover the final policies."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import NUMBER, Real, as_float, checked
from apo_sim.pytree import pytree_dataclass
from apo_sim.theory.closed_form_arguments import Number

PerUpdate = Float[Array, " updates"]


@pytree_dataclass
class Coverage:
    r"""kappa_t of every update, in natural logarithms since it overflows quickly.

    Attributes:
        log_printed: the printed (4.1), $\max_{x,y}\hat\pi_T\pi^*_T/\pi_t^2$, shape (updates,).
        log_corrected: what its proof needs,
            $\max_x[\max_y\frac{\pi^*_T}{\pi_t}\max_{y'}\frac{\hat\pi_T}{\pi_t}]$, shape (updates,).
    """

    log_printed: PerUpdate
    log_corrected: PerUpdate

    @property
    def printed(self) -> PerUpdate:
        """The printed kappa_t; infinite where it passes the largest float."""
        return jnp.exp(self.log_printed)

    @property
    def corrected(self) -> PerUpdate:
        """The corrected kappa_t, at least 1; infinite where it passes the largest float."""
        return jnp.exp(self.log_corrected)


@checked(behaviour=Real(shape=(None, None, None)), log_policy=NUMBER, log_exact=NUMBER)
def coverage(log_policy: Number, log_exact: Number, behaviour: Number) -> Coverage:
    r"""Both versions of the coverage coefficient of (4.1).

    The proof changes measure from $\pi^*_T\otimes\hat\pi_T$ to $\pi_t\otimes\pi_t$ on pairs of
    arms, which takes two separate maxima. The printed product at one arm is smaller whenever
    the two ratios peak at different arms, and the bound then does not follow.

    Args:
        log_policy: log pi_hat_T, shape (contexts, arms).
        log_exact: log pi*_T, shape (contexts, arms), see `apo_sim.theory.exact_policy`.
        behaviour: log pi_t of the updates that collected data, shape (updates, contexts, arms):
            ``solution.behaviour[:-1]``.

    Returns:
        A `Coverage`.

    Raises:
        InvalidArgument: wrong shapes, log-probabilities not finite.

    Example:
        >>> tilted = jnp.log(jnp.array([[0.9, 0.1]]))
        >>> kappa = coverage(tilted, tilted[:, ::-1], jnp.log(jnp.full((1, 1, 2), 0.5)))
        >>> round(float(kappa.printed[0]), 4), round(float(kappa.corrected[0]), 4)
        (0.36, 3.24)
    """
    run = as_float("log_policy", log_policy, behaviour.shape[1:]) - behaviour
    exact = as_float("log_exact", log_exact, behaviour.shape[1:]) - behaviour
    separate = jnp.max(run, axis=2) + jnp.max(exact, axis=2)
    return Coverage(jnp.max(run + exact, axis=(1, 2)), jnp.max(separate, axis=1))
