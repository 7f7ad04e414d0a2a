"""`apo-sim llm`."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from apo_sim import llm, registry
from apo_sim.cli.options.llm_options import Llm
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.status import DONE, INTERRUPTED, UNSOUND
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.files import as_path, writable_folder
from apo_sim.momentum import Momentum
from apo_sim.registry import GEOMETRIES, LOSSES, MOMENTA
from apo_sim.report import style
from apo_sim.studies import transformer


def run(options: Llm) -> int:
    """Train, and show every policy."""
    loss = llm.objective(options.loss, LOSSES)
    geometry = GEOMETRIES[options.geometry]
    rule = _rule(options.momentum, options.alpha)
    if options.dtype not in ("float32", "bfloat16"):
        raise UnknownName("dtype", options.dtype, ("float32", "bfloat16"))
    sizes = llm.Sampling(
        responses=options.responses,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        max_prompt=options.max_prompt,
        batch=options.sample_batch,
    )
    tuning = llm.FineTuning(
        learning_rate=options.learning_rate,
        batch=options.batch,
        accumulate=options.accumulate,
        epochs=options.epochs,
    )
    if not options.beta:
        raise InvalidArgument("beta", options.beta, "is empty", "pass one number or more")
    iterations = len(options.beta) if options.iterations is None else options.iterations
    save = None if options.save is None else _as_future_folder("save", options.save)
    prompts, held_out = llm.chosen_prompts(
        _number_or_path(options.prompts), _number_or_path(options.held_out), options.seed
    )
    if options.distributed:
        llm.join()
    mesh = llm.mesh(options.fsdp, options.tp) if options.fsdp or options.tp > 1 else None
    model = llm.load(options.model, mesh=mesh, dtype=options.dtype, remat=options.remat)
    console = open_console()
    try:
        ours = llm.PromptsLeftOut, llm.StageLost, llm.StepsRounded, llm.BetaWithoutEffect
        with _in_plain_words(*ours):
            outcome = llm.fine_tune(
                model,
                prompts,
                held_out=held_out,
                ranker=llm.ranker(options.ranker),
                loss=loss,
                geometry=geometry,
                momentum=rule,
                expo=options.expo,
                beta=options.beta[0] if len(options.beta) == 1 else options.beta,
                iterations=iterations,
                sampling=sizes,
                tuning=tuning,
                lora=None if options.lora is None else llm.LoRA(options.lora, float(options.lora)),
                seed=options.seed,
                out=options.out,
                mesh=mesh,
            )
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to resume.")
        return INTERRUPTED
    except llm.StepDiverged as error:
        print(f"apo-sim: {error}", file=sys.stderr)
        return UNSOUND
    saved = None if save is None else llm.save(outcome.model, save)
    if jax.process_index() > 0:  # what follows is the first one's to say
        return DONE
    console.print(transformer.table(outcome.rows))
    made = ", ".join(str(number) for number in outcome.pairs)
    console.print(
        f"Preference pairs per iteration: {made}. ±: half of the 95 % interval over prompts; "
        "strict, loose: share of prompts whose instructions are followed; LC: length-controlled; "
        "KL: to the reference, per response.",
        soft_wrap=True,
    )
    path = style.save(
        lambda figure: transformer.draw_run(figure, outcome.rows),
        "policies",
        outcome.folder or options.out,
    )
    say(console, f"Figure: {path}")
    if saved is not None:
        say(console, f"Model: {saved}")
    return DONE


def _rule(name: str, alpha: float) -> Momentum:
    """The momentum rule; extrapolation by 0 is none, which needs no copy of the policy before."""
    still = name == "constant" and alpha == 0
    return registry.rule_of(MOMENTA.chosen("none" if still else name), alpha)


@contextlib.contextmanager
def _in_plain_words(*ours: type[Warning]) -> Iterator[None]:
    """Within it, a warning of ours is a line, without the place in the code that it comes from."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any) -> None:
            if issubclass(category, ours):
                print(f"apo-sim: {message}", file=sys.stderr)
            else:
                usual(message, category, *where)

        warnings.showwarning = show
        yield


def _as_future_folder(argument: str, path: Path) -> Path:
    """A folder that could be made, without making it yet."""
    folder = as_path(argument, path)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    writable_folder(argument, there)
    return folder


def _number_or_path(given: str) -> int | str:
    return int(given) if given.isdecimal() else given
