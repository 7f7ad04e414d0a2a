"""Every objective on a transformer that is a table has the minimiser that the table has."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.optimize import brentq, linprog, minimize
from scipy.special import expit, wrightomega

import apo_sim as apo
from apo_sim.llm.data.batches import Batch, batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import tiny
from apo_sim.llm.training import objectives
from apo_sim.llm.training.objectives import Objective
from apo_sim.llm.training.step import response_log_probs
from apo_sim.losses import KTO

pytestmark = pytest.mark.llm

CONTEXTS, ARMS, FIRST = 3, 5, 10
PROMPTS = [(2,), (3, 4), (5, 6, 7)]
# Of the arms' texts: the same in a context, and different ones.
SINGLE = np.ones((CONTEXTS, ARMS), int)
MIXED = np.array([[1, 2, 3, 1, 2], [2, 1, 1, 3, 2], [3, 1, 2, 2, 1]])
PLACES = [(x, i, j) for x in range(CONTEXTS) for i in range(ARMS) for j in range(ARMS)]


def text(x: int, arm: int, lengths: np.ndarray) -> tuple[int, ...]:
    """The arm's own token, as often as it is long: no other token is ever given."""
    return (FIRST + arm,) * int(lengths[x, arm])


class Table(NamedTuple):
    """A transformer whose head alone is trained, all its probability on the tokens of the arms.

    The head is linear in its parameters, and has more of them than there are places.

    Attributes:
        log_probs: from the head to log pi of every arm, shape (contexts * arms,).
        pull: from the head and a slope by these to the slope by the head.
        head: at the reference policy.
        lengths: of the arms' texts.
    """

    log_probs: Callable[[Any], Any]
    pull: Callable[[Any, Any], Any]
    head: Any
    lengths: np.ndarray


def table(lengths: np.ndarray) -> Table:
    with jax.enable_x64(False):
        arms = [(x, i) for x in range(CONTEXTS) for i in range(ARMS)]
        pairs = [Preference(PROMPTS[x], text(x, i, lengths), (1,)) for x, i in arms]
        (batch,) = batches(pairs, len(pairs), beta=1.0, padding=0)
        alone = Batch(**{**vars(batch), "tokens": batch.tokens[:, :1], "mask": batch.mask[:, :1]})
        network: Any = tiny.model(num_layers=1).network
        graph, state = nnx.split(network)
        flat = dict(nnx.to_flat_state(state))

        def network_with(head):
            changed = {**flat, ("lm_head", "w"): flat["lm_head", "w"].replace(head)}
            return nnx.merge(graph, nnx.from_flat_state(changed))

        def run(head):
            return response_log_probs(network_with(head), alone)[:, 0]

        def states(head):
            """What the head is multiplied by where a response begins, shape (contexts, size)."""
            found = []
            for prompt in PROMPTS:
                tokens, size = jnp.array([prompt]), len(prompt)
                mask = jnp.tril(jnp.ones((1, size, size), bool))
                logits, _ = network_with(head)(tokens, jnp.arange(size)[None], None, mask)
                found.append(logits[0, -1, : len(head)])
            return jnp.stack(found)

        head = 0.5 * network.lm_head.w.get_value()  # so that no arm is too rare to be learned
        given = jax.jit(states)(jnp.eye(*head.shape, dtype=head.dtype))
        down = np.linalg.lstsq(np.asarray(given), np.full(CONTEXTS, 30.0), rcond=None)[0]
        others = [token for token in range(head.shape[1]) if not FIRST <= token < FIRST + ARMS]
        return Table(
            jax.jit(run),
            jax.jit(lambda head, slope: jax.vjp(run, head)[1](slope)[0]),
            head.at[:, jnp.array(others)].add(-jnp.asarray(down, head.dtype)[:, None]),
            lengths,
        )


BETA = 0.5


@pytest.fixture(scope="module")
def single() -> Table:
    return table(SINGLE)


@pytest.fixture(scope="module")
def mixed() -> Table:
    return table(MIXED)


def problem_of(on: Table) -> apo.Bandit:
    """Rewards for the arms, whose reference policy is what the transformer's head begins with."""
    reward = jax.random.uniform(jax.random.key(3), (CONTEXTS, ARMS), minval=-1.0)
    log_ref = np.asarray(on.log_probs(on.head), float).reshape(CONTEXTS, ARMS)
    return apo.Bandit(reward, jax.nn.log_softmax(jnp.asarray(log_ref), axis=1))


