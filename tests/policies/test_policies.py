"""Policies: normalised, and what a loop in NumPy makes of the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import apo_sim as apo
from apo_sim.policies import (
    MLP,
    Attention,
    Gaussian,
    LogLinear,
    Policy,
    Recurrent,
    SequencePolicy,
    Table,
)
from apo_sim.sequences import MAX_SEQUENCES, all_sequences

RNG = np.random.default_rng(0)
CONTEXTS, ARMS, PLANE = 2, 7, 2
ACTIONS = jnp.asarray(RNG.normal(size=(CONTEXTS, ARMS, PLANE)))
VOCABULARY, LENGTH, WIDTH = 3, 4, 5
SEQUENCES = VOCABULARY**LENGTH

POLICIES: dict[str, Policy] = {
    "table": Table(CONTEXTS, ARMS),
    "log-linear": LogLinear(ACTIONS),
    "mlp": MLP(ACTIONS, width=4),
    "deep mlp": MLP(ACTIONS, width=4, depth=3, activation="tanh"),
    "gaussian": Gaussian(ACTIONS, width=4),
    "recurrent": Recurrent(VOCABULARY, LENGTH, WIDTH),
    "attention": Attention(VOCABULARY, LENGTH, WIDTH),
}
NAMES = ["recurrent", "attention"]


def evaluated(policy):
    """Parameters, none of them zero, log-probabilities and, of a sequence, conditionals."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: 0.7 * rng.normal(size=leaf.shape), shapes)

    @jax.jit
    def compiled(params):
        levels = policy.conditionals(params) if hasattr(policy, "conditionals") else ()
        return policy.log_prob(params), levels

    return params, *jax.tree.map(np.asarray, compiled(params))


@pytest.fixture(scope="module")
def networks():
    return {name: evaluated(POLICIES[name]) for name in NAMES}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_normalise(name, networks):
    policy = POLICIES[name]
    assert isinstance(policy, Policy)
    _, log_prob, _ = networks[name] if name in NAMES else evaluated(policy)
    sequences = isinstance(policy, SequencePolicy)
    assert sequences == (name in NAMES)
    assert log_prob.shape == ((1, SEQUENCES) if sequences else (CONTEXTS, ARMS))
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=1), 1.0, rtol=1e-12)
    # No policy is flat, so that the shape above says something.
    assert np.ptp(np.asarray(log_prob), axis=1).min() > 0.01


@pytest.mark.parametrize("name", POLICIES)
def test_start_is_random_and_reproducible(name):
    init = jax.jit(POLICIES[name].init)
    one, again, other = (jax.tree.leaves(init(jax.random.key(seed))) for seed in (0, 0, 1))
    assert all(map(np.array_equal, one, again))
    same = name == "table"  # which starts uniform
    assert all(map(np.array_equal, one, other)) == same


def test_table_and_log_linear_are_softmax():
    logits = RNG.normal(size=(CONTEXTS, ARMS))
    log_prob = Table(CONTEXTS, ARMS).log_prob(jnp.asarray(logits))
    np.testing.assert_allclose(log_prob, scipy.special.log_softmax(logits, axis=1), rtol=1e-12)
    theta = RNG.normal(size=PLANE)
    logits = np.einsum("xkd,d->xk", np.asarray(ACTIONS), theta)
    log_prob = LogLinear(ACTIONS).log_prob(jnp.asarray(theta))
    np.testing.assert_allclose(log_prob, scipy.special.log_softmax(logits, axis=1), rtol=1e-12)


