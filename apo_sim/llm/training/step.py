"""One proximal step of a transformer: any loss of the library, minimised by optax."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from tunix.rl.common import selective_log_softmax
from tunix.sft import sharding_utils
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from apo_sim.checks import as_count, as_function, check_positive, check_single, optional
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL
from apo_sim.llm import stages
from apo_sim.llm._programs import shared
from apo_sim.llm.data.batches import Batch, batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.adapters import adapted
from apo_sim.llm.models.meshes import AXES, fetched
from apo_sim.llm.training._watching import (
    FIGURES,
    mean_entropy,
    pair_figures,
    token_entropy,
    watched,
)
from apo_sim.llm.training.foresight import (
    RMSPROP_DECAY,
    warn_of_beta,
    warn_of_rounding,
)
from apo_sim.llm.training.objectives import Objective, as_objective
from apo_sim.losses import Loss, PointwiseLoss
from apo_sim.methods import TrainingDiverged
from apo_sim.records import as_plain, from_plain
from apo_sim.transformer_rows import StepRow

Optimizer = Callable[[Any], optax.GradientTransformation]


class StepDiverged(TrainingDiverged):
    """A proximal step of a transformer whose loss, policy or figures are not finite.

    Attributes:
        iteration: in which it happened, counted from 1.
        what: what is not finite, in words.

    Example:
        >>> raise StepDiverged(1e20, 2, "the loss of inner step 3 is nan")
        Traceback (most recent call last):
        ...
        apo_sim.llm.training.step.StepDiverged: learning_rate = 1e+20 diverges in iteration 2: ...
    """

    def __init__(self, learning_rate: float, iteration: int, what: str) -> None:
        self.iteration: int = iteration
        self.what: str = what
        InvalidArgument.__init__(
            self,
            "learning_rate",
            learning_rate,
            f"diverges in iteration {iteration}: {what}",
            "lower it or the extrapolation, or clip in FineTuning(optimizer=lambda rate: "
            "optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(rate, decay=0.99)))",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value, self.iteration, self.what)


@dataclass(frozen=True)
class FineTuning:
    """The inner training of a proximal step. The defaults are the paper's.

    Args:
        learning_rate: peak of the schedule, which climbs linearly from near zero and falls back.
        warmup: share of the steps in which it climbs, in [0, 1).
        batch: pairs per step.
        accumulate: number of parts in which a batch is processed, to save memory.
        epochs: how often every pair is seen.
        optimizer: maps a learning rate to an optax transformation; None: RMSProp.

    Raises:
        InvalidArgument: a setting out of its range.

    Example:
        >>> [round(1e6 * rate, 2) for rate in FineTuning(1e-6, warmup=0.5).schedule(4).tolist()]
        [0.33, 0.67, 1.0, 0.5]
    """

    learning_rate: float = 5e-7
    warmup: float = 0.1
    batch: int = 64
    accumulate: int = 1
    epochs: int = 1
    optimizer: Optimizer | None = None

    def __post_init__(self) -> None:
        check_single("learning_rate", self.learning_rate, "pass one number")
        check_positive("learning_rate", self.learning_rate)
        for name in ("batch", "accumulate", "epochs"):
            as_count(name, getattr(self, name))
        number = isinstance(self.warmup, int | float | np.number)
        if not number or not 0.0 <= self.warmup < 1.0:
            raise InvalidArgument("warmup", self.warmup, "lies outside [0, 1)", "pass 0.1")
        optional(as_function)("optimizer", self.optimizer)
        if self.batch % self.accumulate:
            raise InvalidArgument(
                "accumulate", self.accumulate, f"does not divide {self.batch}", "pass a divisor"
            )

    def schedule(self, steps: int) -> np.ndarray:
        """Learning rate of every step, shape (steps,)."""
        climb = int(self.warmup * steps)
        number = np.arange(steps)
        up = (number + 1) / (climb + 1)  # no step is spent at zero
        down = (steps - number) / max(steps - climb, 1)
        return self.learning_rate * np.where(number < climb, up, down)

    def transformation(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimiser at a learning rate, which may be traced: no state depends on it."""
        return _transformation(self.optimizer, self.accumulate, learning_rate)


def _transformation(
    optimizer: Optimizer | None, accumulate: int, learning_rate: Any
) -> optax.GradientTransformation:
    if optimizer is None:
        made = optax.rmsprop(learning_rate, decay=RMSPROP_DECAY)
    else:
        made = optimizer(learning_rate)
    if accumulate == 1:
        return watched(made)
    return optax.MultiSteps(watched(made), accumulate).gradient_transformation()


