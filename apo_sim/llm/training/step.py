"""One proximal step of a transformer: any loss of the library, minimised by Tunix's trainer."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from tunix.rl.common import selective_log_softmax
from tunix.sft import peft_trainer, sharding_utils
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from apo_sim.checks import as_count, as_function, check_positive, check_single, optional
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL
from apo_sim.llm import stages
from apo_sim.llm.data.batches import Batch, batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.meshes import fetched
from apo_sim.llm.training.objectives import Objective, as_objective
from apo_sim.llm.training.watching import FIGURES, pair_figures, watched
from apo_sim.losses import Loss, PointwiseLoss
from apo_sim.methods import TrainingDiverged


class StepDiverged(TrainingDiverged):
    """A proximal step of a transformer that ends with numbers that are not finite.

    Attributes:
        iteration: in which it happened, counted from 1.
        what: is not finite, in words.

    Example:
        >>> raise StepDiverged(1e20, 2, "the loss of inner step 3 is nan")
        Traceback (most recent call last):
        ...
        apo_sim.llm.training.step.StepDiverged: learning_rate = 1e+20 diverges in iteration 2: ...
    """

    def __init__(self, learning_rate: float, iteration: int, what: str):
        self.iteration, self.what = iteration, what
        InvalidArgument.__init__(
            self,
            "learning_rate",
            learning_rate,
            f"diverges in iteration {iteration}: {what}",
            "lower it or the extrapolation, or clip in FineTuning(optimizer=lambda rate: "
            "optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(rate, decay=0.99)))",
        )

    def __reduce__(self) -> tuple:
        return type(self), (self.value, self.iteration, self.what)


class StepsRounded(UserWarning):
    """Parameters are trained in a precision that most of their steps are lost in."""


@dataclass(frozen=True)
class FineTuning:
    """The inner training of a proximal step. The defaults are the paper's.

    Args:
        learning_rate: at its highest: it climbs from near zero and falls back, linearly.
        warmup: share of the steps in which it climbs, in [0, 1).
        batch: pairs a step.
        accumulate: parts that a batch is worked through in, to save memory.
        epochs: times that every pair is seen.
        optimizer: from a learning rate to a transformation of optax; None: RMSProp.

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
    optimizer: Callable[[Any], optax.GradientTransformation] | None = None

    def __post_init__(self):
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

    def transformation(self) -> optax.GradientTransformation:
        """The optimiser, its learning rate a number that changes from step to step."""

        def made(learning_rate: Any) -> optax.GradientTransformation:
            if self.optimizer is not None:
                return self.optimizer(learning_rate)
            return optax.rmsprop(learning_rate, decay=0.99)

        return watched(optax.inject_hyperparams(made)(learning_rate=self.learning_rate))


def response_log_probs(network: Any, batch: Batch) -> Float[Array, "pairs sides"]:
    """log pi(response | prompt) of the batch's responses, in nats, shape (B, S).

    Source: the paper's (2.1), summed over tokens.
    """
    return jnp.sum(token_log_probs(network, batch), axis=-1)


def token_log_probs(network: Any, batch: Batch) -> Float[Array, "pairs sides responses"]:
    """log pi(token | what comes before it) of the responses, in nats, shape (B, S, R).

    Zero where a response is over.
    """
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
    log_probs = selective_log_softmax(logits[:, -batch.responses :], given)
    counted = mask[:, -batch.responses :]
    return jnp.where(counted, log_probs, 0.0).reshape(pairs, sides, -1)


def objective(
    network: Any, batch: Batch, loss: Loss | PointwiseLoss | Objective, geometry: Any = KL()
) -> tuple[Array, dict[str, Array]]:
    """Mean of a loss over a batch, and how the pairs stand: (3.1) with data.

    See `apo_sim.llm.training.objectives.Objective` for the scores.
    """
    log_probs = response_log_probs(network, batch)
    values, lead = as_objective(loss, geometry).values(log_probs, batch)
    right = jnp.where(lead > 0, 1.0, jnp.where(lead == 0, 0.5, 0.0))
    value = jnp.mean(batch.weight * values)
    report = {
        "loss": value,
        "margin": jnp.mean(batch.weight * lead),
        "accuracy": jnp.mean(batch.weight * right),
        **pair_figures(log_probs, batch),
    }
    return value, report


