"""What a run of a language model notes: a row for every policy judged, and one for every step."""

from dataclasses import dataclass
from typing import Any

from apo_sim.estimate import Estimate


class _ReadByName:
    """Rows were dictionaries once, which scripts of users read as such: `row["win_rate"][0]`."""

    def __getitem__(self, name: str) -> Any:
        """What has the name: an estimate as the figure and its ends, several numbers as a list."""
        found = self._by_name()[name]
        if isinstance(found, Estimate):
            return list(found.figures)
        return list(found) if isinstance(found, tuple) else found

    def _by_name(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class HeldOutFigures(_ReadByName):
    """Figures of a policy on held-out prompts, each with a 95 % interval over the prompts.

    Shares have intervals of Clopper and Pearson, other means those of Student, which are infinite
    where nothing tells how far off a mean is, as from one prompt.

    Attributes:
        strict: share of the prompts all of whose instructions are followed; None, as the next two,
            where not every prompt has instructions that can be verified.
        loose: the same, with IFEval's loose reading of a response.
        instructions: share of the instructions that are followed, strictly.
        score: mean of the ranker's scores.
        win_rate: share of the prompts on which it scores above the reference; ties count half.
        lc_win_rate: the same at equal length, by a logistic regression of the wins on the
            difference in length, with the interval of its profile likelihood.
        characters: mean length of a response.
        tokens: the same, in tokens.
        kl: KL divergence from the reference, in nats a response, by `divergence`.
        reverse_kl: of the reference from the policy, over the reference's responses.
        wins: the comparison on every prompt, 1, 0 or one half, to pair policies by.
    """

    strict: Estimate | None
    loose: Estimate | None
    instructions: Estimate | None
    score: Estimate
    win_rate: Estimate
    lc_win_rate: Estimate
    characters: Estimate
    tokens: Estimate
    kl: Estimate
    reverse_kl: Estimate
    wins: tuple[float, ...]


@dataclass(frozen=True)
class PolicyRow(_ReadByName):
    """One policy of a run.

    Attributes:
        policy: `reference`; `pi_hat_t`, the fitted one; `pi_t`, the extrapolated one that acts;
            `expo_T`, where ExPO leads.
        iteration: t, 0 for the reference.
        figures: on the held-out prompts.
    """

    policy: str
    iteration: int
    figures: HeldOutFigures

    def _by_name(self) -> dict[str, Any]:
        return vars(self) | vars(self.figures)


@dataclass(frozen=True)
class StepRow(_ReadByName):
    """One inner step of a run, or one part of a batch where gradients are accumulated.

    Attributes:
        iteration: t, from 1.
        rate: learning rate.
        loss: mean over the pairs, each with its weight, as all that follows.
        margin: of the scores of chosen and rejected responses.
        accuracy: share of the pairs whose margin is above zero.

    The others are those of `apo_sim.llm.training._watching`: log-probabilities and rewards of both
    responses and the mass that left them, in nats; divergence from the proximal centre in nats;
    tokens a response; entropy in nats a token; norms of the gradient; the share of updates lost to
    the dtype; and the shares of responses that ended by themselves and of phrases said before. They
    are None in runs that did not note them.
    """

    iteration: int
    rate: float
    loss: float
    margin: float
    accuracy: float
    chosen_log_prob: float | None = None
    rejected_log_prob: float | None = None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    pair_mass: float | None = None
    kl: float | None = None
    length: float | None = None
    entropy: float | None = None
    gradient: float | None = None
    gradient_l1: float | None = None
    lost_updates: float | None = None
    ended: float | None = None
    repetition: float | None = None
