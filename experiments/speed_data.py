"""The other data of the field: best against worst, games, other losses, and many contexts."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from paired import CPU_TIME, Cell, Rows, Sides, Spread, Target, console, optional_peer, over_lanes
from rivals import ACCURACY, SAMPLED, Case, best_torch, in_turn, less_accurate, ours, shared_counts
from speed_sampled import SIZES

import apo_sim as apo

ARMS = (10, 100)
SMOOTHING = 0.1
USUAL = "pairs, DPO"
CONTEXTS, QUICK_CONTEXTS = (64, 1000), (8, 100)
"""Contexts and arms."""
PAIRS_AN_ARM = (0.3, 1000)
"""With the first, most arms meet nobody; with the second, all are linked."""
STEPS = 2


def logistic(h_winner: Any, h_loser: Any, extra: apo.Extra) -> Any:
    """DPO's loss as a user writes it: its derivatives are the library's to find."""
    return jax.nn.softplus(h_loser - h_winner)


def cases(arms: int) -> dict[str, Case]:
    """By their names, kinds of data at one size."""
    samples = SIZES[arms].samples
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=arms)
    game = apo.families.random_game(jax.random.key(0), contexts=1, arms=arms)
    smoothed = apo.losses.ConservativeDPO(SMOOTHING)
    return {
        USUAL: Case(bandit, samples),
        "best of 5 against worst, DPO": Case(bandit, samples, ranker=apo.BestAgainstWorst(5)),
        "a game, DPO": Case(game, samples),
        "pairs, conservative DPO": Case(bandit, samples, smoothed, smoothing=SMOOTHING),
        "pairs, a user's loss": Case(bandit, samples, logistic),
    }


def data(options: Any) -> Iterator[Rows | Target]:
    rows: list[dict[str, Cell]] = []
    for arms in [arms for arms in ARMS if arms in options.arms]:
        seeds, rounds = (max(SIZES[arms].seeds // 8, 4), 3) if options.quick else (
            SIZES[arms].seeds, 5)  # fmt: skip
        kinds = cases(arms)
        for name, case in kinds.items():
            what = f"{name}, K = {arms}"
            with console.status(f"{what}: compiling, trying PyTorch"):
                shared = shared_counts(case, min(seeds, 20))
                rivals = [ours(case, shared, seeds)]
                with optional_peer("torch"):
                    rivals.append(best_torch(case, shared, seeds))
            found = in_turn(rivals, rounds, what)
            rows += [{"data": name, "K": arms, "side": side, **row} for side, row in found.items()]
    if rows:
        yield Rows(
            "data",
            f"Other data: {SAMPLED['iterations']} iterations, draws included, one core",
            rows,
            f"Equal final gaps say that both sides solve one problem. Errors against the optimum "
            f"of logistic counts in the box, below {ACCURACY:g}. A ratio is the median over "
            f"rounds, not the ratio of the medians in the column before it.{less_accurate(rows)}",
        )


def contexts(options: Any) -> Iterator[Rows | Target]:
    """Many contexts, each with many arms, and the pairs spread over all of them."""
    contexts, arms = QUICK_CONTEXTS if options.quick else CONTEXTS
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts, arms)
    rows: list[dict[str, Cell]] = []
    with console.status(f"{contexts} contexts x {arms} arms: compiling"):
        run = _our_contexts(bandit)
    for pairs in PAIRS_AN_ARM:
        samples = round(pairs * contexts * arms)
        sides = {"apo_sim": lambda n=samples: run(n)}
        with optional_peer("torch"):
            # Of few pairs the arms make many groups, and PyTorch solves another problem.
            if pairs > 1:
                sides["PyTorch"] = _torch_contexts(bandit, samples)
        run(samples)
        timed = Sides(sides, 2 if options.quick else 3, f"contexts, N = {samples:,}", CPU_TIME)
        rows += [
            {
                "contexts": contexts,
                "K": arms,
                "N": samples,
                "side": side,
                "s an iteration": timed.median(side) / STEPS,
                "times as slow": Spread.of(timed.ratios(side, "apo_sim")),
                "final gap": float(np.mean(np.asarray(sides[side]()))),
            }
            for side in sides
        ]
    yield Rows(
        "contexts",
        f"Many contexts: {contexts} x {arms} arms, {STEPS} iterations, one core",
        rows,
        "PyTorch takes an equal share of the pairs in each context, eight contexts at once, and "
        "draws pair by pair; with few pairs the arms make many groups, and it has no answer.",
    )


def _our_contexts(bandit: apo.Bandit) -> Any:
    def metrics(key, samples):
        solution = apo.run(
            bandit,
            momentum=apo.Constant(SAMPLED["alpha"]),
            beta=SAMPLED["beta"],
            iterations=STEPS,
            samples=samples,
            key=key,
        )
        return solution.suboptimality[-1]

    compiled = over_lanes(metrics, (0, None))
    keys = jax.random.split(jax.random.key(1), 1)
    return lambda samples: jax.block_until_ready(compiled(keys, jnp.asarray(float(samples))))


def _torch_contexts(bandit: apo.Bandit, samples: int) -> Any:
    import peers_torch as peers
    import torch

    torch.set_num_threads(1)
    reward, log_ref = (torch.tensor(np.asarray(part)) for part in (bandit.reward, bandit.log_ref))
    at_once = 8

    def run() -> float:
        gaps = []
        for start in range(0, len(reward), at_once):
            some = slice(start, start + at_once)
            regret = reward[some].amax(1, keepdim=True) - reward[some]
            problem = peers.Problem(
                log_ref[some],
                peers.pairwise(torch.sigmoid(reward[some, :, None] - reward[some, None, :])),
                lambda policy, regret=regret: (policy * regret).sum(1),
            )
            gaps.append(
                peers.sampled(
                    problem,
                    peers.counts_by_index,
                    ACCURACY,
                    **{**SAMPLED, "iterations": STEPS},
                    samples=samples // len(reward),
                    reward_bound=2.0,
                    seeds=len(regret),
                    batch=at_once,
                )
            )
        return float(torch.cat(gaps).mean())

    return run