class ProximalTrainer(peft_trainer.PeftTrainer):
    """Tunix's trainer with a loss of this library; one object, and one program, for all steps.

    Args:
        network: trained in place; with LoRA in it, only that is trained. Parameters that are
            trained in less than single precision bring a warning, `StepsRounded`.
        loss: any of `apo_sim.losses`, or an objective.
        tuning: the inner training.
        padding: token that fills up.
        save_every: steps between two checkpoints within a proximal step.
        geometry: of the scores of a loss; an objective has its own.
    """

    def __init__(
        self,
        network: Any,
        loss: Loss | PointwiseLoss | Objective,
        tuning: FineTuning,
        padding: int,
        save_every: int = 100,
        geometry: Any = KL(),
    ):
        config = peft_trainer.TrainingConfig(
            eval_every_n_steps=2**30,
            gradient_accumulation_steps=tuning.accumulate if tuning.accumulate > 1 else None,
        )
        super().__init__(network, tuning.transformation(), config)
        _warn_of_rounding(nnx.state(network, self.optimizer.wrt), tuning.learning_rate)
        self.tuning, self.padding, self.save_every = tuning, padding, save_every
        self.is_managed_externally = True
        self.objective = aim = as_objective(loss, geometry)
        self._reports: list[dict[str, Array]] = []
        self.with_loss_fn(lambda network, batch: objective(network, batch, aim), has_aux=True)
        self.with_gen_model_input_fn(lambda batch: {"batch": batch})
        graph = nnx.graphdef(network)
        # Only these numbers come back: nnx.jit would return, and so copy, the network too.
        self._log_probs = jax.jit(
            lambda state, batch: token_log_probs(nnx.merge(graph, state), batch)
        )

    def steps(self, pairs: int) -> int:
        """How many steps so many pairs make."""
        return -(-pairs * self.tuning.epochs // self.tuning.batch)

    def parts(self, pairs: int) -> int:
        """How many parts of batches so many pairs make, each seen once."""
        return -(-pairs // self.tuning.batch) * self.tuning.accumulate

    def log_probs(
        self, pairs: Sequence[Preference], tick: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """log pi of every pair's responses under the network as it is, shape (pairs, S)."""
        return self.token_log_probs(pairs, tick).sum(axis=-1)

    def token_log_probs(
        self, pairs: Sequence[Preference], tick: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """The same of every token, shape (pairs, S, longest response), zero where one is over."""
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
        shared: Any = sharding_utils.shard_input(
            batch,  # type: ignore[arg-type]
            self.config.data_sharding_axis,
        )
        return fetched(self._log_probs(state, shared))

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
    ) -> list[dict[str, float]]:
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
            Of every part of a batch: learning rate, loss, margin, accuracy, what `watching` adds.

        Raises:
            InvalidArgument: no pairs; pairs without what the objective needs.
            StepDiverged: a loss or the policy that comes out is no finite number.
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
        # The log-probabilities tell the centre and the pairs apart.
        of = stages.mark(beta, seed, reference.tolist(), repr(pairs))
        log = self._begin(folder, of)
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
        often = self.save_every * self.tuning.accumulate

        def parts() -> Iterator[Batch]:
            for number, part in enumerate(self._parts(arrays)):
                if number > done and number % often == 0:
                    log.extend(self._reported(len(log), rates, iteration))
                    self._keep(log, folder, of)
                if number >= done:
                    self._set_rate(rates[number // self.tuning.accumulate])
                    yield part
                tick(1)

        self.train(parts())
        log.extend(self._reported(len(log), rates, iteration))
        if not self.is_finite(pairs):
            raise StepDiverged(
                self.tuning.learning_rate,
                iteration,
                "the policy's log-probabilities are not finite",
            )
        return log

    def _parts(self, arrays: Iterable[Batch]) -> Iterator[Batch]:
        """What this process sees of each part of every batch."""
        pieces = self.tuning.accumulate * jax.process_count()
        for batch in arrays:
            for part in range(self.tuning.accumulate):
                place = part * jax.process_count() + jax.process_index()
                yield jax.tree.map(lambda rows, p=place: np.split(rows, pieces)[p], batch)

    def _begin(self, folder: Path | None, of: str) -> list[dict[str, float]]:
        """A fresh optimiser, or that of a step that was interrupted, with its network and log."""
        self._reports = []
        self._prev_buffered_train_metrics = self._buffered_train_metrics = None
        self._reset_optimizer()
        log = []
        if folder is not None and stages.ready(folder, of):
            kept, variables = stored_parameters.read(folder, self._state()), self._variables()
            for name, value in kept.items():
                variables[name].set_value(value)
            log = stages.read_json(folder / "log.json")
        self._iter_steps = len(log)
        self._train_steps = len(log) // self.tuning.accumulate
        return log

    def _keep(self, log: list[dict[str, float]], folder: Path | None, of: str) -> None:
        """Write what the step goes on from."""
        if folder is not None:
            stored_parameters.write(
                folder,
                self._state(),
                of,
                beside=lambda draft: stages.write_json(draft / "log.json", log),
            )

    def _reported(self, before: int, rates: np.ndarray, iteration: int) -> list[dict[str, float]]:
        """What the device has said of the parts since the last time, after so many before."""
        found = []
        for number, report in enumerate(jax.device_get(self._reports), before):
            step = number // self.tuning.accumulate
            entry = {name: float(value) for name, value in report.items()}
            if not np.isfinite(entry["loss"]):
                raise StepDiverged(
                    self.tuning.learning_rate,
                    iteration,
                    f"the loss of inner step {step + 1} is {entry['loss']}",
                )
            found.append({"rate": float(rates[step])} | entry)
        self._reports = []
        return found

    def _variables(self) -> dict[str, Any]:
        """All that a step changes, by name."""
        parts = {
            "policy": nnx.state(self.model, self.optimizer.wrt),
            "optimizer": nnx.state(self.optimizer, nnx.optimizer.OptState),
        }
        return {
            ".".join((part, *map(str, path))): leaf
            for part, state in parts.items()
            for path, leaf in nnx.to_flat_state(state)
        }

    def _state(self) -> dict[str, Any]:
        return {name: variable.get_value() for name, variable in self._variables().items()}

    def _reset_optimizer(self) -> None:
        old = nnx.state(self.optimizer, nnx.optimizer.OptState)
        for leaf in jax.tree.leaves(old):
            leaf.delete()  # never two states of an optimiser on the device
        fresh = nnx.Optimizer(self.model, self.optimizer.tx, wrt=self.optimizer.wrt)
        # Bound to its devices from the start, as after a step: else there are two programs.
        everywhere = _replicated(self.model)
        state = jax.tree.map(
            lambda leaf: jax.device_put(leaf, leaf.sharding if leaf.ndim else everywhere),
            nnx.state(fresh, nnx.optimizer.OptState),
        )
        nnx.update(self.optimizer, state)
        kept = {
            path[-1]: variable
            for path, variable in nnx.to_flat_state(
                nnx.state(self.optimizer, nnx.optimizer.OptState)
            )
            if path[-2:] == ("hyperparams", "learning_rate") or path[-1] in FIGURES
        }
        self._rate = kept.pop("learning_rate")
        self._watched = kept

    def _set_rate(self, rate: float) -> None:
        old = self._rate.get_value()
        self._rate.set_value(jax.device_put(jnp.asarray(rate, old.dtype), old.sharding))

    def _post_process_train_step(self, aux: Any) -> None:
        # Copies: the next step makes its state in the place of this one.
        kept = {name: jnp.copy(variable.get_value()) for name, variable in self._watched.items()}
        self._reports.append(aux | kept)


def _warn_of_rounding(trained: Any, rate: float) -> None:
    narrow = {str(leaf.dtype) for leaf in jax.tree.leaves(trained) if leaf.dtype.itemsize < 4}
    if narrow:
        warnings.warn(
            f"the model's parameters are {' and '.join(sorted(narrow))}: a step of learning_rate = "
            f"{rate:g} is lost on every weight that it changes by less than half of its last "
            "digit; load the model in float32, or pass lora=LoRA(), which keeps its adapters so",
            StepsRounded,
            stacklevel=3,
        )


def _replicated(network: Any) -> jax.sharding.Sharding:
    """A copy on every device that the network is on."""
    place = jax.tree.leaves(nnx.state(network))[0].sharding
    if isinstance(place, jax.sharding.NamedSharding):
        return jax.sharding.NamedSharding(place.mesh, jax.sharding.PartitionSpec())
    return place
