"""Training runs small enough for NumPy, and the logs that they would leave behind.

The policy is log-linear on top of a reference policy: log pi(y | x) = log pi_ref + w . phi - log Z.
Its weights are trained by minibatches, in a given precision, as tools do it.
"""

import csv
import json
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


@dataclass
class Table:
    """Prompts with a few responses each; everything drawn from one seed."""

    prompts: int = 40
    responses: int = 8
    dimension: int = 32
    spread: float = 1.0  # of the log-probabilities of the reference
    seed: int = 0
    lengths: np.ndarray = field(init=False)

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        shape = self.prompts, self.responses
        self.features = random.normal(size=(*shape, self.dimension)) / np.sqrt(self.dimension)
        logits = self.spread * random.normal(size=shape)
        self.log_ref = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self.reward = 1.5 * self.features @ random.normal(size=self.dimension)
        self.lengths = random.integers(10, 60, size=shape).astype(float)

    def log_policy(self, weights):
        logits = self.log_ref + self.features @ np.asarray(weights, float)
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@dataclass
class Run:
    """What is trained, and how. The defaults are a healthy one."""

    table: Table = field(default_factory=Table)
    loss: str = "dpo"
    beta: float = 0.3
    optimizer: str = "adam"
    rate: float = 0.02
    steps: int = 300
    batch: int = 32
    dtype: str = "float32"
    begin: float = 0.0  # where the weights stand, beside which steps may be lost
    drawn: str = "reference"  # what draws the pairs; or "policy", or "uniform"
    pairs: int | None = None  # offline ones; None: fresh ones in every step
    judge: Any = None  # reward that labels follow; None: the table's
    noise: bool = True
    eval_every: int = 0
    seed: int = 1


def pairs(run, log_policy, number, random, judge=None):
    """Prompt, winner and loser of so many pairs, drawn from a policy."""
    table, judge = run.table, run.table.reward if judge is None else judge
    x = random.integers(table.prompts, size=number)
    chance = np.exp(log_policy[x])
    draw = np.argsort(np.log(chance) + random.gumbel(size=chance.shape), axis=1)[:, -2:]
    gap = judge[x, draw[:, 0]] - judge[x, draw[:, 1]]
    first = random.uniform(size=number) < 1 / (1 + np.exp(-gap)) if run.noise else gap > 0
    return x, np.where(first, draw[:, 0], draw[:, 1]), np.where(first, draw[:, 1], draw[:, 0])


def scores(run, log_policy, data):
    """h of winners and losers."""
    x, *both = data
    if run.loss == "simpo":
        return [run.beta * log_policy[x, y] / run.table.lengths[x, y] for y in both]
    return [run.beta * (log_policy - run.table.log_ref)[x, y] for y in both]


def losses(run, lead):
    """The loss of each pair, and its slope in the lead of the winner."""
    if run.loss == "ipo":
        return (lead - 0.5) ** 2, 2 * (lead - 0.5)
    if run.loss == "hinge":
        return np.maximum(0.0, 1 - lead), -1.0 * (lead < 1)
    if run.loss == "cdpo":
        e = 0.1
        both = (1 - e) * np.logaddexp(0, -lead) + e * np.logaddexp(0, lead)
        return both, -(1 - e) / (1 + np.exp(lead)) + e / (1 + np.exp(-lead))
    lead = lead - (0.3 if run.loss == "simpo" else 0.0)
    return np.logaddexp(0, -lead), -1 / (1 + np.exp(lead))


def gradient(run, log_policy, data, slope):
    x, winner, loser = data
    features = run.table.features
    mean = np.einsum("xk,xkd->xd", np.exp(log_policy), features)[x]
    each = [features[x, y] - mean for y in (winner, loser)]
    if run.loss == "simpo":
        each = [
            e / run.table.lengths[x, y][:, None] for e, y in zip(each, (winner, loser), strict=True)
        ]
    return run.beta * np.mean(slope[:, None] * (each[0] - each[1]), axis=0)


class Optimizer:
    def __init__(self, kind, rate, dimension):
        self.kind, self.rate, self.count = kind, rate, 0
        self.mean, self.square = np.zeros(dimension), np.zeros(dimension)

    def __call__(self, g):
        self.count += 1
        if self.kind == "sgd":
            return -self.rate * g
        decay = 0.99
        self.square = decay * self.square + (1 - decay) * g**2
        if self.kind == "rmsprop":
            return -self.rate * g / (np.sqrt(self.square) + 1e-8)
        self.mean = 0.9 * self.mean + 0.1 * g
        scale = np.sqrt(self.square / (1 - decay**self.count))
        return -self.rate * self.mean / (1 - 0.9**self.count) / (scale + 1e-8)