class Pairs(NamedTuple):
    """Preference pairs, and the places of their responses among the arms, shape (pairs, S)."""

    pairs: list[Preference]
    places: np.ndarray


def pairs_of(cells: Any, lengths: np.ndarray, log_normalizer: Any = None, others: Any = None):
    """Every pair of arms, weighted by its law; with `others`, beside each arm of another prompt."""
    found, places = [], []
    normalisers = np.full(CONTEXTS, 0.5) if log_normalizer is None else log_normalizer
    shares = np.ones(1) if others is None else np.asarray(others)
    for x, i, j in PLACES:
        for k, share in enumerate(shares):
            winner, loser = text(x, i, lengths), text(x, j, lengths)
            other = () if others is None else text(x, k, lengths)
            weight = float(cells[x, i, j] * share)
            log_z = float(normalisers[x])
            found.append(Preference(PROMPTS[x], winner, loser, weight, log_z, other))
            three = [ARMS * x + i, ARMS * x + j, ARMS * x + k]
            places.append(three[: 2 if others is None else 3])
    return Pairs(found, np.array(places))


@jax.jit
def improve(head, slope, state, rate):
    """Adam."""
    change, state = optax.scale_by_adam().update(slope, state)
    return head - rate * change, state


def fitted(on: Table, aim: Objective, data: Pairs, steps=200, rate=0.1) -> np.ndarray:
    """log pi of every arm where the training from the reference policy ends."""
    with jax.enable_x64(False):
        head = on.head
        reference = np.asarray(on.log_probs(head))[data.places]
        size = len(data.pairs)
        (batch,) = batches(data.pairs, size, beta=BETA, padding=0, reference=reference)
        places = jnp.asarray(data.places)

        @jax.jit
        @jax.grad
        def slope(log_probs):
            return jnp.mean(batch.weight * aim.values(log_probs[places], batch)[0])

        state = optax.scale_by_adam().init(head)
        for step in range(steps):
            pull = on.pull(head, slope(on.log_probs(head)))
            head, state = improve(head, pull, state, rate * (1.0 - step / steps) ** 2)
        return np.asarray(on.log_probs(head), float).reshape(CONTEXTS, ARMS)


def total_variation(log_p, log_q):
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1).max()


def scores_of_least(loss: Callable[[Any], tuple[Any, Any]], cells: Any) -> np.ndarray:
    """The scores of least mean loss, by quasi-Newton steps in each context.

    Args:
        loss: from h_winner - h_loser to value and slope.
        cells: law of winner and loser, shape (contexts, arms, arms).
    """
    found = []
    for weight in np.asarray(cells):

        def mean(h, weight=weight):
            value, slope = loss(h[:, None] - h)
            force = weight * slope
            return np.sum(weight * value), force.sum(axis=1) - force.sum(axis=0)

        found.append(minimize(mean, np.zeros(ARMS), jac=True, tol=1e-10).x)
    return np.array(found)


def logistic(tilt: float = 0.0, margin: float = 0.0):
    """log(1 + e^-(d - margin)) + tilt d, and its slope."""
    return lambda d: (np.logaddexp(0.0, margin - d) + tilt * d, tilt - expit(margin - d))


def squared(margin: float):
    return lambda d: ((d - margin) ** 2, 2.0 * (d - margin))


def scores_of_least_hinge(cells: Any) -> np.ndarray:
    """The scores of least mean hinge loss, by a linear program in each context."""
    two = [(i, j) for i in range(ARMS) for j in range(ARMS) if i != j]
    # Unknown: the scores, and the loss of each pair, at least 1 - (h_i - h_j) and 0.
    lead = np.array([np.eye(ARMS)[j] - np.eye(ARMS)[i] for i, j in two])
    bounds = [(0, 0), *[(None, None)] * (ARMS - 1), *[(0, None)] * len(two)]
    left, found = np.hstack([lead, -np.eye(len(two))]), []
    for weight in np.asarray(cells):
        cost = np.concatenate([np.zeros(ARMS), [weight[i, j] for i, j in two]])
        found.append(linprog(cost, left, -np.ones(len(two)), bounds=bounds).x[:ARMS])
    return np.array(found)


