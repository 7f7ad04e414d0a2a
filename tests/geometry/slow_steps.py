"""The proximal step by bisection, from its definition: slow, and nothing like the library's own."""

import numpy as np
from scipy.special import wrightomega

Real = np.longdouble
_HALVINGS = 300


def bisect(mass, low, high):
    """Where the total mass, decreasing in each row's own number, is one."""
    low, high = np.array(low, Real), np.array(high, Real)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = mass(middle[:, None]).sum(axis=1) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return ((low + high) / 2)[:, None]


def kl(log_centre, pull):
    logits = log_centre + pull
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def tsallis(log_centre, pull, q):
    """p = s^(-1 / (1 - q)) with s = 1 + (1 - q) (lambda - z)."""
    z = -np.expm1((q - 1) * log_centre) / (1 - q) + pull
    gaps = z.max(axis=1, keepdims=True) - z

    def mass(x):
        return (1 + (1 - q) * (x + gaps)) ** Real(-1 / (1 - q))

    # The best arm has no more than everything, and no less than an even share.
    arms = Real(z.shape[1])
    high = np.full(len(z), (arms ** (1 - q) - 1) / (1 - q))
    return np.log(mass(bisect(mass, np.zeros(len(z)), high * 1.01 + 1e-9)))


def burg(log_centre, pull):
    return tsallis(log_centre, pull, 0.0)


def chi_square_kl(log_centre, pull, log_ref):
    """p = ref u with u + log u = z - lambda."""
    z = np.exp(log_centre - log_ref) + (log_centre - log_ref) + pull
    ref, share = np.exp(log_ref), np.exp(log_ref) * z.shape[1]
    # From where one arm alone has everything, to where no arm has more than an even share.
    least = (z - 1 / ref + log_ref).max(axis=1)
    most = (z - 1 / share + np.log(share)).max(axis=1)
    shifted = z - least[:, None]

    def y(log_shift):
        return np.asarray(shifted - np.exp(log_shift), float)

    low, high = np.full(len(z), Real(-100.0)), np.log(np.maximum(most - least, 1.0)) + 1
    shift = bisect(lambda log_shift: ref * wrightomega(y(log_shift)), low, high)
    with np.errstate(divide="ignore"):
        log_u = np.where(y(shift) < -50, y(shift), np.log(wrightomega(y(shift))))
    return log_u + log_ref


def euclidean(log_centre, pull):
    z = np.exp(log_centre) + pull
    gaps = z.max(axis=1, keepdims=True) - z

    def mass(x):
        return np.maximum(x * -1 - gaps, 0)

    x = bisect(mass, np.full(len(z), -1.0), np.zeros(len(z)))
    with np.errstate(divide="ignore"):
        return np.log(mass(x))


def link(log_centre, pull, log_ratio, low, high):
    """p = centre u(slack + gap), with a slack found on a logarithmic scale."""
    gaps = pull.max(axis=1, keepdims=True) - pull

    def mass(log_slack):
        with np.errstate(over="ignore"):
            return np.exp(log_centre + log_ratio(np.exp(log_slack) + gaps))

    size = len(pull)
    log_slack = bisect(mass, np.full(size, np.log(Real(low))), np.full(size, np.log(Real(high))))
    return log_centre + log_ratio(np.exp(log_slack) + gaps)


def forward_kl(log_centre, pull):
    """-1 / u = -(slack + gap)."""
    return link(log_centre, pull, lambda t: -np.log(t), 1e-320, 2.0)


def alpha_divergence(log_centre, pull, alpha):
    """(1 - u^-alpha) / alpha = 1 / alpha - (slack + gap)."""
    return link(log_centre, pull, lambda t: -np.log(alpha * t) / alpha, 1e-320, 2.0 / alpha)


def jensen_shannon(log_centre, pull):
    """log(2 u / (1 + u)) = log 2 - (slack + gap)."""

    def log_ratio(t):
        return -t - np.log(-np.expm1(-t))

    return link(log_centre, pull, log_ratio, 1e-320, 1.0)


def mixed_chi_square(log_centre, pull):
    """u + log u = pull - lambda."""
    return chi_square_kl(log_centre, pull, log_centre)


def solve(geometry, log_centre, reward, beta, log_ref):
    """The policy of a proximal step, log-probabilities of shape (contexts, arms)."""
    log_centre, log_ref = np.asarray(log_centre, Real), np.asarray(log_ref, Real)
    pull = np.asarray(reward, Real) / np.asarray(beta, Real).reshape(-1, 1)
    name = type(geometry).__name__
    if name == "Tsallis":
        return tsallis(log_centre, pull, geometry.q)
    if name == "AlphaDivergence":
        return alpha_divergence(log_centre, pull, geometry.alpha)
    if name == "ChiSquareKL":
        return chi_square_kl(log_centre, pull, log_ref)
    solvers = {
        "KL": kl,
        "Burg": burg,
        "Euclidean": euclidean,
        "ForwardKL": forward_kl,
        "JensenShannon": jensen_shannon,
        "MixedChiSquare": mixed_chi_square,
    }
    return solvers[name](log_centre, pull)
