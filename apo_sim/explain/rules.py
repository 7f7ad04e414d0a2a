"""One rule for each effect: from levels of columns to a diagnosis, or why there can be none."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from apo_sim.explain._columns import RESTART
from apo_sim.explain._commands import COMMANDS
from apo_sim.explain._levels import FEWEST_ROWS, Levels, levels
from apo_sim.explain.diagnosis import Diagnosis, Effect, Unjudged
from apo_sim.explain.log import Log

# The log-sigmoid of no difference: where DPO's loss begins.
_LOG_2 = math.log(2.0)
# How near to it a first level is that began there: a tool's first row may be a mean of many steps.
_NEAR_LOG_2 = 0.1
# A margin that changes the weight of no pair by more than a part in 400: sigmoid's slope is 1/4.
_STILL = 0.01
# Of its level: what a loss may change by and be still; DPO's, of log 2, with a margin of .01.
_STILL_LOSS = 0.0075
# Below it every pair is weighted by 1/2 within .05, so that beta only multiplies the gradient.
FLAT_MARGIN = 0.2
# Above it a pair's weight in the gradient is below sigmoid(-3) = .047 ...
_SATURATED_MARGIN = 3.0
# ... and the loss, where that holds for the pairs and not only for their mean, below log(1 + e^-3).
_SATURATED_LOSS = 0.05
# Of log-probability: a response that is less than 1/e as likely as it was.
_NATS = 1.0
# The same as a reward, where no beta is known: that of the customary one.
_USUAL_BETA = 0.1
# A fifth of the length: more than what the same policy's batches differ by.
_LONGER = 0.2
# Of the first entropy: e.g. from 8 choices a token to fewer than 2.
_ENTROPY_LEFT = 0.25
# What the best of e^21, a thousand million draws, has: no ranker was tested there.
_FAR_NATS = 20.0
# Of updates: beyond it, less than half of a step is made.
MOST_LOST = 0.5
# A rate below it moves no weight of bfloat16 above .01: half of its last digit is 2^-9 of it.
_LOST_RATE = {"bfloat16": 2.0**-9 * 0.01, "float16": 2.0**-12 * 0.01}
# Trainers with loss scaling skip a step now and then, and note a gradient that is no number.
_SKIPPED = 0.1

Found = Diagnosis | Unjudged | None


@dataclass
class Evidence:
    """A log as its rules see it.

    Args:
        log: what was read.
        beta: proximal weight, if it is known.
        dtype: of the parameters, if it is known.
    """

    log: Log
    beta: float | None = None
    dtype: str | None = None
    _levels: dict[str, Levels | None] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Levels | None:
        """The levels of a column; None where it is missing or too short."""
        if name not in self._levels:
            series = self.log.columns.get(name)
            self._levels[name] = None if series is None else levels(series, name in RESTART)
        return self._levels[name]

    def why_not(self, effect: Effect, *names: str) -> Unjudged:
        """None of these columns can be used."""
        there = [name for name in names if name in self.log.columns]
        if short := [name for name in there if self[name] is None]:
            need = "needs" if len(short) == 1 else "need"
            said = f"{' and '.join(short)} {need} at least {FEWEST_ROWS} finite rows"
        else:
            said = f"no column {' or '.join(name for name in names if name not in there)}"
        return Unjudged(effect, said)

    def figures(self, *names: str) -> dict[str, float]:
        """First and last levels of those columns that there are."""
        found = {}
        for name in names:
            level = self[name]
            if level is not None:
                found |= {f"{name} at first": level.start, f"{name} at last": level.end}
        return found

    @property
    def highest_rate(self) -> dict[str, float]:
        """The highest learning rate, if there is any."""
        rates = self.log.columns.get("learning_rate")
        if rates is None or not len(rates.finite.value):
            return {}
        return {"highest learning_rate": float(rates.finite.value.max())}

    @property
    def is_log_sigmoid(self) -> bool:
        """Whether the loss begins where DPO's does."""
        loss = self["loss"]
        return loss is not None and abs(loss.start - _LOG_2) < _NEAR_LOG_2


