"""F9: what conservative and robust DPO make of labels that are flipped."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from scipy.special import expit, logit

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import ConservativeDPO, Extra, RobustDPO
from apo_sim.proximal.from_counts import rewards_from_counts

ARMS = 4
RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
SOLVED_AT = (0.0, 0.2, 0.4)
# At e = 0.4 a label is worth a thirtieth of one without flips: fewer are far from asymptotic.
SAMPLES = (100_000, 1_000_000)
BOUND = 8.0
WRONGLY = 0.3  # flips that robust DPO assumes of two arms, whatever the true rate
SOLVED, OFF = 1e-6, 0.15
AT, FEW = 0.2, 10_000  # where an assumed rate is compared with the true one, and labels there


@claim(
    id="F9",
    title="Flipped labels: the loss of robust DPO is unbiased, at a price",
    source="ours",
    statement=r"Bradley-Terry labels of pairs from $\pi_{\mathrm{ref}}$, flipped with probability "
    r"$e < \frac12$; $\tilde p = p(1-e) + (1-p)e$. In population robust DPO learns $r^*$; of two "
    r"arms DPO learns $\mathrm{logit}\,\tilde p$, about $1 - 2e$ of $\mathrm{logit}\,p$, "
    r"conservative DPO $\mathrm{logit}(\tilde p(1-e) + (1-\tilde p)e)$, about $(1-2e)^2$ of it; "
    r"neither changes the order of the arms. From $n$ labels the squared errors of robust DPO, in "
    r"reward and in value, are $c/(1-2e)^2$ times those of DPO without flips, $1 \le c \le \max "
    r"\tilde p(1-\tilde p)/(p(1-p))$, and fall as $1/n$. Assuming $e' > e$ it has no minimiser "
    r"where $p > 1 - (e'-e)/(1-2e)$.",
    control="robust DPO that assumes half of the flips",
    scope=Scope(
        "for all",
        "random bandits, rewards in [-1, 1], random references; two arms for the closed forms; "
        "errors on average over bandits and samples",
        arms=(2, ARMS),
        iterations=1,
        samples=SAMPLES,
    ),
)
def flipped_labels(study: Study) -> Finding:
    r"""Judge what the losses learn in population, and the errors of samples.

    Problem: robust DPO divides by 1 - 2e what flips take away, and so multiplies the noise.

    Method: minimisers in population on random bandits; two arms against the closed forms; samples
    of n labels against the asymptotic covariance A^+ B A^+ / n, with A the curvature, p(1 - p) on
    each pair, and B the covariance of the slopes, p~(1 - p~)/(1 - 2e)^2. As p~(1 - p~) is never
    below p(1 - p), B is at least A/(1 - 2e)^2.

    Guarantee: the population part is exact, the errors are asymptotic, and met within 15 % from
    100,000 labels on. The paper's theorem bounds the gap by a constant times 1/(1 - 2e) sqrt(d/n)
    for log-linear policies; its constants are not stated, so the rate and the factor are judged.
    The bias of the others is nearly a longer beta: what remains after the best rescaling is among
    the facts. Robust DPO is not the likelihood of flipped labels, which for two arms has the same
    minimiser; the facts tell how far it is from the Cramer-Rao bound for more.

    Reference: Chowdhury, Kini and Natarajan (2024), Theorem 4.2; Mitchell (2023).

    Example:
        >>> [round(float(each), 3) for each in learned_of_two(0.9, 0.2)]
        [2.197, 1.046, 0.593]
    """
    count = study.pick(quick=3000, full=20_000)
    tried = _tried(study.rng(), count)
    learned = {e: _in_population(tried, e, e / 2 if study.wrong else e) for e in SOLVED_AT}
    off = np.stack([_centred(each.robust) - _centred(tried.reward) for each in learned.values()])
    unbiased = judge.identity(
        off, SOLVED, unit="error of a reward", witness=lambda w: _witness(tried, w // ARMS)
    )
    if unbiased.verdict == "fails":
        return unbiased
    order = np.argsort(tried.reward, axis=1)
    kept = np.stack([
        np.take_along_axis(rewards, order, axis=1)
        for each in learned.values() for rewards in (each.plain, each.conservative)
    ])  # fmt: skip
    ordered = judge.upper_bound(-np.diff(kept, axis=-1), SOLVED, unit="reward out of order")
    closed = judge.identity(_errors_of_two(count), SOLVED, unit="error of a difference of rewards")
    same = judge.identity(_errors_of_conservative(), SOLVED, unit="error of a loss")
    measured = {e: _sampled(tried, e, study.rng(1)) for e in SOLVED_AT}
    parts = []
    for errors in measured.values():
        for ratio in errors:
            interval = judge.mean_interval(ratio, judge.together(2 * len(SOLVED_AT)))
            parts.append(
                judge.close(
                    ratio.mean(),
                    interval,
                    1.0,
                    OFF,
                    unit="squared error over the asymptotic one",
                    instances=ratio.size,
                )
            )
    within = judge.upper_bound(
        [_price(tried, e)[0] for e in RATES], [_price(tried, e)[1] for e in RATES],
        unit="c over its bound",
    )  # fmt: skip
    above = judge.upper_bound([1 / _price(tried, e)[0] for e in RATES], 1.0, unit="1 / c")
    prices = {e: float(np.mean(_price(tried, e)[0])) / (1 - 2 * e) ** 2 for e in RATES}
    rest = {e: _not_rescaled(tried, each) for e, each in learned.items()}
    misled = _misled(tried, study.rng(3))
    return dataclasses.replace(
        judge.worst([unbiased, ordered, closed, same, within, above, *parts]),
        cells=len(parts),
        instances=count * len(SOLVED_AT) * (1 + len(SAMPLES)),
        facts={
            **{f"labels one clean label is worth, e = {e:g}": prices[e] for e in RATES},
            **{f"1 / (1 - 2e)^2, e = {e:g}": 1 / (1 - 2 * e) ** 2 for e in RATES},
            **{f"over Cramer-Rao, e = {e:g}": _over_likelihood(tried, e) for e in RATES},
            **{f"share of the reward that DPO learns, e = {e:g}": rest[e][0] for e in SOLVED_AT},
            **{f"not a rescaling, DPO, e = {e:g}": rest[e][1] for e in SOLVED_AT},
            **{
                f"root mean squared error, N = {FEW:,}, e = {AT:g}, {name}": error
                for name, error in misled.items()
            },
        },
        note="A clean label is worth "
        + ", ".join(f"{prices[e]:.1f} (e = {e:g})" for e in RATES[1:])
        + " flipped ones to robust DPO. Under flips DPO learns "
        + ", ".join(f"{rest[e][0]:.2f} (e = {e:g})" for e in SOLVED_AT[1:])
        + f" of the reward, and a smaller $\\beta$ makes up for all but "
        f"{max(each[1] for each in rest.values()):.1%} of it.",
        draw=lambda figure: _draw(figure, prices, misled),
    )


def flipped(p: Any, e: Any) -> Any:
    """p (1 - e) + (1 - p) e."""
    return p * (1 - e) + (1 - p) * e


def learned_of_two(p: Any, e: Any) -> tuple[Any, Any, Any]:
    """What robust, plain and conservative DPO learn of two arms from flipped labels."""
    return logit(p), logit(flipped(p, e)), logit(flipped(flipped(p, e), e))


class Tried(NamedTuple):
    """Bandits: rewards and log-probabilities of the reference, shape (n, K)."""

    reward: np.ndarray
    log_ref: np.ndarray


class Learned(NamedTuple):
    """Rewards that the losses learn, shape (n, K)."""

    robust: np.ndarray
    plain: np.ndarray
    conservative: np.ndarray


class Errors(NamedTuple):
    """Squared errors over the asymptotic ones, of the reward and of the value, shape (n,)."""

    of_reward: np.ndarray
    of_value: np.ndarray


def _tried(rng: np.random.Generator, count: int) -> Tried:
    reference = 0.6 * rng.dirichlet(np.full(ARMS, 2.0), count) + 0.4 / ARMS
    return Tried(rng.uniform(-1, 1, (count, ARMS)), np.log(reference))


def _drawn(tried: Tried, e: float) -> np.ndarray:
    """Law of (winner, loser) up to a factor, shape (n, K, K)."""
    chance = expit(tried.reward[:, :, None] - tried.reward[:, None, :])
    return np.exp(tried.log_ref[:, :, None] + tried.log_ref[:, None, :]) * flipped(chance, e)


# A few solves of many small problems: what optimised code saves is less than it costs.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def _fitted(loss: Any, wins: Any, log_ref: Any) -> Array:
    return rewards_from_counts(loss, wins, log_ref, 1.0, BOUND)[0]  # type: ignore[arg-type]


def _plainly(wins: Any, log_ref: Any, expected: float = 0.0) -> np.ndarray:
    """What DPO learns; or conservative DPO, which is DPO on labels that are flipped once more."""
    mixed = (1 - expected) * wins + expected * wins.swapaxes(1, 2)
    return np.asarray(_fitted(RobustDPO(0.0), mixed, log_ref))


def _in_population(tried: Tried, e: float, assumed: float) -> Learned:
    wins = _drawn(tried, e)
    robust = np.asarray(_fitted(RobustDPO(assumed), wins, tried.log_ref))
    return Learned(robust, *(_plainly(wins, tried.log_ref, each) for each in (0.0, e)))


def _errors_of_two(lanes: int) -> np.ndarray:
    """Solver against closed forms, on two arms among others that are never compared.

    Where robust DPO has no minimiser, it must use all of the bound.
    """
    p = np.linspace(0.05, 0.95, lanes)
    errors = []
    for e in SOLVED_AT:
        wins = np.zeros((lanes, ARMS, ARMS))
        wins[:, 0, 1], wins[:, 1, 0] = flipped(p, e), 1 - flipped(p, e)
        log_ref = np.full((lanes, ARMS), -np.log(ARMS))
        robust, wrongly = (_fitted(RobustDPO(f), wins, log_ref) for f in (e, WRONGLY))
        learned = (robust, *(_plainly(wins, log_ref, f) for f in (0.0, e)), wrongly)
        beyond = (flipped(p, e) - WRONGLY) / (1 - 2 * WRONGLY)  # no probability where it diverges
        diverging = np.clip(logit(np.clip(beyond, 1e-9, 1 - 1e-9)), -2 * BOUND, 2 * BOUND)
        for rewards, wanted in zip(learned, (*learned_of_two(p, e), diverging), strict=True):
            errors.append(np.asarray(rewards[:, 0] - rewards[:, 1]) - wanted)
    return np.stack(errors)


def _errors_of_conservative() -> np.ndarray:
    """Conservative DPO's loss against the mean of DPO's over labels that are flipped."""
    d = np.linspace(-8, 8, 33)
    return np.stack([
        np.asarray(ConservativeDPO(e)(jnp.asarray(d), jnp.zeros(33), Extra()))
        - (1 - e) * np.logaddexp(0, -d) - e * np.logaddexp(0, d)
        for e in RATES
    ])  # fmt: skip


def _laplacian(rates: np.ndarray) -> np.ndarray:
    """sum over unordered pairs of rate (e_i - e_j)(e_i - e_j)^T, shape (n, K, K)."""
    off = rates * (1 - np.eye(ARMS))
    return np.einsum("nij,ik->nik", off, np.eye(ARMS)) - off


def _covariance(tried: Tried, e: float) -> np.ndarray:
    """A^+ B A^+, n times the covariance of robust DPO's rewards, shape (n, K, K)."""
    p = expit(tried.reward[:, :, None] - tried.reward[:, None, :])
    drawn = 2 * np.exp(tried.log_ref[:, :, None] + tried.log_ref[:, None, :])
    q = flipped(p, e)
    inverse = np.linalg.pinv(_laplacian(drawn * p * (1 - p)), hermitian=True)
    return inverse @ _laplacian(drawn * q * (1 - q) / (1 - 2 * e) ** 2) @ inverse


