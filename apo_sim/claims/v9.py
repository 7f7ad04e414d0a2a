"""V9: extrapolation keeps a second copy of the policy."""

import importlib.util
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.families import lattice
from apo_sim.momentum import Averaging, Constant, Momentum, Nesterov, NoMomentum
from apo_sim.optimizers import AdamW
from apo_sim.policies import MLP, Attention, Gaussian, Recurrent
from apo_sim.spaces import InLogProbabilities, InParameters

EXTRAPOLATIONS: dict[str, Momentum] = {"constant": Constant(0.3), "t/(t+3)": Nesterov()}
TWO_COPIES = Averaging(0.3)
REPETITIONS = 30


@claim(
    id="V9",
    title="Extrapolation keeps one more copy",
    source="reviews",
    statement=r"What extrapolation of parameters remembers is one copy of the parameters, "
    r"$\hat\theta_t$, and nothing else.",
    control="averaging, which keeps the proximal centre and the average",
    scope=Scope(
        "for all",
        "networks of every kind in the package, and a small transformer where the adapter for "
        "language models is installed; constant extrapolation and Nesterov's",
    ),
)
def one_more_copy(study: Study) -> Finding:
    r"""Count the bytes of the state of a momentum rule, for networks of every kind.

    Problem: the state of constant and of Nesterov's extrapolation over the parameters of a network
    on a lattice, a Gaussian, a recurrent and an attention network.

    Guarantee: exact, by count. The copy need not lie on the device: it is read and written once an
    iteration, and the adapter for language models keeps it in the host's memory.

    Reference: a concern in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V9").source
        'reviews'
    """
    networks: dict[str, Any] = {
        "lattice": MLP(lattice(21)),
        "gaussian": Gaussian(lattice(21)),
        "recurrent": Recurrent(4, 4),
        "attention": Attention(4, 4),
    }
    rules = {"averaging": TWO_COPIES} if study.wrong else EXTRAPOLATIONS
    cases, copies = [], []
    for name, policy in networks.items():
        params = policy.init(study.key)
        for rule_name, rule in rules.items():
            state = InParameters().init(policy, rule, params, jnp.zeros((1, 1)))
            cases.append((name, rule_name, _bytes(params)))
            copies.append(_bytes(state) / _bytes(params))
    for rule_name, (size, kept, on_device) in _on_a_transformer(rules).items():
        cases += [("transformer", rule_name, size), ("transformer, device", rule_name, size)]
        # What is kept on the device counts as too much: there must be none of it.
        copies += [kept / size, 1.0 + on_device / size]
    return judge.identity(
        np.abs(np.array(copies) - 1.0),
        0.0,
        witness=lambda i: {"network": cases[i][0], "rule": cases[i][1], "copies": copies[i]},
        unit="copies beyond one",
        note=_note(study.key),
        draw=_figure(networks, study.key),
    )


def _note(key: Any) -> str:
    policy = MLP(lattice(21))
    params = policy.init(key)
    adam = _bytes(AdamW(1e-3).init(params)) / _bytes(params)
    table = policy.log_prob(params)
    exact = _bytes(InLogProbabilities().init(policy, EXTRAPOLATIONS["constant"], params, 0 * table))
    extra = _seconds(EXTRAPOLATIONS["constant"], params) - _seconds(NoMomentum(), params)
    return (
        f"Beside it Adam keeps {adam:.0f} copies. For the ring's network "
        f"({_bytes(params):,} bytes) the extrapolation takes {1e6 * extra:.0f} microseconds an "
        f"iteration; in log-probabilities it would keep {exact:,} bytes, a number an action. "
        "On a transformer (counted where the adapter is installed) the copy lies in the host's "
        "memory, and none of it on the device."
    )


def _on_a_transformer(rules: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Bytes of a small transformer, of what a rule keeps of it, and of that on the device.

    Nothing where the adapter is not installed.
    """
    if importlib.util.find_spec("tunix") is None:
        return {}
    from apo_sim.llm.models import stored_parameters, tiny
    from apo_sim.llm.training.parameter_momentum import Extrapolator

    found = {}
    for name, rule in rules.items():
        network = tiny.model().network
        extrapolator = Extrapolator(network, rule)
        extrapolator.extrapolate(network, 1)
        kept = jax.tree.leaves(extrapolator.state)
        there = [leaf for leaf in kept if leaf.sharding.memory_kind == "device"]
        found[name] = (_bytes(stored_parameters.of(network)), _bytes(kept), _bytes(there))
    return found


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes"))


def _seconds(rule: Any, params: Any) -> float:
    """Median time of one extrapolation, its inputs and outputs on the device."""
    extrapolate = jax.jit(lambda new, state: rule.extrapolate(new, state, 1))
    state = rule.init(params)
    jax.block_until_ready(extrapolate(params, state))
    times = []
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        jax.block_until_ready(extrapolate(params, state))
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def _figure(networks: dict[str, Any], key: Any):
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = ("parameters", "extrapolation", "averaging (the control)", "AdamW")
        colours = ("0.35", "C0", "C1", "C4")
        for place, policy in enumerate(networks.values()):
            params = policy.init(key)
            trees = (
                params,
                EXTRAPOLATIONS["constant"].init(params),
                TWO_COPIES.init(params),
                AdamW(1e-3).init(params),
            )
            for shift, (row, tree, colour) in enumerate(zip(rows, trees, colours, strict=True)):
                label = row if place == 0 else None
                size = _bytes(tree) / 2**10
                axes.bar(place + 0.2 * shift - 0.3, size, 0.18, color=colour, label=label)
        axes.set_xticks(range(len(networks)), list(networks))
        axes.set(ylabel="KiB", title="what is kept")
        axes.grid(axis="x", visible=False)
        axes.legend(fontsize=8)

    return draw