def diverged(evidence: Evidence) -> Found:
    """Numbers that are not finite."""
    figures, seen, looked = {}, [], False
    for name in ("loss", "margin", "chosen_log_prob", "rejected_log_prob", "gradient_norm"):
        series = evidence.log.columns.get(name)
        if series is None:
            continue
        looked = True
        bad = ~np.isfinite(series.value)
        if bad.mean() > (_SKIPPED if name == "gradient_norm" else 0.0):
            figures[f"rows of {name} that are not finite"] = float(bad.sum())
            seen += series.step[bad].tolist()
    if not looked:
        return evidence.why_not(Effect.DIVERGED, "loss", "margin")
    if not figures:
        return None
    return _diagnosis(
        Effect.DIVERGED,
        figures | evidence.highest_rate,
        (min(seen), max(seen)),
        "values are no longer finite, and nothing after them is meaningful",
        "go back to the last checkpoint before, lower the learning rate, clip the gradient's norm",
    )


def still(evidence: Evidence) -> Found:
    """A policy that does not move: the rate is too low, or the dtype swallows its steps."""
    margin, loss = evidence["margin"], evidence["loss"]
    if margin is not None:
        name, level, zone = "margin", margin, _STILL
    elif evidence["reward"] is not None:
        # Advantages have the mean 0, and so has their loss, however much moves.
        why = (
            "the loss of a policy gradient stays near 0 whatever happens, and the log has no margin"
        )
        return Unjudged(Effect.DEAD_LEARNING_RATE, why)
    elif loss is not None:
        name, level, zone = "loss", loss, _STILL_LOSS * max(abs(loss.start), _STILL)
    else:
        return evidence.why_not(Effect.DEAD_LEARNING_RATE, "margin", "loss")
    low, high = level.change()
    if max(abs(low), abs(high)) > zone:
        if low <= 0.0 <= high and abs(level.end - level.start) <= zone:
            return Unjudged(
                Effect.DEAD_LEARNING_RATE,
                f"{name} changes by {level.end - level.start:.2g} and its noise hides {zone:.2g}",
            )
        return None
    figures = evidence.figures("margin", "loss", "gradient_norm") | evidence.highest_rate
    rate = figures.get("highest learning_rate", math.inf)
    if rate < _LOST_RATE.get(evidence.dtype or "", 0.0):
        return _lost(evidence, figures, level.since(np.ones(len(level.blocks), bool)))
    return _diagnosis(
        Effect.DEAD_LEARNING_RATE,
        figures,
        level.since(np.ones(len(level.blocks), bool)),
        f"nothing moves: {name} ends where it began",
        "raise the learning rate tenfold until the margin moves; check that parameters are "
        "trainable, and that weights in bfloat16 do not swallow such steps",
    )


def lost(evidence: Evidence) -> Found:
    """Updates below half of the last digit of what they are added to."""
    level = evidence["lost_updates"]
    if level is None:
        if evidence.dtype in ("float32", "float64"):
            return None
        return evidence.why_not(Effect.LOST_UPDATES, "lost_updates")
    if level.final()[0] <= MOST_LOST:
        return None
    figures = evidence.figures("lost_updates", "margin", "gradient_norm") | evidence.highest_rate
    return _lost(evidence, figures, level.since(level.blocks > MOST_LOST))


def _lost(evidence: Evidence, figures: dict[str, float], steps: tuple[float, float]) -> Diagnosis:
    return _diagnosis(
        Effect.LOST_UPDATES,
        figures,
        steps,
        f"most updates are lost to the parameters' {evidence.dtype or 'dtype'}: they are smaller "
        "than half of the last digit of what they are added to",
        "keep the trained parameters in float32 (or train LoRA adapters in it); or raise the rate",
    )