def policy_of(scores: np.ndarray, log_ref: Any, inverse: Callable[[Any], Any], most: float):
    """log of pi_ref u with f'(u) = (h + c) / beta, c what makes it a policy.

    Args:
        scores: h, shape (contexts, arms).
        log_ref: of the same shape.
        inverse: that of f'.
        most: what f' is below of.
    """
    found = []
    for h, log_p in zip(scores, np.asarray(log_ref), strict=True):
        high = min(most, 30.0) - h.max() / BETA

        def log_policy(c, h=h, log_p=log_p):
            return log_p + np.log(inverse(h / BETA + c))

        def missing(c, log_policy=log_policy):
            return np.log(np.sum(np.exp(log_policy(c))))

        found.append(log_policy(brentq(missing, high - 60.0, high - 1e-9, xtol=1e-12)))
    return np.array(found)


EXP = np.exp, np.inf
HINGE = None
# Objective; loss of a difference, or None for the hinge; inverse of f', and what f' is below of.
OF_PAIRS: dict[str, tuple[Objective, Any, Callable[[Any], Any], float]] = {
    "dpo": (Objective(), logistic(), *EXP),
    "cdpo": (Objective(apo.ConservativeDPO(0.2)), logistic(0.2), *EXP),
    "robust": (Objective(apo.RobustDPO(0.05)), logistic(-0.05 / 0.9), *EXP),
    "slic": (Objective(apo.SLiC()), HINGE, *EXP),
    "ipo": (Objective(apo.IPO(0.8)), squared(1 / 0.8), *EXP),
    "forward KL": (Objective(geometry=apo.ForwardKL()), logistic(), lambda z: -1 / z, 0.0),
    "Jensen-Shannon": (
        Objective(geometry=apo.JensenShannon()),
        logistic(),
        lambda z: np.exp(z) / (2.0 - np.exp(z)),
        np.log(2.0),
    ),
    "alpha": (
        Objective(geometry=apo.AlphaDivergence(0.5)),
        logistic(),
        lambda z: (1.0 - z / 2.0) ** -2.0,
        2.0,
    ),
    "chi-square, chipo": (objectives.chipo(2.0), logistic(), wrightomega, np.inf),
}


def cells_of(problem: apo.Bandit) -> np.ndarray:
    return np.asarray(apo.Pairwise().cells(problem, problem.log_ref))


@pytest.mark.parametrize("name", OF_PAIRS)
def test_objectives_of_pairs(single, name):
    objective, loss, inverse, most = OF_PAIRS[name]
    problem = problem_of(single)
    cells = cells_of(problem)
    hinge = loss is HINGE
    found = fitted(single, objective, pairs_of(cells, SINGLE), steps=1200 if hinge else 300)
    scores = scores_of_least_hinge(cells) if hinge else scores_of_least(loss, cells)
    expected = policy_of(scores, problem.log_ref, inverse, most)
    assert total_variation(found, expected) < (0.01 if hinge else 1e-4)
    # Control: it is not DPO that was trained, or nothing.
    other = problem.log_ref if name == "dpo" else dpo_of(problem)
    assert total_variation(found, other) > 0.03


def dpo_of(problem: apo.Bandit):
    return jax.nn.log_softmax(problem.log_ref + problem.reward / BETA, axis=1)


def test_sppo_of_exact_normalisers(single):
    problem = problem_of(single)
    reference, wins = np.asarray(problem.log_ref), np.asarray(problem.win_rate(problem.log_ref))
    log_z = BETA * np.log(np.sum(np.exp(reference + wins / BETA), axis=1))
    data = pairs_of(cells_of(problem), SINGLE, log_z)
    found = fitted(single, Objective(apo.SPPO()), data)
    expected = apo.run(problem, apo.SPPO(), beta=BETA, iterations=1).final_log_policy
    assert total_variation(found, expected) < 1e-4
    assert total_variation(found, dpo_of(problem)) > 0.03


