r"""A certificate for a language model, where the reward is that of a response's class.

Hardly any two responses are alike, and a prompt gets a handful of labels: with a response for an
arm a certificate excludes nothing. It says something where every response has one of a few classes
(how many instructions it follows, which score a ranker gave it) and whoever labels prefers by the
class alone: then all labels of all prompts speak of the same few rewards.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apo_sim.checks import OPEN_SHARE, POSITIVE, as_count, as_flag, checked, function_of
from apo_sim.errors import InvalidArgument
from apo_sim.files import as_path
from apo_sim.llm.data import preference_pairs as stored
from apo_sim.llm.data.preference_pairs import Preference, Tokens
from apo_sim.self_checking import checks_itself
from apo_sim.theory.certificate import Certificate
from apo_sim.theory.certificate import certify as certify_table

# Stands for the share of a class that was never seen, whose logarithm must be finite.
_NEVER = 1e-300


def logged_pairs(folder: str | Path) -> list[Preference]:
    """Read the preference pairs of all iterations of a run, in order, from its folder.

    Args:
        folder: `out` of `fine_tune`.

    Returns:
        A list of `Preference`.

    Raises:
        InvalidArgument: a folder without pairs, or with pairs that are damaged.
    """
    place = as_path("folder", folder)
    found = place.glob("iteration-*/pairs")
    numbered = {path.parent.name.removeprefix("iteration-"): path for path in found}
    stages = [numbered[t] for t in sorted(filter(str.isdecimal, numbered), key=int)]
    if not stages:
        raise InvalidArgument(
            "folder", str(place), "has no pairs", "pass the folder that was given as out="
        )
    try:
        return [pair for stage in stages for pair in stored.read(stage)]
    except (OSError, ValueError, TypeError) as error:
        raise InvalidArgument(
            "folder",
            str(place),
            f"has pairs that cannot be read ({error})",
            "run fine_tune in it again, which computes what is damaged",
        ) from error


@checks_itself
@checked(
    classes=as_count, reward_bound=POSITIVE.one(), delta=OPEN_SHARE.one(), finite_sample=as_flag
)
def certify_run(
    pairs: Sequence[Preference],
    answers: Sequence[tuple[Tokens, Tokens]],
    classify: Callable[[Tokens, Tokens], int],
    *,
    classes: int,
    reward_bound: float,
    delta: float = 0.05,
    finite_sample: bool = False,
) -> Certificate:
    r"""Bound how far a language model is from the best class, by labels and fresh responses.

    The gap is $\max_c r(c) - E\,r(c(x, y))$, over prompts x and responses y of the model. Half of
    delta goes to the labels, as in `apo_sim.certify` with classes for arms. The model's classes are
    not known but sampled: by Hoeffding's inequality the mean of r over n fresh responses is above
    its expectation by at most $2R\sqrt{\log(2/\delta)/(2n)}$, with probability $1 - \delta/2$.
    That is added to the radius.

    It holds if (1) labels are Bradley-Terry in a reward of the class alone, $|r| \le R$: pairs of
    `BradleyTerry`, or people who see no more than the class; not those of `TopAgainstBottom`, which
    are certain; (2) the classes were settled before the labels; (3) the answers are the model's
    own, drawn after its training with the temperature and top-p that are meant, one a prompt. Who
    knows the scores themselves, and not only labels, needs no certificate: their largest value less
    their mean, plus the same term for n responses, is smaller.

    Args:
        pairs: all that were labelled, see `logged_pairs`; a weight is a number of labels.
        answers: prompts and responses of the model, in tokens.
        classify: the class, 0, 1, ..., from the tokens of a prompt and of a response.
        classes: how many classes there can be, those that were never seen included.
        reward_bound: R, in units where a difference of 1 wins with probability sigmoid(1): for
            `BradleyTerry(scale)` the scores are divided by the scale, and a constant is free.
        delta: probability of failure, in (0, 1).
        finite_sample: as in `apo_sim.certify`; recommended below a hundred labels.

    Returns:
        A `Certificate` of one context; `arm` is the class that may be best.

    Raises:
        InvalidArgument: no answers, a class out of range, a reward_bound that the labels refute,
            and what `apo_sim.certify` refuses.

    Source: ours.

    Example:
        >>> pairs = [Preference((1,), (3,), (2,), 70.0), Preference((1,), (2,), (3,), 30.0)]
        >>> answers = [((1,), (3,))] * 90 + [((1,), (2,))] * 10
        >>> found = certify_run(
        ...     pairs,
        ...     answers,
        ...     lambda prompt, response: response[0] - 2,
        ...     classes=2,
        ...     reward_bound=1.0,
        ... )
        >>> round(float(found.estimate), 3), round(float(found.bound), 3)
        (0.085, 0.407)
    """
    function_of((1,), (1,))("classify", classify)
    wins = np.zeros((1, classes, classes))
    for pair in pairs:
        winner, loser = (
            _class(classify, pair.prompt, response, classes)
            for response in (pair.winner, pair.loser)
        )
        wins[0, winner, loser] += pair.weight
    if not len(answers):
        raise InvalidArgument("answers", answers, "is empty", "sample responses from the model")
    given = [_class(classify, prompt, response, classes) for prompt, response in answers]
    share = np.maximum(np.bincount(given, minlength=classes) / len(given), _NEVER)
    found = certify_table(
        wins,
        np.log(share)[None],
        delta=delta / 2,
        reward_bound=reward_bound,
        finite_sample=finite_sample,
    )
    sampling = 2 * float(reward_bound) * math.sqrt(math.log(2 / delta) / (2 * len(given)))
    return dataclasses.replace(
        found,
        bound=found.bound + sampling,
        bounds=found.bounds + sampling,
        radius=found.radius + sampling,
        delta=float(delta),
    )


def _class(classify: Any, prompt: Tokens, response: Tokens, classes: int) -> int:
    found = classify(prompt, response)
    if not isinstance(found, int | np.integer) or not 0 <= found < classes:
        raise InvalidArgument(
            "classify",
            classify,
            f"returned {found!r}, which is not one of {classes} classes",
            "let it return 0, 1, ..., classes - 1",
        )
    return int(found)