def beta_hardly_counts(evidence: Evidence) -> Found:
    """A run that ends where the loss is still straight, so that beta only scales the gradient."""
    effect, margin = Effect.BETA_HARDLY_COUNTS, evidence["margin"]
    if margin is None:
        return evidence.why_not(effect, "margin")
    if evidence["loss"] is None:
        return evidence.why_not(effect, "loss")
    if not evidence.is_log_sigmoid:
        return Unjudged(effect, "the loss does not begin at log 2, as a log-sigmoid does")
    moved, (low, high) = margin.change(), margin.final()
    if moved[0] <= 0.0 or high >= FLAT_MARGIN or low <= -FLAT_MARGIN:
        return None
    if max(map(abs, moved)) <= _STILL:
        return None  # that it does not move at all says more
    weights = {"weight of a pair at last": 1.0 / (1.0 + math.exp(margin.end))}
    return _diagnosis(
        effect,
        evidence.figures("margin", "loss") | weights | evidence.highest_rate,
        margin.since(np.abs(margin.blocks) < FLAT_MARGIN),
        "the margin stays so small that every pair keeps the weight 1/2 it began with: beta only "
        "multiplies the gradient, which RMSProp and Adam divide out, so that the policy is where "
        "so many steps of this learning rate lead, with any beta",
        "compare rates and numbers of steps, not betas; or train longer, or at a higher rate, "
        f"until margins pass {FLAT_MARGIN:g}",
    )


def saturated(evidence: Evidence) -> Found:
    """A loss that no pair pulls at any more."""
    effect, loss, margin = Effect.SATURATED_LOSS, evidence["loss"], evidence["margin"]
    if loss is None or margin is None:
        missing = [name for name in ("loss", "margin") if evidence[name] is None]
        return evidence.why_not(effect, *missing)
    if loss.final()[1] >= _SATURATED_LOSS or margin.final()[0] <= _SATURATED_MARGIN:
        return None
    return _diagnosis(
        effect,
        evidence.figures("loss", "margin", "accuracy", "gradient_norm"),
        loss.since(loss.blocks < _SATURATED_LOSS),
        "every training pair is told apart beyond doubt and pulls no more: what still moves is "
        "noise, and a loss without an optimum runs on with whatever is left",
        "stop earlier, raise beta, smooth the labels (cDPO) or use IPO, draw new pairs",
    )


def displaced(evidence: Evidence) -> Found:
    """Log-probabilities of chosen and rejected responses that both fall."""
    effect = Effect.DISPLACEMENT
    beta = _USUAL_BETA if evidence.beta is None else evidence.beta
    # Those relative to the reference first: they are free of what batches differ by.
    kind, least = "reward", _NATS * beta
    if evidence["chosen_reward"] is None or evidence["rejected_reward"] is None:
        kind, least = "log_prob", _NATS
    chosen, rejected = evidence[f"chosen_{kind}"], evidence[f"rejected_{kind}"]
    if chosen is None or rejected is None:
        sides = ("chosen", "rejected")
        names = [f"{side}_{kind}" for kind in ("reward", "log_prob") for side in sides]
        return evidence.why_not(effect, *names)
    for level in (chosen, rejected):
        if level.change()[1] >= 0.0 or level.end - level.start > -least:
            return None
    return _diagnosis(
        effect,
        evidence.figures(f"chosen_{kind}", f"rejected_{kind}", "margin", "pair_mass"),
        chosen.since(chosen.blocks < chosen.start - least),
        "chosen and rejected responses both become less likely: the margin grows while mass "
        "leaves both for others. That is a fault where the others are worse; DPO's exact optimum "
        "does it too, where beta is small beside the spread of the rewards",
        "judge the policy's own responses (held-out win rate); if they get worse, raise beta, add "
        "the chosen responses' log-likelihood to the loss (RPO), drop pairs that are nearly alike, "
        "or draw pairs from the current policy",
    )