def gelu(x):
    """JAX's, with the hyperbolic tangent."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "gelu": gelu}


def through_layers(params, inputs, activation):
    for layer in params[:-1]:
        inputs = ACTIVATIONS[activation](inputs @ layer["weight"] + layer["bias"])
    return inputs @ params[-1]["weight"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2])
def test_mlp_in_numpy(activation, depth):
    policy = MLP(ACTIONS, width=4, depth=depth, activation=activation)
    params, log_prob, _ = evaluated(policy)
    logits = through_layers(params, np.asarray(ACTIONS), activation)[..., 0]
    expected = scipy.special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("tanh", 1.0)])
def test_weights_start_with_the_variance_of_their_activation(activation, gain):
    policy = MLP(ACTIONS, width=200, depth=2, activation=activation)
    first, second, last = policy.init(jax.random.key(0))
    assert float(np.var(second["weight"])) == pytest.approx(gain / 200, rel=0.05)
    assert float(np.var(last["weight"])) == pytest.approx(1 / 200, rel=0.4)
    assert not np.any(first["bias"]) and "bias" not in last


def test_gaussian_is_a_normal_density_over_the_actions():
    policy = Gaussian(ACTIONS, width=4, depth=2, activation="tanh")
    layers, log_prob, _ = evaluated(policy)
    out = through_layers(layers, np.ones((1, 1)), "tanh")[0] + layers[-1]["bias"]
    mean, width = out[:PLANE], np.exp(out[PLANE:])
    density = scipy.stats.norm.pdf(np.asarray(ACTIONS), mean, width).prod(axis=2)
    expected = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_prob), expected, rtol=1e-12)


# Sequences


def numbers_of(prefixes):
    """The place of each prefix in its level."""
    return prefixes @ VOCABULARY ** np.arange(prefixes.shape[1] - 1, -1, -1)


def test_all_sequences_in_lexicographic_order():
    tokens = np.asarray(all_sequences(VOCABULARY, LENGTH))
    expected = list(np.ndindex((VOCABULARY,) * LENGTH))
    np.testing.assert_array_equal(tokens, expected)


@pytest.mark.parametrize("name", NAMES)
def test_sequences_are_sums_over_their_tokens(networks, name):
    _, log_prob, levels = networks[name]
    assert [len(level) for level in levels] == [VOCABULARY**depth for depth in range(LENGTH)]
    tokens = np.asarray(all_sequences(VOCABULARY, LENGTH))
    expected = sum(
        levels[place][numbers_of(tokens[:, :place]), tokens[:, place]] for place in range(LENGTH)
    )
    np.testing.assert_allclose(log_prob[0], expected, rtol=1e-12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def next_token_recurrent(params, prefix):
    """log P(next token | prefix), one token after the other."""
    state = np.tanh(params["start"][0])
    for token in prefix:
        z_state, r_state, n_state = np.split(state @ params["state"] + params["bias"], 3)
        z_token, r_token, n_token = np.split(params["token"][token], 3)
        update, reset = sigmoid(z_state + z_token), sigmoid(r_state + r_token)
        state = update * state + (1 - update) * np.tanh(reset * n_state + n_token)
    return scipy.special.log_softmax(state @ params["out"])


def next_token_attention(params, prefix):
    """The same of the last token's attention to all before it and to itself."""
    seen = [VOCABULARY, *prefix]  # the mark of the beginning first
    embedded = params["token"][seen] + params["place"][: len(seen)]
    query, key, value = np.split(embedded @ params["mix"], 3, axis=1)
    weights = scipy.special.softmax(key @ query[-1] / np.sqrt(WIDTH))
    mixed = embedded[-1] + weights @ value
    hidden = mixed + gelu(mixed @ params["in"] + params["bias"])
    return scipy.special.log_softmax(hidden @ params["out"])


@pytest.mark.parametrize(
    ("name", "next_token"),
    zip(NAMES, (next_token_recurrent, next_token_attention), strict=True),
)
def test_conditionals_token_by_token(networks, name, next_token):
    """A loop over the prefix alone: what comes later cannot matter."""
    params, _, levels = networks[name]
    for place, level in enumerate(levels):
        expected = [next_token(params, prefix) for prefix in np.ndindex((VOCABULARY,) * place)]
        np.testing.assert_allclose(level, expected, rtol=1e-10)
        if place > 1:  # the control: the order of the tokens matters
            backwards = [
                next_token(params, prefix[::-1]) for prefix in np.ndindex((VOCABULARY,) * place)
            ]
            assert np.abs(level - backwards).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_sees_all_its_tokens(networks, name):
    """No two prefixes of a level have the same next token."""
    for level in networks[name][2]:
        assert len(np.unique(level.round(9), axis=0)) == len(level)


@pytest.mark.parametrize("kind", [Recurrent, Attention])
def test_too_many_sequences_are_refused_by_their_number(kind):
    assert MAX_SEQUENCES == 65_536
    kind(2, 16, 1)
    with pytest.raises(apo.InvalidArgument, match=r"2\^17 = 131,072 sequences.*at most 65,536"):
        kind(2, 17, 1)
    # One whose number would wrap around to nothing, and one with more digits than Python prints.
    with pytest.raises(apo.InvalidArgument, match=r"256\^8 = 10\^19 sequences.*at most 65,536"):
        kind(np.int64(256), np.int64(8), 1)
    with pytest.raises(apo.InvalidArgument, match=r"50257\^1024 = 10\^4814 .*at most 65,536"):
        kind(50257, 1024, 1)
    with pytest.raises(apo.InvalidArgument, match=r"at most 65,536"):
        all_sequences(256, 3)
