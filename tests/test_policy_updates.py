"""What update is this? Losses of the policy-gradient kind on all short sequences."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument, cli
from apo_sim.conformance import identify_update
from apo_sim.conformance._sequence_draws import mixture, pairs, singles, tables
from apo_sim.methods import PPO, REBEL, NashMD

stop = jax.lax.stop_gradient
ON, OFF = tables(0, on_policy=True), tables(0, on_policy=False)


def nash_md(policy_logps, ref_logps, win_rates, beta=0.1):
    pull = beta * (policy_logps - ref_logps)
    return stop(pull - (win_rates - 0.5)) * policy_logps


def kl_reversed(policy_logps, ref_logps, win_rates, beta=0.1):
    return nash_md(policy_logps, ref_logps, win_rates, -beta)


def ppo(policy_logps, old_logps, rewards, clip=0.2):
    ratio = jnp.exp(policy_logps - old_logps)
    return -jnp.minimum(ratio * rewards, jnp.clip(ratio, 1 - clip, 1 + clip) * rewards)


def ratio_detached(policy_logps, old_logps, rewards):
    return -stop(jnp.exp(policy_logps - old_logps)) * rewards


def ratio_of_itself(policy_logps, old_logps, rewards):
    return -jnp.exp(policy_logps - stop(policy_logps)) * rewards


def always_clipped(policy_logps, old_logps, rewards, clip=0.2):
    return -jnp.clip(jnp.exp(policy_logps - old_logps), 1 - clip, 1 + clip) * rewards


def clipped_higher(policy_logps, old_logps, rewards):
    ratio = jnp.exp(policy_logps - old_logps)
    return -jnp.minimum(ratio * rewards, jnp.clip(ratio, 0.8, 1.28) * rewards)


def grpo(policy_logps, ref_logps, rewards, beta=0.04):
    apart = ref_logps - policy_logps
    return -jnp.exp(policy_logps - stop(policy_logps)) * rewards + beta * (
        jnp.exp(apart) - 1 - apart
    )


def rebel(
    policy_logps,
    old_logps,
    rewards,
    other_policy_logps,
    other_old_logps,
    other_rewards,
    learning_rate=0.5,
):
    lead = policy_logps - old_logps - (other_policy_logps - other_old_logps)
    return (lead - learning_rate * (rewards - other_rewards)) ** 2


def no_old(policy_logps, rewards, other_policy_logps, other_rewards, learning_rate=0.5):
    lead = policy_logps - other_policy_logps
    return (lead - learning_rate * (rewards - other_rewards)) ** 2


def an_eighth(policy, ref):
    """A mixture of whole sequences."""
    return mixture(ON.of_sequences(policy), ON.of_sequences(ref), 0.125)


def an_eighth_by_token(policy, ref):
    return mixture(policy, ref, 0.125)


def half_and_half(policy, ref):
    return np.logaddexp(policy, ref) - np.log(2.0)


NASH = {"beta": 0.1, "mixture": 0.125}


@pytest.mark.parametrize(
    ("loss", "opponent", "name", "parameters", "differs"),
    [
        (nash_md, an_eighth, "Nash-MD", NASH, []),
        (nash_md, an_eighth_by_token, "Nash-MD", NASH, ["tokens"]),
        (nash_md, None, "Nash-MD", {"beta": 0.1, "mixture": 0.0}, ["mixture"]),
        (nash_md, half_and_half, "Nash-MD", {"beta": 0.1}, ["mixture"]),
        (kl_reversed, an_eighth, "Nash-MD", {"beta": -0.1, "mixture": 0.125}, ["kl"]),
        (ppo, None, "PPO", {"clip": 0.2}, []),
        (clipped_higher, None, "PPO", {"clip_low": 0.2, "clip_high": 0.28}, []),
        (always_clipped, None, "PPO", {"clip": 0.2}, ["clip"]),
        (ratio_of_itself, None, "policy gradient", {}, ["ratio"]),
        (ratio_detached, None, None, {}, ["detached"]),
        (grpo, None, "policy gradient", {"beta": 0.04}, ["kl"]),
        (rebel, None, "REBEL", {"learning_rate": 0.5}, []),
        (no_old, None, "REBEL", {"learning_rate": 0.5}, ["reference"]),
    ],
)
def test_updates_and_planted_faults_are_named(loss, opponent, name, parameters, differs):
    found = identify_update(loss, opponent)
    assert found.name == name, str(found)
    for parameter, value in parameters.items():
        assert found.parameters[parameter] == pytest.approx(value, abs=1e-5)
    assert [one.what for one in found.differences] == differs
    assert (name or "no update that is known") in str(found)


def test_settings_are_held_against_what_is_found():
    assert not identify_update(nash_md, an_eighth, beta=0.3, mixture=0.125).differences
    (one,) = identify_update(nash_md, an_eighth, mixture=0.25).differences
    assert one.what == "parameter" and "0.125 where 0.25 was meant" in one.text


def test_numpy_is_understood_and_clips_at_the_edge_and_not_where_a_difference_feels_it():
    def in_numpy(policy_logps, old_logps, rewards):
        ratio = np.exp(policy_logps - old_logps)
        return -np.minimum(ratio * rewards, np.clip(ratio, 0.8, 1.2) * rewards)

    found = identify_update(in_numpy)
    assert found.name == "PPO" and found.framework == "numpy"
    assert found.parameters["clip"] == pytest.approx(0.2, abs=2e-6)


def test_torch_is_understood():
    torch = pytest.importorskip("torch")

    def in_torch(policy_logps, ref_logps, win_rates):
        pull = 0.1 * (policy_logps - ref_logps)
        return ((pull - (win_rates - 0.5)).detach() * policy_logps).mean()

    found = identify_update(in_torch, an_eighth)
    assert found.name == "Nash-MD" and found.framework == "torch" and torch
    assert found.parameters["beta"] == pytest.approx(0.1)


def test_what_is_no_update_stays_without_a_name():
    def cubic(policy_logps, ref_logps, rewards):
        return rewards * (policy_logps - ref_logps) ** 3

    found = identify_update(cubic)
    assert found.name is None and found.error > 1e-3
    for loss, said in (
        (lambda policy_logps, labels: 0.0, "takes different arguments"),
        (lambda logits: 0.0, "takes different arguments"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            identify_update(loss)
    with pytest.raises(InvalidArgument, match="opponent"):
        identify_update(nash_md, lambda policy, ref: policy[0])


def forces(loss, draws, **settings):
    names = [name for name in ("old_logps", "ref_logps", "rewards", "win_rates")]
    takes = loss.__code__.co_varnames[: loss.__code__.co_argcount]
    given = {name: getattr(draws, name) for name in names if name in takes}
    slope = jax.grad(lambda logps: jnp.sum(loss(logps, **given, **settings)))
    return -np.asarray(slope(jnp.asarray(draws.policy_logps)))


def centred(values, shape):
    values = np.asarray(values).reshape(shape)
    return values - values.mean(axis=1, keepdims=True)


def test_the_force_of_nash_md_is_the_step_of_the_library():
    """Direction of `NashMD` on the table of all sequences, at beta = pull / learning_rate."""
    policy, ref = ON.of_sequences(ON.policy), ON.of_sequences(ON.ref)
    pull, beta = 0.125, 0.1
    mixed = mixture(policy, ref, pull)
    game = apo.Game(jnp.asarray(ON.preference), jnp.asarray(ref))
    method = NashMD(learning_rate=pull / beta, pull=pull)
    data = method.request.exact(game, jnp.asarray(mixed))
    (after, _), _ = method.step(game, (jnp.asarray(policy), jnp.asarray(mixed)), data, jnp.array(0))
    moved = centred(after - policy, policy.shape) / (pull / beta)
    force = forces(nash_md, singles(ON, mixed), beta=beta)
    np.testing.assert_allclose(moved, centred(force, policy.shape), atol=1e-12)


def test_the_force_of_ppo_is_the_slope_of_the_library():
    now, old = OFF.of_sequences(OFF.policy), OFF.of_sequences(OFF.old)
    weight = np.exp(old) / len(old)
    slope = PPO(clip=0.2)._slope(*map(jnp.asarray, (now, old, weight, OFF.rewards)))
    force = forces(ppo, singles(OFF, now)).reshape(now.shape)
    pulled = weight * force
    expected = pulled - np.exp(now) * pulled.sum(axis=1, keepdims=True)
    assert (force == 0.0).any()  # some are clipped
    np.testing.assert_allclose(slope, expected, atol=1e-12)


def test_the_step_of_rebel_brings_its_loss_to_zero():
    old = OFF.of_sequences(OFF.old)
    bandit = apo.Bandit(jnp.asarray(OFF.rewards), jnp.asarray(old))
    solution = apo.solve(bandit, REBEL(learning_rate=0.5), iterations=1)
    after = np.asarray(solution.final_log_policy)
    drawn = pairs(dataclasses.replace(OFF, policy=OFF.old))
    at = drawn.policy_logps.argsort()
    assert len(at) == old.size * old.shape[1]
    first = np.repeat(after.ravel(), old.shape[1])
    second = np.repeat(after, old.shape[1], axis=0).ravel()
    loss = rebel(
        first,
        drawn.old_logps,
        drawn.rewards,
        second,
        drawn.other_old_logps,
        drawn.other_rewards,
    )
    np.testing.assert_allclose(loss, 0.0, atol=1e-12)


def test_the_command_tells_updates_from_losses_of_pairs(capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    given = ["test_policy_updates:nash_md", "--opponent", "test_policy_updates:an_eighth"]
    assert cli.main(["conform", *given, "--settings", "beta=0.1"]) == cli.DONE
    assert "This is Nash-MD with beta = 0.1, mixture = 0.125" in capsys.readouterr().out