def test_kto_of_labels(single):
    # Two good arms in each context, and nearly as good: the best policy has no rare arm, which
    # training would come to slowly.
    good = np.array([[1.0, 0.8, -1, -1, -0.8], [-1, 0.8, -0.9, 1.0, -1], [-0.9, -1, 1.0, -1, 0.8]])
    problem = apo.Bandit(jnp.asarray(good), problem_of(single).log_ref)
    cells = cells_of(problem)
    drawn = np.mean(cells.sum(axis=1) + cells.sum(axis=2), axis=0) / 2.0
    data = pairs_of(cells, SINGLE, others=drawn)
    found = fitted(single, Objective(KTO()), data, steps=400, rate=0.03)
    method = apo.methods.KTO(BETA, reward_bound=8.0)
    expected = apo.solve(problem, method, iterations=1).final_log_policy
    assert total_variation(found, expected) < 0.005
    assert total_variation(found, dpo_of(problem)) > 0.03


def explored(problem: apo.Bandit, policy: Any) -> Pairs:
    """Every pair of a response of the policy and one of the reference, weighted by its law."""
    found, places = [], []
    own, reference = np.exp(policy), np.exp(np.asarray(problem.log_ref))
    for x, i, j in PLACES:
        drawn, wins = own[x, i] * reference[x, j], float(problem.preference[x, i, j])
        for winner, loser, weight, flag in (
            (i, j, drawn * wins, False),
            (j, i, drawn * (1.0 - wins), True),
        ):
            texts = text(x, winner, SINGLE), text(x, loser, SINGLE)
            pair = Preference(PROMPTS[x], *texts, float(weight), winner_from_reference=flag)
            found.append(pair)
            places.append([ARMS * x + winner, ARMS * x + loser])
    return Pairs(found, np.array(places))


def test_xpo_of_all_pairs_so_far(single):
    problem, alpha, data, found = problem_of(single), 0.05, [], []
    policy = np.asarray(problem.log_ref)
    for _ in range(2):
        data.append(explored(problem, policy))
        pairs = [pair for part in data for pair in part.pairs]
        so_far = Pairs(pairs, np.concatenate([part.places for part in data]))
        policy = fitted(single, objectives.xpo(alpha), so_far, steps=500)
        found.append(policy)

    def on_table(alpha):
        method = apo.methods.XPO(alpha, BETA, reward_bound=6.0)
        return np.asarray(apo.solve(problem, method, iterations=2, save="path").log_policy)[1:]

    found, expected, without = np.array(found), on_table(alpha), on_table(0.0)
    assert total_variation(found, expected) < 0.005
    # Control: the bonus matters in both iterations, and so does its sign.
    apart = [total_variation(one, other) for one, other in zip(found, without, strict=True)]
    assert min(apart) > 0.01


def canonical(log_probs: Any) -> np.ndarray:
    """The policy exp(|y| (l + c)) that l = log pi / |y| is of, which the data tell up to c."""
    found = []
    for per_token, size in zip(np.asarray(log_probs) / MIXED, MIXED, strict=True):

        def missing(c, per_token=per_token, size=size):
            return np.sum(np.exp(size * (per_token + c))) - 1.0

        found.append(size * (per_token + brentq(missing, -50.0, 50.0)))
    return np.array(found)


@pytest.mark.parametrize("name", ["ipo_per_token", "simpo"])
def test_scores_of_a_token(mixed, name):
    reference = np.asarray(mixed.log_probs(mixed.head), float).reshape(CONTEXTS, ARMS)
    # Any pairs will do; these are met as often as each other.
    problem = apo.Bandit(problem_of(mixed).reward, jnp.full_like(reference, -np.log(ARMS)))
    cells = cells_of(problem)
    if name == "simpo":
        objective, loss, centre = objectives.simpo(0.5), logistic(margin=0.5), 0.0
    else:
        objective, loss, centre = objectives.ipo_per_token(0.8), squared(1 / 0.8), reference / MIXED
    found = fitted(mixed, objective, pairs_of(cells, MIXED), steps=400)
    scores = scores_of_least(loss, cells)
    expected = canonical(MIXED * (centre + scores / BETA))
    assert total_variation(canonical(found), expected) < 1e-3
    # Control: the sum over tokens is another method.
    summed = canonical(MIXED * centre + scores / BETA)
    assert total_variation(canonical(found), summed) > 0.03
