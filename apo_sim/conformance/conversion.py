"""The same loss under the parameters of another tool."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apo_sim.checks import NON_NEGATIVE, OPEN_SHARE, POSITIVE, Real, check_single, within
from apo_sim.errors import InvalidArgument, UnknownName

Numbers = dict[str, float]
_NOISE = within("in [0, 1/2)", lambda values: (values >= 0) & (values < 0.5))


@dataclass(frozen=True)
class Converted:
    """Parameters in another tool's terms.

    Attributes:
        parameters: by the names that the tool uses.
        factor: the loss converted from, divided by the loss converted to: it scales the gradient,
            and says by how much a learning rate has to change.
    """

    parameters: Numbers
    factor: float


@dataclass(frozen=True)
class _Dialect:
    """How a tool writes a loss: to a common form and its factor, and back."""

    kinds: Mapping[str, Real]
    read: Callable[[Numbers], tuple[Numbers, float]]
    write: Callable[[Numbers], tuple[Numbers, float]]


def _renamed(**names: tuple[str, Real]) -> _Dialect:
    """A tool that only has other names for the parameters of the common form."""
    return _Dialect(
        {theirs: kind for theirs, kind in names.values()},
        lambda given: ({ours: given[theirs] for ours, (theirs, _) in names.items()}, 1.0),
        lambda common: ({theirs: common[ours] for ours, (theirs, _) in names.items()}, 1.0),
    )


def _dpo(name: str) -> _Dialect:
    return _renamed(beta=("beta", POSITIVE), noise=(name, _NOISE))


def _simpo(name: str) -> _Dialect:
    return _renamed(beta=("beta", POSITIVE), margin=(name, NON_NEGATIVE))


def _ipo(name: str) -> _Dialect:
    return _Dialect(
        {name: POSITIVE},
        lambda given: ({"margin": 0.5 / given[name]}, 1.0),
        lambda common: ({name: 0.5 / common["margin"]}, 1.0),
    )


def _kto(suffix: str) -> _Dialect:
    return _renamed(
        beta=("beta", POSITIVE),
        desirable=(f"desirable{suffix}", POSITIVE),
        undesirable=(f"undesirable{suffix}", POSITIVE),
    )


# Common forms. ipo: (difference of log-ratios - margin)^2. sppo: squares of log-ratios less
# eta (P - 1/2). slic: max(0, margin - difference of log-ratios).
_DIALECTS: dict[str, dict[str, _Dialect]] = {
    "cdpo": {
        "apo_sim": _dpo("noise"),
        "trl": _dpo("label_smoothing"),  # of its CPO and TPO; its DPO ignores it
        "openrlhf": _dpo("label_smoothing"),
    },
    "robust": {"apo_sim": _dpo("noise"), "trl": _dpo("label_smoothing")},
    "kto": {"apo_sim": _kto(""), "trl": _kto("_weight")},
    "f_dpo_alpha": {
        "apo_sim": _renamed(beta=("beta", POSITIVE), alpha=("alpha", OPEN_SHARE)),
        "trl": _Dialect(
            {"beta": POSITIVE, "f_alpha_divergence_coef": OPEN_SHARE},
            lambda given: (
                {"beta": given["beta"], "alpha": 1.0 - given["f_alpha_divergence_coef"]},
                1.0,
            ),
            lambda common: (
                {"beta": common["beta"], "f_alpha_divergence_coef": 1.0 - common["alpha"]},
                1.0,
            ),
        ),
    },
    "ipo": {
        "apo_sim": _Dialect(
            {"beta": POSITIVE, "tau": POSITIVE},
            lambda given: ({"margin": 1.0 / (given["beta"] * given["tau"])}, given["beta"] ** 2),
            lambda common: ({"beta": 1.0, "tau": 1.0 / common["margin"]}, 1.0),
        ),
        "paper": _ipo("tau"),
        "trl": _ipo("beta"),
        "openrlhf": _ipo("beta"),
    },
    "simpo": {
        "apo_sim": _simpo("margin"),
        "paper": _simpo("gamma"),
        "trl": _simpo("simpo_gamma"),
        "authors": _Dialect(
            {"beta": POSITIVE, "gamma_beta_ratio": NON_NEGATIVE},
            lambda given: (
                {"beta": given["beta"], "margin": given["gamma_beta_ratio"] * given["beta"]},
                1.0,
            ),
            lambda common: (
                {"beta": common["beta"], "gamma_beta_ratio": common["margin"] / common["beta"]},
                1.0,
            ),
        ),
    },
    "slic": {
        "apo_sim": _Dialect(
            {"beta": POSITIVE, "margin": POSITIVE},
            lambda given: ({"margin": given["margin"] / given["beta"]}, given["beta"]),
            lambda common: ({"beta": 1.0 / common["margin"], "margin": 1.0}, 1 / common["margin"]),
        ),
        "trl": _Dialect(
            {"beta": POSITIVE},
            lambda given: ({"margin": 1.0 / given["beta"]}, given["beta"]),
            lambda common: ({"beta": 1.0 / common["margin"]}, 1.0 / common["margin"]),
        ),
    },
    "sppo": {
        "apo_sim": _Dialect(
            {"beta": POSITIVE},
            lambda given: ({"eta": 1.0 / given["beta"]}, 0.5 * given["beta"] ** 2),
            lambda common: ({"beta": 1.0 / common["eta"]}, 0.5 / common["eta"] ** 2),
        ),
        "paper": _renamed(eta=("eta", POSITIVE)),
        "trl": _Dialect(
            {"beta": POSITIVE},
            lambda given: ({"eta": 1.0 / given["beta"]}, 1.0),
            lambda common: ({"beta": 1.0 / common["eta"]}, 1.0),
        ),
    },
}


def convert(loss: str, source: str, target: str, **parameters: float) -> Converted:
    """The parameters under which another tool trains the same loss, up to a factor.

    Args:
        loss: cdpo, robust, kto, f_dpo_alpha, ipo, simpo, slic or sppo (with beta log Z = 1/2).
        source: whose parameters are given: apo_sim or trl; of some losses also openrlhf, paper,
            or authors for their public code.
        target: whose are wanted.
        **parameters: by the names that the source uses.

    Raises:
        InvalidArgument: a name that is unknown, a parameter missing or out of range.

    Example:
        >>> convert("ipo", "trl", "apo_sim", beta=0.1)
        Converted(parameters={'beta': 1.0, 'tau': 0.2}, factor=1.0)
        >>> convert("simpo", "trl", "authors", beta=0.1, simpo_gamma=0.5).parameters
        {'beta': 0.1, 'gamma_beta_ratio': 5.0}
    """
    if loss not in _DIALECTS:
        raise UnknownName("loss", loss, _DIALECTS)
    dialects = _DIALECTS[loss]
    for name, value in (("source", source), ("target", target)):
        if value not in dialects:
            raise UnknownName(name, value, dialects)
    given = _checked(dialects[source].kinds, parameters)
    common, read = dialects[source].read(given)
    found, written = dialects[target].write(common)
    return Converted(found, read / written)


def _checked(kinds: Mapping[str, Real], parameters: Mapping[str, float]) -> Numbers:
    for name, value in parameters.items():
        if name not in kinds:
            raise UnknownName("parameters", name, kinds)
        check_single(name, value, kinds[name].remedy)
        kinds[name].check(name, value)
    for name in kinds:
        if name not in parameters:
            raise InvalidArgument(name, None, "is missing", kinds[name].remedy)
    return {name: float(value) for name, value in parameters.items()}
