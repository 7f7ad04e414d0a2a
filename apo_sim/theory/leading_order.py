r"""What sampling does to the gap, to leading order in 1/N, in closed form.

With N pairs an iteration the update learns $r_t = r^* + \epsilon_t$, and $\log\hat\pi_T =
\log\pi_{\rm ref} + \sum_t a_{T,t} r_t$ is an identity (Theorem 4.1), $a_{T,t} = w_{T-t}/\beta_t$.
To leading order $\epsilon_t$ is the error of a Bradley-Terry maximum likelihood whose data come
from the *exact* policy $\pi_t$: covariance $G_t/N$, the pseudo-inverse of the Laplacian of weights
$2\pi_i\pi_j\sigma'(r_i-r_j)$, and mean $b_t/N$, the bias of Cox and Snell, $b_t = G_t s_t$,
$s_t(i) = -\frac12\sum_j 2\pi_i\pi_j\sigma''(r_i-r_j)\,(G_{ii}+G_{jj}-2G_{ij})$. Errors of different
updates are uncorrelated. Put into the Taylor series of the gap, with gradient -g and Hessian -H,

$$N\,(E\,\mathrm{gap} - \mathrm{gap}_\infty) \to c = -\Bigl(g^\top b + \tfrac12\mathrm{tr}(HC)
\Bigr), \quad N\,\mathrm{Var}(\mathrm{gap}) \to g^\top C g, \quad C = \sum_t a_{T,t}^2 G_t,\
b = \sum_t a_{T,t} b_t.$$

The variances and biases of rare arms grow like the inverse of their probability. All of it is
computed in units of the square root of that, in which the Laplacian, grounded at the likeliest arm,
is well conditioned; every term that meets the final policy is then finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.checks import POSITIVE, as_count, check_room, checked
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Geometry
from apo_sim.geometry.bregman import GEOMETRY, check_reference
from apo_sim.problems import PROBLEM, Bandit, LogPolicy, Problem
from apo_sim.pytree import boxed, like, pytree_dataclass, unboxed
from apo_sim.theory.closed_form_arguments import Number, as_proximal_weight
from apo_sim.theory.closed_forms import with_reward
from apo_sim.theory.paths import PerIteration

Weights = Float[Array, "iterations rewards"]
PerArm = Float[Array, "contexts arms"]
Products = Float[Array, "contexts arms arms"]

TRUSTED = 0.1
"""The `LeadingOrder.index` up to which the law was right to about a tenth of its effect, within
error bars, in 121 simulated effects of random settings that had no part in choosing the index."""

# So many standard deviations of a learned reward have to fit below the bound on it.
_DEVIATIONS = 4.0
# An arm of less mass than this power of the least float is as good as never drawn.
_RAREST = 0.8
# Arrays of the size of all pairs of arms in all updates that are held at a time.
_ARRAYS = 6


@pytree_dataclass
class LeadingOrder:
    r"""The law of the gap of pi_hat_1 ... pi_hat_T; every field has shape (iterations,).

    Attributes:
        exact_gap: with exact preferences, in units of reward, expectation over contexts.
        coefficient: c, so that the mean gap is exact_gap + c/N up to terms of order 1/N^2;
            negative where noise helps.
        bias: the part of c that the bias of the learned rewards makes, -g·b; the rest is what
            their variance makes.
        variance: of the gap, times N.
        spread: of log pi_hat, relative to the effect: the variance of the logarithm of an arm's
            probability and that of its learned rewards, times N, averaged over arms and updates
            with the weights of what each adds to c, over |c|. Infinite where c is 0.
        reward_variance: the variance of a learned reward, times N, averaged with the same weights.
        reward_range: of the rewards, the largest max r* - min r* of a context.
    """

    exact_gap: PerIteration
    coefficient: PerIteration
    bias: PerIteration
    variance: PerIteration
    spread: PerIteration
    reward_variance: PerIteration
    reward_range: PerIteration

    @checked(samples=POSITIVE)
    def expected_gap(self, samples: Number) -> PerIteration:
        """The mean gap with `samples` pairs an iteration, as the law has it.

        Raises:
            InvalidArgument: samples not positive.
        """
        return self.exact_gap + self.coefficient / samples

    @checked(samples=POSITIVE)
    def deviation(self, samples: Number) -> PerIteration:
        """The standard deviation of the gap with `samples` pairs an iteration.

        Raises:
            InvalidArgument: samples not positive.
        """
        return jnp.sqrt(self.variance / samples)

    @checked(samples=POSITIVE)
    def index(self, samples: Number) -> PerIteration:
        """How large the next order is to be expected, relative to this one: `spread` / samples.

        Raises:
            InvalidArgument: samples not positive.
        """
        return self.spread / samples

    @checked(samples=POSITIVE, reward_bound=POSITIVE)
    def valid(self, samples: Number, *, reward_bound: Number | float = 2.0) -> Bool[Array, "..."]:
        r"""Whether the law is right to about a tenth of its effect |c|/N.

        That was found in simulation, not proved, wherever `index` is at most `TRUSTED` and R lets
        the learned rewards vary: $2R - \max_x(\max r^* - \min r^*)$ at least four of their
        standard deviations.

        Args:
            samples: preference pairs an iteration N.
            reward_bound: R of Assumption 4.3, 2 being what `apo_sim.run` takes by itself.

        Raises:
            InvalidArgument: samples or reward_bound not positive.
        """
        room = 2.0 * reward_bound - self.reward_range
        free = room >= _DEVIATIONS * jnp.sqrt(self.reward_variance / samples)
        return (self.index(samples) <= TRUSTED) & free


def _as_rule(name: str, value: Any) -> Any:
    """A momentum rule, by what it can do: theory does not import the library's own."""
    can = all(callable(getattr(value, part, None)) for part in ("init", "extrapolate"))
    if isinstance(value, type) or not can:
        raise InvalidArgument(
            name,
            value,
            "is not a momentum rule",
            "pass an instance such as apo_sim.Constant(0.3), with init and extrapolate",
        )
    return value


