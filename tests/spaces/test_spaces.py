"""Spaces of momentum: one and the same for a table, each its own formula for a network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import apo_sim as apo
from apo_sim.policies import MLP, Recurrent, Table
from apo_sim.sequences import all_sequences
from apo_sim.spaces import Distilled, InLogProbabilities, InParameters, InTokens, Space

ALPHA, UPDATES = 0.6, 3
VOCABULARY, LENGTH = 3, 3
SEQUENCES = VOCABULARY**LENGTH
RNG = np.random.default_rng(0)
RULE = apo.Constant(ALPHA)


class TableOfSequences(Table):
    """A table whose actions are all sequences, which `InTokens` wants to know."""

    vocabulary, length = VOCABULARY, LENGTH


POLICY = Recurrent(VOCABULARY, LENGTH, width=4)


def trained(policy):
    """Parameters of the start and of several updates, each far from the one before."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    return [
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)
        for _ in range(UPDATES + 1)
    ]


def walk(space, policy, rule=RULE):
    """log pi_0, log pi_hat_1 ... and log pi_1 ... of updates that arrive at given networks.

    Those of a table arrive at given policies, whatever the offset is by then.
    """
    start, *updates = trained(policy)
    offset = jnp.asarray(
        np.random.default_rng(9).normal(size=jax.eval_shape(policy.log_prob, start).shape)
    )

    def log_policy(params, offset):
        return jax.nn.log_softmax(policy.log_prob(params) + offset, axis=1)

    @jax.jit
    def run():
        state, here, found = space.init(policy, rule, start, offset), offset, []
        for t, params in enumerate(updates, 1):
            params = params - here if isinstance(policy, Table) else params
            new, after, state = space.extrapolate(policy, rule, params, here, state, t)
            found.append((log_policy(params, here), log_policy(new, after)))
            here = after
        return log_policy(start, offset), found

    first, found = run()
    return np.asarray(first), *(np.asarray(path) for path in zip(*found, strict=True))


def log_softmax(logits):
    return scipy.special.log_softmax(logits, axis=-1)


def test_all_are_spaces():
    for space in (Distilled(), InLogProbabilities(), InParameters(), InTokens()):
        assert isinstance(space, Space)


def test_log_probabilities_are_exactly_extrapolated():
    """Equation (3.6), of a network that carries an offset from one update to the next."""
    first, before, after = walk(InLogProbabilities(), POLICY)
    for old, new, found in zip([first, *before], before, after, strict=False):
        np.testing.assert_allclose(found, log_softmax(new + ALPHA * (new - old)), rtol=1e-12)
    # The control: the other space is another policy.
    other = walk(InParameters(), POLICY)[2]
    assert np.abs(np.exp(other[0]) - np.exp(after[0])).max() > 1e-3


def test_parameters_are_extrapolated_and_the_offset_stays():
    start, *updates = trained(POLICY)
    offset = jnp.asarray(RNG.normal(size=(1, SEQUENCES)))
    space = InParameters()
    state = space.init(POLICY, RULE, start, offset)
    for t, (old, new) in enumerate(zip([start, *updates], updates, strict=False), 1):
        found, after, state = space.extrapolate(POLICY, RULE, new, offset, state, t)
        assert after is offset
        for name in new:
            expected = new[name] + ALPHA * (new[name] - old[name])
            np.testing.assert_allclose(found[name], expected, rtol=1e-12)


def next_tokens(log_prob):
    """log P(token | prefix) of every prefix, summed up sequence by sequence in NumPy."""
    tokens, probs = np.asarray(all_sequences(VOCABULARY, LENGTH)), np.exp(log_prob)
    found = {}
    for place in range(LENGTH):
        for prefix in np.ndindex((VOCABULARY,) * place):
            follows = (tokens[:, :place] == prefix).all(axis=1)
            mass = [probs[follows & (tokens[:, place] == v)].sum() for v in range(VOCABULARY)]
            found[prefix] = np.log(mass) - np.log(np.sum(mass))
    return found


def test_tokens_are_extrapolated_prefix_by_prefix():
    first, before, after = walk(InTokens(), POLICY)
    tokens = np.asarray(all_sequences(VOCABULARY, LENGTH))
    whole = []
    for old, new, found in zip([first, *before], before, after, strict=False):
        old_next, new_next = next_tokens(old[0]), next_tokens(new[0])
        expected = np.zeros(SEQUENCES)
        for number, sequence in enumerate(tokens.tolist()):
            for place, token in enumerate(sequence):
                prefix = tuple(sequence[:place])
                ahead = new_next[prefix] + ALPHA * (new_next[prefix] - old_next[prefix])
                expected[number] += log_softmax(ahead)[token]
        np.testing.assert_allclose(found[0], expected, rtol=1e-12)
        whole.append(np.abs(np.exp(found - log_softmax(new + ALPHA * (new - old))) - 1).max())
    # The control: the normalisers along the sequence make a difference.
    assert min(whole) > 1e-2


@pytest.mark.parametrize("rule", [RULE, apo.Nesterov(), apo.Averaging(0.5)], ids=repr)
def test_all_spaces_are_one_for_a_table(rule):
    """But tokens, whose normalisers are not those of the whole."""
    table: Any = TableOfSequences(1, SEQUENCES)
    step = apo.ByGradient(apo.AdamW(0.05), steps=2000, tolerance=1e-8)
    spaces = (InLogProbabilities(), InParameters(), Distilled(step), InTokens())
    exact, *paths = (np.array(walk(space, table, rule)[2]) for space in spaces)
    for path, tolerance in zip(paths, (1e-11, 1e-4), strict=False):
        np.testing.assert_allclose(path, exact, rtol=0, atol=tolerance)
    assert np.abs(np.exp(paths[2]) - np.exp(exact)).max() > 1e-3


def test_one_token_is_the_whole_sequence():
    """With a single token there is one normaliser, and tokens are log-probabilities."""

    class Letters(Table):
        vocabulary, length = 5, 1

    letters: Any = Letters(1, 5)
    one, other = (walk(space, letters)[2] for space in (InTokens(), InLogProbabilities()))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_distilled_network_gets_close():
    actions = jnp.asarray(np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1))
    policy = MLP(actions.reshape(1, 9, 2), width=16, activation="tanh")
    step = apo.ByGradient(apo.AdamW(0.02), steps=600)
    start, updates = trained(policy)[:2]
    offset = jnp.zeros((1, 9))

    @jax.jit
    def extrapolated():
        found = {}
        for name, space in (("distilled", Distilled(step)), ("exact", InLogProbabilities())):
            state = space.init(policy, RULE, start, offset)
            params, after, _ = space.extrapolate(policy, RULE, updates, offset, state, 1)
            found[name] = jax.nn.softmax(policy.log_prob(params) + after, axis=1)
            if name == "distilled":
                found["offset"] = after
        return {**found, "before": jnp.exp(policy.log_prob(updates))}

    found = extrapolated()
    apart = {name: float(0.5 * abs(found[name] - found["exact"]).sum()) for name in found}
    assert not np.any(found["offset"])  # nothing is stored beside the network
    assert apart["distilled"] < 0.02 < 0.1 < apart["before"]
