"""The adapter is the rule of the rest of the library: a transformer that is a table."""

from collections.abc import Hashable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import apo_sim as apo
from apo_sim.llm import fine_tune
from apo_sim.llm.data.batches import batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import tiny
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import FineTuning, response_log_probs
from apo_sim.preferences import win_counts
from apo_sim.proximal.from_counts import rewards_from_counts

CONTEXTS, ARMS, ITERATIONS, BETA, EXPO = 3, 5, 3, 1.0, 0.5
# Larger where data are few, so that no arm dies out and every pair is met.
SAMPLED_BETA = 4.0
FIRST = 10  # of the tokens that are responses
pytestmark = pytest.mark.llm


def prompts():
    """Prompts of different lengths, so that padding matters."""
    return [(2,), (3, 4), (5, 6, 7)][:CONTEXTS]


all_log_probs = nnx.jit(response_log_probs)


def log_table(network) -> np.ndarray:
    """log pi(arm | context), among the tokens that are responses."""
    pairs = [
        Preference(prompts()[x], (FIRST + arm,), (FIRST + arm,))
        for x in range(CONTEXTS)
        for arm in range(ARMS)
    ]
    (batch,) = batches(pairs, len(pairs), beta=1.0, padding=0)
    # Normalised in double precision, which the bandit of it is held to.
    found = np.asarray(all_log_probs(network, batch), float)[:, 0].reshape(CONTEXTS, ARMS)
    return found - np.log(np.exp(found).sum(axis=1, keepdims=True))


class Listed:
    """Every pair of arms, weighted: by its probability, or by how often it was drawn."""

    def __init__(self, weights):
        self.weights = weights

    def pairs(self, model, t, beta, seed, folder, watch):
        with jax.enable_x64(True):
            cells = self.weights(t, jnp.asarray(log_table(model.network), float))
        return [
            Preference(prompts()[x], (FIRST + i,), (FIRST + j,), float(cells[x, i, j]))
            for x in range(CONTEXTS)
            for i in range(ARMS)
            for j in range(ARMS)
            if i != j
        ]


def head_only(rate):
    """The head is linear in its parameters: their extrapolation is that of log-probabilities."""

    def label(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "head" if "lm_head" in str(path) else "rest", params
        )

    rules: dict[Hashable, optax.GradientTransformation] = {
        "head": optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(rate)),
        "rest": optax.set_to_zero(),
    }
    return optax.multi_transform(rules, label)


def tuning(steps, rate=0.1):
    return FineTuning(learning_rate=rate, warmup=0.0, batch=60, epochs=steps, optimizer=head_only)


def bandit(model):
    reward = jax.random.uniform(jax.random.key(3), (CONTEXTS, ARMS), minval=-1.0)
    return apo.Bandit(reward, jnp.asarray(log_table(model.network), float))


def adapter(alpha, weights, steps=100, beta=BETA):
    """pi_hat_1 ... pi_hat_T of the adapter and ExPO's policy, each of shape (contexts, arms)."""
    model, found = tiny.model(num_layers=1), []
    fine_tune(
        model,
        source=Listed(weights),
        momentum=apo.Constant(alpha),
        beta=beta,
        iterations=ITERATIONS,
        tuning=tuning(steps),
        expo=EXPO,
        progress=False,
        watch_policy=lambda t, network: found.append(log_table(network)),
    )
    return np.array(found), log_table(model.network)


def total_variation(log_p, log_q):
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1).max(axis=-1)


def test_exact_preferences_give_the_policies_of_run():
    problem, alpha = bandit(tiny.model(num_layers=1)), 0.9

    def weights(t, log_policy):
        return apo.Pairwise().cells(problem, log_policy)

    exact = apo.run(
        problem, apo.DPO(), apo.Constant(alpha), beta=BETA, iterations=ITERATIONS, save="path"
    )
    found, beyond = adapter(alpha, weights)
    apart = total_variation(found, np.asarray(exact.log_policy)[1:])
    assert apart.max() < 0.01
    # ExPO: the last step again, from the reference and not from the policy before.
    going_on = (1.0 + EXPO) * found[-1] - EXPO * np.asarray(exact.log_policy)[0]
    assert total_variation(beyond, jax.nn.log_softmax(going_on, axis=-1)) < 1e-5
    # Control: without momentum it is another method, and the comparison sees it.
    plain = apo.run(problem, apo.DPO(), beta=BETA, iterations=ITERATIONS, save="path")
    assert total_variation(found, np.asarray(plain.log_policy)[1:]).max() > 0.05


def test_shared_win_counts_give_the_policies_of_sampled_steps():
    problem, alpha, counts = bandit(tiny.model(num_layers=1)), 0.3, []

    def weights(t, log_policy):
        cells = apo.Pairwise().cells(problem, log_policy)
        key = jax.random.fold_in(jax.random.key(7), t)
        counts.append(win_counts(key, cells, problem.context_probs, 500))
        return counts[-1]

    found, _ = adapter(alpha, weights, beta=SAMPLED_BETA)
    table = from_counts(problem, apo.Constant(alpha), counts)
    assert total_variation(found, table).max() < 0.005
    # Control: other win counts are other policies.
    others = from_counts(problem, apo.Constant(alpha), counts[::-1])
    assert total_variation(found, others).max() > 0.02


def from_counts(problem, rule, counts):
    """The recursion on a table, from given win counts."""
    centre, found = jax.nn.log_softmax(problem.log_ref), []
    state = rule.init(centre)
    for t, wins in enumerate(counts, 1):
        rewards, _ = rewards_from_counts(
            apo.DPO(), wins, centre, jnp.asarray(SAMPLED_BETA), jnp.asarray(40.0)
        )
        new = jax.nn.log_softmax(centre + rewards / SAMPLED_BETA)
        found.append(np.asarray(new))
        centre, state = rule.extrapolate(new, state, t)
        centre = jax.nn.log_softmax(centre)
    return np.array(found)


@pytest.mark.parametrize(
    "rule",
    [
        apo.NoMomentum(),
        apo.Constant(0.6),
        apo.Schedule(jnp.array([0.9, 0.2, 0.5])),
        apo.momentum.FunctionSchedule(lambda t: t / (t + 1.0)),
        apo.Nesterov(),
        apo.momentum.Averaging(0.5),
        apo.momentum.FromBehaviour(0.4),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_every_rule_moves_the_table(rule):
    network, random = tiny.model(num_layers=1).network, np.random.default_rng(0)
    head = network.lm_head.w
    with jax.enable_x64(False):
        extrapolator = Extrapolator(network, rule, ["lm_head.w"])
    centre = log_table(network)
    state = rule.init(centre)
    for t in (1, 2, 3):
        with jax.enable_x64(False):
            change = random.normal(size=head.get_value().shape)
            head.set_value(head.get_value() + jnp.asarray(0.1 * change, jnp.float32))
            new = log_table(network)
            extrapolator.extrapolate(network, t)
        expected, state = rule.extrapolate(new, state, t)
        found = log_table(network)
        assert total_variation(found, jax.nn.log_softmax(expected, axis=-1)) < 1e-5
        assert isinstance(rule, apo.NoMomentum) or total_variation(found, new) > 0.005