def _as_legendre(name: str, value: Any) -> Geometry:
    """A geometry in which the policy is a smooth function of the rewards."""
    geometry = GEOMETRY(name, value)
    if not geometry.legendre:
        raise InvalidArgument(
            name,
            value,
            "lets arms lose all their mass, where the law is not differentiable",
            "pass a geometry that keeps all arms, such as apo_sim.KL() or apo_sim.geometry.Burg()",
        )
    return geometry


@checked(
    problem=PROBLEM,
    momentum=_as_rule,
    beta=POSITIVE,
    iterations=as_count,
    geometry=_as_legendre,
)
def leading_order(
    problem: Problem,
    momentum: Any,
    beta: Number,
    iterations: int,
    geometry: Geometry = KL(),
) -> LeadingOrder:
    r"""The law of the gap over N, to leading order, of DPO on sampled Bradley-Terry preferences.

    For pairs drawn from the policy itself, N an iteration spread over the contexts, and a policy
    that is a table. The reward bound R is taken not to bind. In other geometries than KL it is the
    dual coordinates z = phi'(pi) that are linear in the rewards, and with u = 1/phi''(pi), v the
    second derivative of pi in z, s = u/sum u and l = r* - <s, r*> the value has

    $$g = u\,l, \qquad H = \mathrm{diag}(v l) - (v l) s^\top - s (v l)^\top +
    \langle v, l\rangle\, s s^\top.$$

    Args:
        problem: a `Bandit`.
        momentum: any rule that is linear, see `apo_sim.momentum`; its weights are found by running
            it on one reward after the other.
        beta: proximal weight, a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        geometry: of the proximal step, one that keeps all arms: KL, Tsallis, Burg, ChiSquareKL.
            `TRUSTED` was found for KL.

    Returns:
        A `LeadingOrder`, for the whole path. Works inside `jax.jit` and `jax.vmap`. The cost is
        T K^3 for the updates and T^2 K^2 for the paths, in each context.

    Raises:
        InvalidArgument: the problem has no latent reward, `momentum` is no rule or a schedule of
            another length, beta not positive or of another length, iterations not a count, a
            geometry that is none, lets arms vanish or has no coordinates for the reference.

    Source: ours (N13); the bias is that of Cox and Snell (1968).

    Example:
        >>> from types import SimpleNamespace
        >>> plain = SimpleNamespace(
        ...     init=lambda tree: (), extrapolate=lambda new, state, t: (new, state)
        ... )
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> law = leading_order(bandit, plain, beta=2.0, iterations=1)
        >>> round(float(law.coefficient[0]), 4)  # below zero: noise helps one step
        -0.203
    """
    problem = with_reward(problem)
    arms = problem.num_arms
    shape = (iterations, problem.num_contexts, arms, max(arms, -(-iterations // arms)))
    check_room("iterations", iterations, shape, _ARRAYS)
    betas = as_proximal_weight(beta, iterations).astype(problem.log_ref.dtype)
    alphas = getattr(momentum, "alphas", None)
    if alphas is not None and jnp.shape(alphas) != (iterations,):
        raise InvalidArgument(
            "momentum",
            momentum,
            f"is a schedule of the wrong length for iterations = {iterations}",
            "pass one alpha for each iteration",
        )
    check_reference(geometry, problem.log_ref)
    return _law(problem, boxed(momentum, "momentum"), boxed(geometry, "geometry"), betas)


@jax.jit
def _law(
    problem: Bandit, rule: Any, geometry: Any, betas: Float[Array, " iterations"]
) -> LeadingOrder:
    geometry = unboxed(geometry).at(problem.log_ref)
    before, after = _weights(unboxed(rule), betas)
    centres = jnp.concatenate([jnp.zeros_like(after[:1]).at[0, -1].set(1.0), after[:-1]])
    noises = jax.vmap(_noise, (None, 0))(problem.reward, _exact(problem, geometry, centres))
    log_policies = _exact(problem, geometry, before)

    def at(point: tuple[Array, LogPolicy]) -> dict[str, Array]:
        weights, log_policy = point
        return _at(problem, geometry, noises, weights[:-1], log_policy)

    found = jax.lax.map(at, (before, log_policies))
    widest = jnp.max(jnp.ptp(problem.reward, axis=1))
    return LeadingOrder(**found, reward_range=jnp.broadcast_to(widest, betas.shape))


def _weights(rule: Any, betas: Float[Array, " iterations"]) -> tuple[Weights, Weights]:
    """Of every reward, and of the reference last, in pi_hat_1 ... pi_hat_T and pi_1 ... pi_T."""
    iterations = betas.shape[0]
    start = jnp.zeros(iterations + 1, betas.dtype).at[-1].set(1.0)

    def update(carry: Any, t: Any) -> Any:
        centre, state = carry
        new = centre.at[t].add(1.0 / betas[t])
        after = like(rule.extrapolate(new, state, t + 1), (centre, state))
        return after, (new, after[0])

    return jax.lax.scan(update, (start, rule.init(start)), jnp.arange(iterations))[1]


def _exact(
    problem: Bandit, geometry: Any, weights: Weights
) -> Float[Array, "iterations contexts arms"]:
    """The policies that rewards equal to r* lead to, normalised."""
    gamma, of_reference = jnp.sum(weights[:, :-1], axis=1), weights[:, -1]
    lead = problem.reward - jnp.max(problem.reward, axis=1, keepdims=True)
    dual = geometry.dual(problem.log_ref)
    return geometry.policy(of_reference[:, None, None] * dual + gamma[:, None, None] * lead)


class _Noise(NamedTuple):
    r"""The error of the rewards that are learned from pairs of one policy, times N.

    With $q = \sqrt\pi$: `products` W has $G_{ij} = W_{ij}/(q_i q_j)$ for a generalised inverse G
    (constants in y do not matter), `push` is s. `variances` are those of each arm's reward relative
    to the mean of the others.
    """

    log_policy: LogPolicy
    products: Products
    push: PerArm
    variances: PerArm


def _noise(reward: PerArm, log_policy: LogPolicy) -> _Noise:
    arms = reward.shape[1]
    lead = reward[:, :, None] - reward[:, None, :]
    itself = jnp.eye(arms, dtype=bool)
    slope = jnp.where(itself, 0.0, jax.nn.sigmoid(lead) * jax.nn.sigmoid(-lead))
    bend = -slope * jnp.tanh(lead / 2)  # the second derivative of the sigmoid
    policy, root = jnp.exp(log_policy), jnp.exp(log_policy / 2)
    roots = root[:, :, None] * root[:, None, :]
    degree = 2.0 * jnp.einsum("xij,xj->xi", slope, policy)
    grounded = jnp.argmax(log_policy, axis=1)[:, None] == jnp.arange(arms)
    either = grounded[:, :, None] | grounded[:, None, :]
    laplacian = jnp.where(itself, degree[:, :, None], -2.0 * slope * roots)
    laplacian = jnp.where(either, itself, laplacian)
    # No entry of the factor or of its inverse is a difference: rare arms keep their digits.
    factor = jnp.linalg.cholesky(laplacian)
    identity = jnp.broadcast_to(jnp.eye(arms, dtype=root.dtype), laplacian.shape)
    half = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    products = jnp.where(either, 0.0, jnp.einsum("xki,xkj->xij", half, half))
    own = jnp.diagonal(products, axis1=1, axis2=2)
    apart = policy[:, None, :] * own[:, :, None] + policy[:, :, None] * own[:, None, :]
    push = -jnp.sum(bend * (apart - 2.0 * roots * products), axis=2)
    variances = _variances(log_policy, products, log_policy)
    return _Noise(log_policy, products, push, variances)


def _variances(centre: LogPolicy, products: Products, log_policy: LogPolicy) -> PerArm:
    """Of each arm's reward relative to the mean of the others', for data from `centre`."""
    centre = _floored(centre)
    relative = jnp.exp(log_policy - centre / 2)
    moved = jnp.einsum("xij,xj->xi", products, relative)
    whole = jnp.einsum("xi,xi->x", relative, moved)[:, None]
    inverse = jnp.exp(-centre / 2)
    own = jnp.diagonal(products, axis1=1, axis2=2)
    of_all = jnp.maximum(inverse * (own * inverse - 2.0 * moved) + whole, 0.0)
    # The mean of all has a share of the arm itself in it.
    others = jnp.exp(-_floored(2.0 * jnp.log(-jnp.expm1(log_policy))))
    # Without bound where nothing else is drawn; it is to stay a number.
    return jnp.minimum(of_all * others, jnp.finfo(of_all.dtype).max ** 0.25)


def _floored(log_mass: Array) -> Array:
    return jnp.maximum(log_mass, _RAREST * jnp.log(jnp.finfo(log_mass.dtype).tiny))


class _Slopes(NamedTuple):
    """How the policy depends on its dual coordinates less their normaliser, arm by arm.

    `log_first` is the logarithm of the first derivative u of the policy, `log_shares` that of
    s = u / sum u; `relative` is d log pi / dz and `second` the second derivative over the policy.
    For KL the first three are the policy, and the other two 1.
    """

    log_first: LogPolicy
    log_shares: LogPolicy
    relative: PerArm
    second: PerArm


def _slopes(geometry: Any, log_policy: LogPolicy) -> _Slopes:
    ones = jnp.ones_like(log_policy)

    def stretch(log_policy: LogPolicy) -> PerArm:
        return jax.jvp(geometry.dual, (log_policy,), (ones,))[1]

    first, second = jax.jvp(stretch, (log_policy,), (ones,))
    log_first = log_policy - jnp.log(first)
    shares = jax.nn.log_softmax(log_first, axis=-1)
    return _Slopes(log_first, shares, 1.0 / first, (1.0 - second / first) / first**2)


def _at(
    problem: Bandit,
    geometry: Any,
    noises: _Noise,
    weights: Float[Array, " rewards"],
    log_policy: LogPolicy,
) -> dict[str, Array]:
    """The law for one of the policies before extrapolation."""
    policy = jnp.exp(log_policy)
    slopes = _slopes(geometry, log_policy)
    value = jnp.sum(jnp.exp(slopes.log_shares) * problem.reward, axis=1, keepdims=True)
    lead = problem.reward - value
    curved = slopes.second * lead  # of the Hessian, over the policy
    left = jnp.sum(policy * curved, axis=1, keepdims=True)
    met = problem.context_probs > 0
    # Every context gets N rho_x of the pairs, and has a share rho_x in the gap.
    share = jnp.where(met, problem.context_probs, 1.0)[:, None]
    a = weights[:, None, None]

    def of_update(noise: _Noise, used: Array) -> tuple[Array, ...]:
        # Later updates do not count, and their policies may be anywhere.
        centre = _floored(jnp.where(used, noise.log_policy, log_policy))
        products = noise.products
        gradient = jnp.exp(slopes.log_first - centre / 2) * lead
        shares = jnp.exp(slopes.log_shares - centre / 2)
        bend = jnp.exp(log_policy - centre / 2) * curved
        pushed, pulled, bent, shifted = (
            jnp.einsum("xij,xj->xi", products, part)
            for part in (noise.push * jnp.exp(-centre / 2), gradient, bend, shares)
        )
        own = jnp.diagonal(products, axis1=1, axis2=2)
        bias = gradient * pushed
        twice = jnp.exp(log_policy - centre) * curved * own - 2.0 * shares * bent
        twice = twice + left * shares * shifted
        varied = jnp.sum(gradient * pulled, axis=1)
        spread = slopes.relative**2 * _variances(centre, products, slopes.log_shares)
        return bias, twice, varied, spread / share

    bias, bent, varied, spread = jax.vmap(of_update)(noises, weights != 0)
    bias, bent = (jnp.where(met[:, None], part, 0.0) for part in (a * bias, a**2 * bent))
    parts = -(bias + bent / 2)
    coefficient = jnp.sum(parts)
    sizes = jnp.abs(parts)
    learned = noises.variances / share
    both = learned + jnp.sum(a**2 * spread, axis=0)
    return {
        "exact_gap": problem.context_probs @ problem.suboptimality_of(policy),
        "coefficient": coefficient,
        "bias": -jnp.sum(bias),
        "variance": problem.context_probs @ jnp.sum(a[:, 0] ** 2 * varied, axis=0),
        "spread": _over(jnp.sum(sizes * both), jnp.abs(coefficient)),
        "reward_variance": _over(jnp.sum(sizes * learned), jnp.sum(sizes)),
    }


def _over(part: Array, whole: Array) -> Array:
    """part / whole, infinite where there is no whole."""
    some = whole > 0
    return jnp.where(some, part / jnp.where(some, whole, 1.0), jnp.inf)
