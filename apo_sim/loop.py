"""The outer loop: any method, `iterations` times in one scan, with data, metrics and resumption."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from apo_sim.arguments import as_samples
from apo_sim.checks import (
    as_count,
    check_key,
    check_room,
    concrete,
    instance_of,
    one_of,
    written_in_jax,
)
from apo_sim.compilation import jit_quickly
from apo_sim.errors import Diverged, InvalidArgument
from apo_sim.methods.method import BeginsAtRandom, ChecksItself, ExplainsDivergence, Method
from apo_sim.problems import PROBLEM, LogPolicy, Problem, expected_gap
from apo_sim.pytree import boxed, pytree_dataclass, unboxed
from apo_sim.self_checking import checks_itself

SAVE = ("metrics", "path", "average")
# Arrays of the size of a path, or of a series, that a run keeps.
_KEPT_ARRAYS = 6

Series = Float[Array, " iterations"]
Policies = Float[Array, "points contexts arms"]
METHOD = instance_of(
    Method, "is not a method", "pass an instance such as apo_sim.methods.Proximal(...)"
)


@pytree_dataclass
class State:
    """The state of a run: everything that `solve` needs to continue it.

    Attributes of the method's own state are attributes of this object too.

    Attributes:
        t: number of completed iterations.
        method: the method's own state.
        data: the sum of the data of all iterations so far, if the method asks for it; else None.
        average: average of pi_hat_1 ... pi_hat_t, shape (X, K), with save="average"; else None.
        diverged: the first iteration that diverged, if the method can detect it; 0 for none.
        key: the key that the data's keys are folded from, or one key per iteration, or None.
    """

    t: Int[Array, ""]
    method: Any
    data: Any
    average: LogPolicy | None
    diverged: Int[Array, ""]
    key: Any

    def __getattr__(self, name: str) -> Any:
        # Looked up in the instance, which copying and pickling rebuild without its fields.
        return getattr(self.__dict__.get("method"), name)


@pytree_dataclass
class Path:
    """The policies and rewards of all iterations, kept with ``save="path"``.

    Attributes:
        log_policy: log pi_hat_0 ... pi_hat_T, shape (T+1, X, K).
        behaviour: log pi_0 ... pi_T, shape (T+1, X, K).
        rewards: r_0 ... r_{T-1}, each up to a constant in y, shape (T, X, K); None if the method
            does not learn rewards.
    """

    log_policy: Policies
    behaviour: Policies
    rewards: Policies | None = None


@pytree_dataclass
class Solution:
    """The results of a run with T iterations, X contexts and K arms.

    Each series that the method reports is also an attribute, of shape (T,). `apo_sim.run` reports
    `gamma`, the total weight of a constant reward after each update, in units of 1/beta, found by
    running the momentum rule on that reward, and `residual`, the residual of the solver of the
    proximal step, 0 if the step has a closed form. `apo_sim.train` documents its own series. With
    ``save="path"``, `log_policy`, `behaviour` and `rewards` are those of `path`; with
    ``save="average"``, `average_suboptimality` is the gap of the average of
    pi_hat_1 ... pi_hat_t. Otherwise they are None.

    Attributes:
        suboptimality: gap of pi_hat_1 ... pi_hat_T, expectation over contexts, shape (T,), in
            units of the reward; for a game, the exploitability, which is a probability.
        tv: total variation between pi_hat_1 ... pi_hat_T and the optimal policy, shape (T,).
        final_log_policy: log pi_hat_T, shape (X, K).
        final_behaviour: log pi_T, shape (X, K).
        series: everything else that was measured in each iteration, by name.
        state: the state of the run; pass it to `solve` to continue.
        kept: the `path`, or None.
    """

    suboptimality: Series
    tv: Series
    final_log_policy: LogPolicy
    final_behaviour: LogPolicy
    series: dict[str, Array]
    state: State
    kept: Path | None = None

    @property
    def path(self) -> Path:
        """The policies and rewards of all iterations.

        Raises:
            InvalidArgument: the path was not kept.
        """
        if self.kept is None:
            raise InvalidArgument("path", None, "was not kept", 'run again with save="path"')
        return self.kept

    def __getattr__(self, name: str) -> Any:
        # Looked up in the instance, as above.
        series, kept = (self.__dict__.get(field) for field in ("series", "kept"))
        if series is not None and name in series:
            return series[name]
        if name in Path.__dataclass_fields__:
            return getattr(kept, name, None)
        if name == "average_suboptimality":
            return None
        raise AttributeError(
            f"a run of this method does not record {name}; it records {sorted(series or ())}"
        )


@checks_itself
def solve(
    problem: Problem,
    method: Method,
    *,
    iterations: int,
    samples: Any = None,
    key: Key[Array, "..."] | None = None,
    save: str | tuple[str, ...] = "metrics",
    state: State | None = None,
) -> Solution:
    """Run any method of preference optimisation.

    Args:
        problem: a `Bandit` or a `Game`.
        method: the method to run, see `apo_sim.methods`.
        iterations: number of iterations T, at least 1.
        samples: number N of labels per iteration, over all contexts, up to 1e12; None for exact
            preferences.
        key: a `jax.random.key`, or one for each iteration, shape (iterations,); required with
            `samples`, and by methods that start from a random state.
        save: "metrics", "path" or "average", or a tuple of these; the metrics are always kept.
        state: the state of a `Solution`, to continue that run with otherwise equal arguments and
            without `key`; the result is the same as that of an uninterrupted run.

    Returns:
        A `Solution`. The function works inside `jax.jit` and `jax.vmap`, over problems, keys,
        samples and the numerical parameters of the method.

    Raises:
        InvalidArgument: an argument is unusable; raised before compilation, with its name.
        Diverged: the policy is no longer finite; the error gives the iteration. Inside `jax.jit`
            and `jax.vmap`, results are NaN from that iteration on, or the run stops moving and
            records the iteration in `state.diverged`.

    Source: ours, in the manner of diffrax.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> method = apo.methods.Proximal(momentum=apo.Constant(0.5), beta=1.0)
        >>> half = solve(bandit, method, iterations=2)
        >>> rest = solve(bandit, method, iterations=1, state=half.state)
        >>> round(float(rest.suboptimality[-1]), 3)
        0.014
    """
    PROBLEM("problem", problem)
    METHOD("method", method)
    iterations = as_count("iterations", iterations)
    if state is not None and not isinstance(state, State):
        raise InvalidArgument("state", state, "is not a state", "pass the state of a Solution")
    of_data = key if state is None else state.key
    samples = as_samples(samples, of_data, iterations, problem.log_ref.dtype)
    if (
        samples is not None
        and concrete(samples) is None
        and method.request.fixes_shape(problem, samples)
    ):
        raise InvalidArgument(
            "samples",
            samples,
            "is traced, but sets array sizes in this method",
            "pass a plain integer, outside jax.vmap and sweeps",
        )
    kept = frozenset(one_of(SAVE)("save", name) for name in _listed(save))
    check_room("iterations", iterations, _kept_shape(problem, iterations, kept), _KEPT_ARRAYS)
    first = None
    if state is None:
        _check_key(method, key, iterations)
    else:
        done = concrete(state.t)
        first = 0 if done is None else int(done)
        if (state.average is None) == ("average" in kept):
            raise InvalidArgument(
                "save",
                save,
                "differs from the start of the run",
                "pass the same value as at the start",
            )
    remedy = "write a loss, rule, ranker or policy of your own in JAX, such as jnp.where for if"
    with written_in_jax("method", method, "has a part that cannot be compiled", remedy):
        if isinstance(method, ChecksItself):
            method.check(problem, iterations, samples, first)
        if state is None:
            state = begin(problem, method, key, average="average" in kept)
        solution = advance(problem, method, state, iterations, samples=samples, path="path" in kept)
    _refuse_divergence(solution, method)
    return solution


def begin(problem: Problem, method: Any, key: Any, *, average: bool = False) -> State:
    """The state before the first iteration of `solve`, whose arguments these are."""
    to_method = None
    if begins_at_random(method):
        to_method, key = jax.random.split(key)
    state = method.init(problem, to_method)
    none = jnp.zeros((), int)
    return State(
        t=none,
        method=state,
        data=_no_data(problem, method, state),
        average=jnp.zeros_like(problem.log_ref) if average else None,
        diverged=none,
        key=key,
    )


def begins_at_random(method: Any) -> bool:
    """Whether a method needs a key even with exact preferences."""
    return isinstance(method, BeginsAtRandom) and method.begins_at_random


def _check_key(method: Any, key: Any, iterations: int) -> None:
    if begins_at_random(method):
        check_key("key", key)
    elif key is not None:
        check_key("key", key, iterations)


def _no_data(problem, method, state):
    if not method.request.accumulated:
        return None
    data = jax.eval_shape(method.request.exact, problem, method.behaviour(state))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), data)


def advance(
    problem: Problem,
    method: Any,
    state: State,
    iterations: int,
    *,
    samples: Any = None,
    path: bool = False,
) -> Solution:
    """So many iterations of `solve` from a state, without its checks."""
    fixed = None
    if samples is not None and method.request.fixes_shape(problem, samples):
        samples, fixed = None, samples
    if samples is not None:
        samples = jnp.asarray(samples, problem.log_ref.dtype)
    return _advance(
        problem, boxed(method, "method"), state, samples, fixed=fixed, length=iterations, path=path
    )


@jit_quickly(static_argnames=("fixed", "length", "path"))
def _advance(problem, method, state, samples, *, fixed, length, path) -> Solution:
    method = unboxed(method)
    samples = samples if fixed is None else fixed

    def update(old, _):
        data = _data(problem, method, old, samples)
        stepped, report = method.step(problem, old.method, data, old.t)
        new = _replaced(old, t=old.t + 1, method=stepped)
        if method.request.accumulated:
            new = _replaced(new, data=data)
        shown, total, behaviour = report.weights, report.total, report.behaviour
        series = dict(report.series or {})
        if report.sane is not None:
            sane = (old.diverged == 0) & report.sane
            new = _stay(sane, new, old)
            # What diverged is reported by the state; its distances and losses are no numbers.
            series = {name: jnp.where(sane, value, 0) for name, value in series.items()}
            shown = total = None
            behaviour = None if behaviour is None else jnp.exp(method.behaviour(new.method))
        if shown is None:
            shown = jnp.exp(method.policy(new.method))
        share = problem.context_probs if total is None else problem.context_probs / total
        out = {
            "suboptimality": expected_gap(share, problem.suboptimality_of(shown)),
            "tv": share @ problem.mass_off_best_of(shown),
        }
        if behaviour is not None:
            gaps = problem.suboptimality_of(behaviour)
            series["behaviour_suboptimality"] = expected_gap(problem.context_probs, gaps)
        if old.average is not None:
            policy = shown if total is None else shown / total[:, None]
            average = old.average + (policy - old.average) / (old.t + 1)
            gaps = problem.suboptimality_of(average)
            series["average_suboptimality"] = expected_gap(problem.context_probs, gaps)
            new = _replaced(new, average=average)
        visited = None
        if path:
            visited = Path(method.policy(new.method), method.behaviour(new.method), report.rewards)
        return new, (out, series, visited)

    last, (out, series, visited) = jax.lax.scan(update, state, length=length)
    return Solution(
        **out,
        final_log_policy=method.policy(last.method),
        final_behaviour=method.behaviour(last.method),
        series=series,
        state=last,
        kept=None if visited is None else _from_start(method, state, visited),
    )


def _data(problem, method, state, samples):
    """The data of an iteration, with all those before them where the method asks for them."""
    request, behaviour = method.request, method.behaviour(state.method)
    if samples is None:
        data = request.exact(problem, behaviour)
    else:
        key = state.key
        key = key[state.t] if key.ndim else jax.random.fold_in(key, state.t)
        data = request.draw(key, problem, behaviour, samples)
    return jax.tree.map(jnp.add, state.data, data) if request.accumulated else data


def _replaced(obj, **fields):
    return type(obj)(**{**obj.__dict__, **fields})


def _stay(sane, new, old):
    """The new state, or the old one with the first iteration that went wrong."""
    kept = jax.tree.map(lambda n, o: n if n is o else jnp.where(sane, n, o), new, old)
    first = jnp.where((old.diverged == 0) & ~sane, new.t, old.diverged)
    return _replaced(kept, t=new.t, diverged=first)


def _from_start(method, state, visited):
    """The path with the policies before the first iteration in front."""
    first = {"log_policy": method.policy(state.method), "behaviour": method.behaviour(state.method)}
    joined = {n: jnp.concatenate([p[None], getattr(visited, n)]) for n, p in first.items()}
    return _replaced(visited, **joined)


def _listed(save: Any) -> Any:
    return save if isinstance(save, tuple | list) else (save,)


def _kept_shape(problem: Problem, iterations: int, kept: frozenset[str]) -> tuple[int, ...]:
    return (iterations, *problem.log_ref.shape) if "path" in kept else (iterations,)


def _refuse_divergence(solution: Solution, method: Any) -> None:
    """A run that went wrong is refused, where its numbers are known."""
    iteration = _first_gone_wrong(solution)
    if iteration:
        if isinstance(method, ExplainsDivergence):
            raise method.divergence(iteration)
        raise Diverged("method", method, iteration, "check what its step returns")


def _first_gone_wrong(solution: Solution) -> int:
    """The first iteration that is known to have gone wrong, 0 for none."""
    flagged = concrete(solution.state.diverged)
    if flagged is not None and flagged.any():
        return int(flagged)
    numbers = (solution.suboptimality, solution.tv, solution.series.get("gamma"))
    found = [concrete(values) for values in numbers if values is not None]
    series = [values for values in found if values is not None]
    if not series:
        return 0
    finite = np.all(np.isfinite(np.stack(series)), axis=0)
    return 0 if finite.all() else int(np.argmin(finite)) + 1
