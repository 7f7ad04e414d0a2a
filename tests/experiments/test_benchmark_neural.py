"""The PyTorch side of the benchmark takes the steps that the library takes."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.policies import MLP
from apo_sim.preferences import Pairs, Population
from apo_sim.proximal import ByGradient
from apo_sim.studies.ring_protocol import Protocol

torch = pytest.importorskip("torch")
PATH = pathlib.Path(__file__).parents[2] / "experiments" / "peers_torch_neural.py"
SAMPLES = 20
PROTOCOL = Protocol(side=4, width=8, steps=5, samples=SAMPLES)
BETA = 0.7
LATTICE = apo.families.lattice(PROTOCOL.side)


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers_torch_neural", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ring():
    return apo.families.ring_bandit(LATTICE, 0.4, 0.3)


def ours(policy, ring, starts, data_of):
    """log pi of every network after the inner steps, shape (networks, arms)."""
    step = ByGradient(apo.AdamW(PROTOCOL.learning_rate), PROTOCOL.steps)

    @jax.jit
    def one(params, number):
        centre = policy.log_prob(params)
        data = data_of(centre, number)

        def objective(params, _):
            return data.mean(apo.DPO(), BETA * (policy.log_prob(params) - centre), apo.Extra())

        return policy.log_prob(step.minimise(objective, params, None)[0])[0], centre[0]

    return map(np.stack, zip(*(one(params, i) for i, params in enumerate(starts)), strict=True))


def theirs(peers, ring, networks, pairs):
    """The same in PyTorch, with these pairs or, if there are none, with all that can be drawn."""
    actions, reward = (torch.tensor(np.array(part)) for part in (LATTICE[0], ring.reward[0]))
    alone = len(networks) == 1
    forward = peers.alone if alone else peers.side_by_side
    stacked = [torch.stack(parts) for parts in zip(*networks, strict=True)]
    parameters = [part.clone().requires_grad_() for part in (networks[0] if alone else stacked)]
    with torch.no_grad():
        centre = torch.log_softmax(forward(parameters, actions), 1)
    data = pairs or peers.all_pairs(centre, reward)
    peers.inner_steps(
        peers.new_optimizer(parameters, PROTOCOL),
        lambda: peers.objective(forward, parameters, actions, centre, data, BETA),
        PROTOCOL.steps,
    )
    with torch.no_grad():
        return torch.log_softmax(forward(parameters, actions), 1).numpy()


@pytest.mark.parametrize("exact", [False, True])
def test_inner_steps(peers, ring, exact):
    policy = MLP(LATTICE, PROTOCOL.width)
    starts = [policy.init(jax.random.key(seed)) for seed in range(2)]
    drawn = np.random.default_rng(0).integers(ring.num_arms, size=(2, 2, SAMPLES))
    winner, loser = map(jnp.asarray, drawn)
    zero = jnp.zeros(SAMPLES, int)

    def data_of(centre, number):
        if exact:
            return Population(ring, centre, ring.win_rate(centre))
        return Pairs(zero, winner[number], loser[number])

    wanted, begun = ours(policy, ring, starts, data_of)
    assert np.abs(wanted - begun).max() > 1e-3
    networks = [
        [torch.tensor(np.array(part)) for part in (first["weight"].T, first["bias"], head.T)]
        for first, head in ((first, last["weight"]) for first, last in starts)
    ]
    pairs = None if exact else tuple(map(torch.tensor, drawn))
    of_first = None if exact else tuple(map(torch.tensor, drawn[:, :1]))
    found = theirs(peers, ring, networks, pairs)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    found = theirs(peers, ring, networks[:1], of_first)
    np.testing.assert_allclose(found, wanted[:1], rtol=0, atol=1e-12)


def test_pairs_follow_their_law(peers, ring):
    torch.manual_seed(0)
    log_policy = torch.log_softmax(torch.randn(1, ring.num_arms, dtype=torch.float64), 1)
    reward = torch.tensor(np.array(ring.reward[0]))
    count = 200_000
    winner, loser = peers.draw_pairs(log_policy, reward, count)
    (law,) = peers.all_pairs(log_policy, reward)
    cells = apo.Pairwise().cells(ring, jnp.asarray(log_policy.numpy()))
    np.testing.assert_allclose(law.numpy(), cells, atol=1e-15)
    met = torch.bincount(winner[0] * ring.num_arms + loser[0], minlength=ring.num_arms**2)
    chance = law[0].flatten().numpy()
    scatter = np.sqrt(chance * (1 - chance) / count)
    assert (np.abs(met.numpy() / count - chance) < 5.5 * scatter + 1e-12).all()


def test_extrapolation(peers):
    parameters, before = [torch.tensor([3.0])], [torch.tensor([1.0])]
    trained = peers.extrapolate(parameters, before, 0.5)
    assert parameters[0].item() == 4.0 and trained[0].item() == 3.0