def response_log_probs(network: Any, batch: Batch) -> Float[Array, "pairs sides"]:
    """log pi(response | prompt) of the batch's responses, in nats, shape (B, S).

    Source: the paper's (2.1), summed over tokens.
    """
    return jnp.sum(token_log_probs(network, batch), axis=-1)


def token_log_probs(network: Any, batch: Batch) -> Float[Array, "pairs sides responses"]:
    """log pi(token | what comes before it) of the responses, in nats, shape (B, S, R).

    Zero after the end of a response.
    """
    return _of_tokens(network, batch)[0]


def _of_tokens(network: Any, batch: Batch) -> tuple[Array, Array]:
    """log pi of the tokens of the responses, and the entropy of each, of shape (B, S, R)."""
    pairs, sides, length = batch.tokens.shape
    tokens = jnp.asarray(batch.tokens).reshape(sides * pairs, length)
    mask = jnp.asarray(batch.mask).reshape(sides * pairs, length)
    asked, given = tokens[:, :-1], tokens[:, -batch.responses :]
    arguments = (
        asked,
        build_positions_from_mask(mask[:, :-1]),
        None,
        make_causal_attn_mask(mask[:, :-1]),
    )
    if "last" in inspect.signature(type(network).__call__).parameters:
        logits, _ = network(*arguments, last=batch.responses)
    else:
        logits, _ = network(*arguments)
    logits, counted = logits[:, -batch.responses :], mask[:, -batch.responses :]
    log_probs = jnp.where(counted, selective_log_softmax(logits, given), 0.0)
    shape = pairs, sides, -1
    return log_probs.reshape(shape), token_entropy(logits).reshape(shape)


def objective(
    network: Any, batch: Batch, loss: Loss | PointwiseLoss | Objective, geometry: Any = KL()
) -> tuple[Array, dict[str, Array]]:
    """Mean of a loss over a batch, and figures of its pairs: (3.1) with data.

    See `apo_sim.llm.training.objectives.Objective` for the scores.
    """
    of_tokens, entropies = _of_tokens(network, batch)
    log_probs = jnp.sum(of_tokens, axis=-1)
    values, lead = as_objective(loss, geometry).values(log_probs, batch)
    right = jnp.where(lead > 0, 1.0, jnp.where(lead == 0, 0.5, 0.0))
    value = jnp.mean(batch.weight * values)
    report = {
        "loss": value,
        "margin": jnp.mean(batch.weight * lead),
        "accuracy": jnp.mean(batch.weight * right),
        **pair_figures(log_probs, batch),
        "entropy": mean_entropy(entropies, batch),
    }
    return value, report


class _Place(NamedTuple):
    """State of a step: the parameters that it trains, and the optimiser's state."""

    policy: Any
    optimizer: Any


@shared
def _programs(
    graph: Any, aim: Objective, optimizer: Optimizer | None, accumulate: int
) -> tuple[Any, Any]:
    """What changes a policy by a part of a batch, and what computes log-probabilities."""

    def descend(at: _Place, still: Any, batch: Batch, rate: Any) -> tuple[_Place, Any]:
        def mean(policy: Any) -> Any:
            return objective(nnx.merge(graph, policy, still), batch, aim)

        gradient, report = jax.grad(mean, has_aux=True)(at.policy)
        rule = _transformation(optimizer, accumulate, rate)
        updates, state = rule.update(gradient, at.optimizer, at.policy)
        report |= {name: optax.tree_utils.tree_get(state, name) for name in FIGURES}
        return _Place(optax.apply_updates(at.policy, updates), state), report

    # Only these numbers come back: nnx.jit would return, and so copy, the network too.
    log_probs = jax.jit(lambda state, batch: token_log_probs(nnx.merge(graph, state), batch))
    return jax.jit(descend, donate_argnums=0), log_probs