def longer(evidence: Evidence) -> Found:
    """A length of responses that moves with the training."""
    effect, level = Effect.LENGTH_DRIFT, evidence["length"]
    if level is None:
        return evidence.why_not(effect, "length")
    low, high = level.change()
    share = (level.end - level.start) / abs(level.start) if level.start else 0.0
    if low <= 0.0 <= high or abs(share) <= _LONGER:
        return None
    beyond = np.abs(level.blocks - level.start) > _LONGER * abs(level.start)
    return _diagnosis(
        effect,
        evidence.figures("length"),
        level.since(beyond),
        f"responses become {'longer' if share > 0 else 'shorter'} by {abs(share):.0%}: the "
        "preferences, or a loss summed over tokens, reward length itself",
        "judge at equal length (length-controlled win rate), balance lengths within pairs, or "
        "normalise by length (SimPO)",
    )


def collapsed(evidence: Evidence) -> Found:
    """A policy that has little left to choose."""
    effect, level = Effect.ENTROPY_COLLAPSE, evidence["entropy"]
    if level is None:
        return evidence.why_not(effect, "entropy")
    least = _ENTROPY_LEFT * level.start
    if level.start <= 0.0 or level.final()[1] >= least or level.change()[1] >= 0.0:
        return None
    return _diagnosis(
        effect,
        evidence.figures("entropy"),
        level.since(level.blocks < least),
        "the policy gives nearly always the same response, and pairs drawn from it teach nothing",
        "raise beta, stop earlier, draw at a higher temperature; extrapolate less",
    )


def exploded(evidence: Evidence) -> Found:
    """A policy far from the reference."""
    effect, level = Effect.KL_EXPLOSION, evidence["kl"]
    if level is None:
        return evidence.why_not(effect, "kl")
    if level.final()[0] <= _FAR_NATS or level.change()[0] <= 0.0:
        return None
    return _diagnosis(
        effect,
        evidence.figures("kl"),
        level.since(level.blocks > _FAR_NATS),
        f"the policy is further from the reference, in nats, than the best of e^{_FAR_NATS:.0f} "
        "draws would be: what the preferences say of the reference's responses no longer applies",
        "raise beta, take fewer iterations or less momentum, draw new preferences on the way",
    )


def over_optimised(evidence: Evidence) -> Found:
    """Held-out figures that get worse while those of training get better."""
    effect, unseen = Effect.OVER_OPTIMISATION, []
    for name, sign in (("loss", -1.0), ("reward", 1.0), ("accuracy", 1.0), ("margin", 1.0)):
        held_out, training = evidence[f"held_out_{name}"], evidence[name]
        if held_out is None or training is None:
            unseen.append(f"held_out_{name}" if held_out is None else name)
            continue
        best = int(np.argmax(sign * np.convolve(held_out.blocks, np.ones(3) / 3, "same")[1:-1])) + 1
        low, high = held_out.rise_from(best)
        worse = high < 0.0 if sign > 0 else low > 0.0
        change = training.change()
        better = change[0] > 0.0 if sign > 0 else change[1] < 0.0
        if worse and better:
            return _diagnosis(
                effect,
                {f"held_out_{name} at best": float(held_out.blocks[best])}
                | evidence.figures(f"held_out_{name}", name),
                (float(held_out.steps[best, 1]), float(held_out.steps[-1, 1])),
                f"held-out {name} gets worse while that of training gets better: the run fits "
                "what its data happen to say",
                f"stop near step {held_out.steps[best, 1]:g}, raise beta, or collect more "
                "preferences",
            )
    if len(unseen) == 4:
        return evidence.why_not(effect, *unseen)
    return None


RULES: tuple[Callable[[Evidence], Found], ...] = (
    diverged,
    still,
    lost,
    beta_hardly_counts,
    saturated,
    displaced,
    longer,
    collapsed,
    exploded,
    over_optimised,
)


def _diagnosis(
    effect: Effect,
    evidence: Mapping[str, float],
    steps: tuple[float, float],
    meaning: str,
    remedy: str,
) -> Diagnosis:
    return Diagnosis(effect, evidence, steps, meaning, remedy, COMMANDS.get(effect))