def _price(tried: Tried, e: float) -> tuple[np.ndarray, np.ndarray]:
    """c of every bandit, and its bound, shape (n,)."""
    of = [np.trace(_covariance(tried, rate), axis1=1, axis2=2) for rate in (e, 0.0)]
    p = expit(tried.reward.max(axis=1) - tried.reward.min(axis=1))
    q = flipped(p, e)
    return of[0] / of[1] * (1 - 2 * e) ** 2, q * (1 - q) / (p * (1 - p))


def _over_likelihood(tried: Tried, e: float) -> float:
    """Variance of robust DPO over that of the likelihood of flipped labels, e known; the mean."""
    p = expit(tried.reward[:, :, None] - tried.reward[:, None, :])
    drawn = 2 * np.exp(tried.log_ref[:, :, None] + tried.log_ref[:, None, :])
    q = flipped(p, e)
    informative = drawn * (1 - 2 * e) ** 2 * (p * (1 - p)) ** 2 / (q * (1 - q))
    best = np.linalg.pinv(_laplacian(informative), hermitian=True)
    traces = [np.trace(each, axis1=1, axis2=2) for each in (_covariance(tried, e), best)]
    return float(np.mean(traces[0] / traces[1]))


def _labels(tried: Tried, e: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """How often each arm beat each other, shape (n, K, K)."""
    law = _drawn(tried, e).reshape(len(tried.reward), -1)
    wins = rng.multinomial(number, law / law.sum(axis=1, keepdims=True))
    return wins.reshape(-1, ARMS, ARMS).astype(float)


def _sampled(tried: Tried, e: float, rng: np.random.Generator) -> Errors:
    """Errors of robust DPO with the true rate; the value is that of the policy at beta = 1."""
    truth, covariance = _centred(tried.reward), _covariance(tried, e)
    weights = np.exp(tried.log_ref + truth)
    best = weights / weights.sum(axis=1, keepdims=True)
    # d <pi, r*> / dr at the truth.
    slope = best * (truth - np.sum(best * truth, axis=1, keepdims=True))
    of_value = np.einsum("ni,nij,nj->n", slope, covariance, slope)
    of_reward = np.trace(covariance, axis1=1, axis2=2)
    errors = []
    for number in SAMPLES:
        wins = _labels(tried, e, number, rng)
        found = _centred(np.asarray(_fitted(RobustDPO(e), wins, tried.log_ref)))
        policy = np.exp(tried.log_ref + found)
        policy /= policy.sum(axis=1, keepdims=True)
        value = np.sum((policy - best) * truth, axis=1)
        errors.append(
            (
                number * np.sum((found - truth) ** 2, axis=1) / of_reward,
                number * value**2 / of_value,
            )
        )
    return Errors(*(np.concatenate(each) for each in zip(*errors, strict=True)))


def _not_rescaled(tried: Tried, learned: Learned) -> tuple[float, float]:
    """The factor on r* that is nearest to what DPO learns, and the norm that remains; the means."""
    truth, found = _centred(tried.reward), _centred(learned.plain)
    factor = np.sum(truth * found, axis=1) / np.sum(truth**2, axis=1)
    left = np.linalg.norm(found - factor[:, None] * truth, axis=1) / np.linalg.norm(found, axis=1)
    return float(factor.mean()), float(left.mean())


ASSUMED = (0.0, 0.1, 0.2, 0.3, 0.4)


def _misled(tried: Tried, rng: np.random.Generator) -> dict[str, float]:
    """Root mean squared error of a reward, by loss and assumed rate."""
    wins = _labels(tried, AT, FEW, rng)
    found = {}
    for assumed in ASSUMED:
        robust = np.asarray(_fitted(RobustDPO(assumed), wins, tried.log_ref))
        conservative = _plainly(wins, tried.log_ref, assumed)
        for name, rewards in (("robust", robust), ("conservative", conservative)):
            off = _centred(rewards) - _centred(tried.reward)
            found[f"{name}({assumed:g})"] = float(np.sqrt(np.mean(off**2)))
    return found


def _centred(rewards: np.ndarray) -> np.ndarray:
    return rewards - rewards.mean(axis=-1, keepdims=True)


def _witness(tried: Tried, index: int) -> dict[str, Any]:
    place = index % len(tried.reward)
    return {"reward": tried.reward[place], "reference": np.exp(tried.log_ref[place])}


def _draw(figure: Figure, prices: dict[float, float], misled: dict[str, float]) -> None:
    left, middle, right = figure.subplots(1, 3)
    p, e = np.linspace(0.5, 0.98, 200), 0.2
    for curve, name, colour in zip(
        learned_of_two(p, e), ("robust", "DPO", "conservative"), ("C2", "C3", "C0"), strict=True
    ):
        left.plot(logit(p), curve, color=colour, label=name)
    left.set(xlabel=r"$r^*$ of two arms, apart", ylabel="learned", title=f"e = {e:g}")
    left.legend(loc="upper left", fontsize=7.5)
    rates = np.linspace(0, 0.42, 100)
    middle.semilogy(rates, 1 / (1 - 2 * rates) ** 2, color="0.5", label=r"$1/(1-2e)^2$")
    middle.semilogy(list(prices), list(prices.values()), "o", color="C2", label="measured bandits")
    middle.set(xlabel="flips $e$", ylabel="flipped labels for a clean one", title="Price")
    middle.legend(loc="upper left", fontsize=7.5)
    for name, colour in (("robust", "C2"), ("conservative", "C0")):
        values = [misled[f"{name}({each:g})"] for each in ASSUMED]
        right.semilogy(ASSUMED, values, "o-", color=colour, label=name)
    right.axvline(AT, color="0.5", linewidth=1, linestyle=":")
    right.set(xlabel="flips that are assumed", ylabel="error of a reward, 10,000 labels")
    right.set(title=f"True e = {AT:g}")
    right.legend(loc="upper left", fontsize=7.5)