def rows(run):
    """The log of the run, in TRL's names; rows of held-out figures follow theirs."""
    table, random = run.table, np.random.default_rng(run.seed)
    dtype = DTYPES[run.dtype]
    # The policy begins at the reference, wherever its weights stand.
    begin = np.full(table.dimension, run.begin).astype(dtype)
    weights, optimizer = begin.copy(), Optimizer(run.optimizer, run.rate, table.dimension)
    given = None if run.pairs is None else pairs(run, table.log_ref, run.pairs, random, run.judge)
    fresh = pairs(run, table.log_ref, 4000, np.random.default_rng(99))  # the true judge
    found = []
    for step in range(1, run.steps + 1):
        log_policy = table.log_policy(weights.astype(float) - begin.astype(float))
        if given is None:
            kinds = {"policy": log_policy, "reference": table.log_ref, "uniform": 0 * log_policy}
            data = pairs(run, kinds[run.drawn], run.batch, random, run.judge)
        else:
            chosen = random.integers(len(given[0]), size=run.batch)
            data = tuple(part[chosen] for part in given)
        winners, losers = scores(run, log_policy, data)
        value, slope = losses(run, winners - losers)
        g = gradient(run, log_policy, data, slope)
        update = optimizer(g).astype(dtype)
        after = (weights + update).astype(dtype)
        x, winner, loser = data
        policy = np.exp(log_policy)
        row = {
            "loss": value.mean(),
            "grad_norm": np.sqrt((g**2).sum()),
            "learning_rate": run.rate,
            "rewards/chosen": winners.mean(),
            "rewards/rejected": losers.mean(),
            "rewards/margins": (winners - losers).mean(),
            "rewards/accuracies": (winners > losers).mean(),
            "logps/chosen": log_policy[x, winner].mean(),
            "logps/rejected": log_policy[x, loser].mean(),
            "entropy": -(policy * log_policy).sum(1).mean(),
            "kl": (policy * (log_policy - table.log_ref)).sum(1).mean(),
            "lost_updates": ((after == weights) & (update != 0)).mean(),
            "step": step,
        }
        if run.drawn == "policy":
            row["completions/mean_length"] = np.mean(
                [table.lengths[x, winner], table.lengths[x, loser]]
            )
        found.append({name: float(figure) for name, figure in row.items()} | {"step": step})
        if run.eval_every and step % run.eval_every == 0:
            lead = np.subtract(*scores(run, log_policy, fresh))
            found.append(
                {
                    "eval_loss": float(losses(run, lead)[0].mean()),
                    "eval_rewards/accuracies": float((lead > 0).mean()),
                    "step": step,
                }
            )
        weights = after
    return found


def without(found, *names):
    return [{name: value for name, value in row.items() if name not in names} for row in found]


def write_trl(found, folder):
    """As the Hugging Face trainers write it."""
    file = folder / "trainer_state.json"
    history = [*found, {"train_runtime": 12.3, "train_loss": 0.5, "step": len(found)}]
    state = {"best_metric": None, "epoch": 1.0, "global_step": len(found), "log_history": history}
    file.write_text(json.dumps(state, indent=2))
    return file


def write_csv(found, folder):
    file = folder / "log.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, sorted({name for row in found for name in row}))
        writer.writeheader()
        writer.writerows(found)
    return file


OURS = {
    "learning_rate": "rate",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "grad_norm": "gradient",
    "logps/chosen": "chosen_log_prob",
    "logps/rejected": "rejected_log_prob",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "completions/mean_length": "length",
}


def write_ours(found, folder, iterations=1):
    """As `apo_sim.llm.fine_tune` does; the steps of so many iterations one after the other."""
    steps = [
        {"iteration": t}
        | {OURS.get(name, name): value for name, value in row.items() if name != "step"}
        for t in range(1, iterations + 1)
        for row in found
    ]
    file = folder / "results.json"
    file.write_text(json.dumps({"rows": [], "steps": steps, "pairs": [32] * iterations}, indent=1))
    return file


def write_jsonl(found, folder):
    file = folder / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    return file