class ProximalTrainer:
    """Trains a network by a loss of this library; equal trainers share their compiled programs.

    Parameters are updated in place: the device holds them, their gradient and the optimiser's
    state, each once.

    Args:
        network: trained in place; if it has LoRA adapters, only those are. Parameters that are
            trained in less than single precision cause the warning `StepsRounded`.
        loss: any of `apo_sim.losses`, or an objective.
        tuning: the inner training.
        padding: token that fills up a batch.
        geometry: of the scores of a loss; an objective has its own.
    """

    # Steps between two checkpoints within a proximal step.
    save_every = 100

    def __init__(
        self,
        network: Any,
        loss: Loss | PointwiseLoss | Objective,
        tuning: FineTuning,
        padding: int,
        geometry: Any = KL(),
    ) -> None:
        self.model: Any = network
        self.tuning: FineTuning = tuning
        self.padding: int = padding
        self.objective: Objective = as_objective(loss, geometry)
        self._trained = nnx.LoRAParam if adapted(network) else nnx.Param
        warn_of_rounding(nnx.state(network, self._trained), tuning.learning_rate)
        self._descend, self._log_probs = _programs(
            nnx.graphdef(network), self.objective, tuning.optimizer, tuning.accumulate
        )

    def steps(self, pairs: int) -> int:
        """Number of steps for this many pairs."""
        return -(-pairs * self.tuning.epochs // self.tuning.batch)

    def parts(self, pairs: int) -> int:
        """Number of parts of batches for this many pairs, each seen once."""
        return -(-pairs // self.tuning.batch) * self.tuning.accumulate

    def log_probs(
        self, pairs: Sequence[Preference], tick: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """log pi of every pair's responses under the network as it is, shape (pairs, S)."""
        return self.token_log_probs(pairs, tick).sum(axis=-1)

    def token_log_probs(
        self, pairs: Sequence[Preference], tick: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """The same of every token, shape (pairs, S, longest response), zero after its end."""
        state = nnx.state(self.model)
        found = []
        for batch in self._parts(batches(pairs, self.tuning.batch, beta=1.0, padding=self.padding)):
            found.append(self._of_one(state, batch))
            tick(1)
        return np.concatenate(found)[: len(pairs)]

    def is_finite(self, pairs: Sequence[Preference]) -> bool:
        """Whether the network as it is gives the first of these pairs finite log-probabilities."""
        first = next(self._parts(batches(pairs, self.tuning.batch, beta=1.0, padding=self.padding)))
        return bool(np.isfinite(self._of_one(nnx.state(self.model), first)).all())

    def _of_one(self, state: Any, batch: Batch) -> np.ndarray:
        return fetched(self._log_probs(state, _shared(batch)))

    def step(
        self,
        pairs: Sequence[Preference],
        reference: np.ndarray,
        *,
        beta: float,
        seed: int,
        iteration: int = 1,
        folder: Path | None = None,
        tick: Callable[[int], None] = lambda _: None,
    ) -> list[StepRow]:
        """Train the network from the proximal centre, where it is, to pi_hat.

        Args:
            pairs: the preference data of this iteration.
            reference: their log-probabilities under the proximal centre, shape (pairs, S).
            beta: proximal weight.
            seed: the order of the pairs is drawn from it.
            iteration: of the outer loop, for messages.
            folder: stage of the last checkpoint within the step, from which it goes on; None:
                none is kept.
            tick: told of every part of a batch.

        Returns:
            A row for every part of a batch.

        Raises:
            InvalidArgument: no pairs; pairs without what the objective needs.
            StepDiverged: a loss, or a log-probability of the trained policy, is not finite.
        """
        if not pairs:
            raise InvalidArgument(
                "pairs", pairs, "are none", "draw more prompts, or rank by finer scores"
            )
        if self.objective.needs_others and not all(pair.other for pair in pairs):
            raise InvalidArgument(
                "pairs",
                f"{len(pairs)} pairs",
                "lack responses to other prompts",
                "pass apo_sim.llm.data.preference_pairs.with_others(pairs, random)",
            )
        # The log-probabilities stand for the centre: another one has others.
        of = stages.mark(beta, seed, reference.tolist(), repr(pairs))
        at, log = self._begin(folder, of)
        done, rates = len(log), self.tuning.schedule(self.steps(len(pairs)))
        random = np.random.default_rng(seed)
        order = [random.permutation(len(pairs)) for _ in range(self.tuning.epochs)]
        arrays = batches(
            pairs,
            self.tuning.batch,
            beta=beta,
            padding=self.padding,
            reference=reference,
            order=np.concatenate(order),
        )
        often, reports = self.save_every * self.tuning.accumulate, []
        _, _, still = nnx.split(self.model, self._trained, ...)
        try:
            for number, part in enumerate(self._parts(arrays)):
                if number > done and number % often == 0:
                    log += self._noted(reports, len(log), rates, iteration)
                    self._keep(at, log, folder, of)
                    reports = []
                if number >= done:
                    rate = rates[number // self.tuning.accumulate]
                    at, report = self._advance(at, still, part, float(rate))
                    reports.append(report)
                    if iteration == 1 and number + 1 == self.tuning.accumulate:
                        self._foretell(report, beta, rates)
                    # The host may run ahead of the device by two parts at most.
                    jax.block_until_ready(reports[-3:-2])
                tick(1)
        finally:
            nnx.update(self.model, at.policy)
        log += self._noted(reports, len(log), rates, iteration)
        if not self.is_finite(pairs):
            raise StepDiverged(
                self.tuning.learning_rate,
                iteration,
                "the policy's log-probabilities are not finite",
            )
        return log

    def program(self, pairs: Sequence[Preference]) -> jax.stages.Compiled:
        """The compiled program for one part of a batch of pairs as long as these.

        Its `memory_analysis` says what a device has to hold: arguments (policy and optimiser, whose
        memory the results reuse) and scratch (gradient and activations).
        """
        at, _ = self._begin(None, "")
        _, _, still = nnx.split(self.model, self._trained, ...)
        first = next(self._parts(batches(pairs, self.tuning.batch, beta=1.0, padding=self.padding)))
        return self._descend.lower(at, still, _shared(first), 1.0).compile()

    def _parts(self, arrays: Iterable[Batch]) -> Iterator[Batch]:
        """This process's share of each part of every batch."""
        pieces = self.tuning.accumulate * jax.process_count()
        for batch in arrays:
            for part in range(self.tuning.accumulate):
                place = part * jax.process_count() + jax.process_index()
                yield jax.tree.map(lambda rows, p=place: np.split(rows, pieces)[p], batch)

    def _begin(self, folder: Path | None, of: str) -> tuple[_Place, list[StepRow]]:
        """The state that a step starts or resumes from, and its log so far."""
        for _, leaf in nnx.to_flat_state(nnx.state(self.model, self._trained)):
            # Copied, one by one: a step donates its arrays, and others may still hold these.
            leaf.set_value(jnp.copy(leaf.get_value()))
        policy = nnx.state(self.model, self._trained)
        everywhere = _replicated(self.model)
        # Committed to its devices from the start, as after a step: else two programs are compiled.
        optimizer = jax.tree.map(
            lambda leaf: jax.device_put(leaf, leaf.sharding if leaf.ndim else everywhere),
            self.tuning.transformation(0.0).init(policy),
        )
        at = _Place(policy, optimizer)
        if folder is None or not stages.ready(folder, of):
            return at, []
        like = jax.tree.map(stored_parameters.described, at)
        del at, optimizer  # never two states of an optimiser on the device
        kept, names = stored_parameters.read(folder, _by_name(like)), _by_name(like)
        found = jax.tree.unflatten(jax.tree.structure(like), [kept[name] for name in names])
        return found, from_plain(list[StepRow], stages.read_json(folder / "log.json"))

    def _advance(self, at: _Place, still: Any, part: Batch, rate: float) -> tuple[_Place, Any]:
        """Process one part of a batch; the state before it is donated."""
        return self._descend(at, still, _shared(part), rate)

    def _foretell(self, report: dict[str, Array], beta: float, rates: np.ndarray) -> None:
        """Warn after the first step of a run if all of them together cannot get anywhere."""
        if self.tuning.optimizer is None:
            warn_of_beta(self.objective, beta, float(report["gradient_l1"]), rates)

    def _keep(self, at: _Place, log: list[StepRow], folder: Path | None, of: str) -> None:
        """Write what the step can resume from."""
        if folder is not None:
            stored_parameters.write(
                folder,
                _by_name(at),
                of,
                beside=lambda draft: stages.write_json(draft / "log.json", as_plain(log)),
            )

    def _noted(
        self, reports: list[dict[str, Array]], before: int, rates: np.ndarray, iteration: int
    ) -> list[StepRow]:
        """Rows of some parts, which follow so many `before` them."""
        found = []
        for number, report in enumerate(jax.device_get(reports), before):
            step = number // self.tuning.accumulate
            entry = {name: float(value) for name, value in report.items()}
            if not np.isfinite(entry["loss"]):
                raise StepDiverged(
                    self.tuning.learning_rate,
                    iteration,
                    f"the loss of inner step {step + 1} is {entry['loss']}",
                )
            found.append(StepRow(iteration=iteration, rate=float(rates[step]), **entry))
        return found


def _by_name(at: _Place) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(at)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _shared(batch: Batch) -> Any:
    """A batch, sharded over the devices of the current mesh, if there is one."""
    return sharding_utils.shard_input(batch, AXES[:1])  # type: ignore[arg-type]


def _replicated(network: Any) -> jax.sharding.Sharding:
    """The layout of a copy on every device of the network."""
    place = jax.tree.leaves(nnx.state(network))[0].sharding
    if isinstance(place, jax.sharding.NamedSharding):
        return jax.sharding.NamedSharding(place.mesh, jax.sharding.PartitionSpec())
    return place
