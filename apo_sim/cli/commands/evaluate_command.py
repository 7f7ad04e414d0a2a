"""`apo-sim evaluate MODEL`."""

from apo_sim import llm
from apo_sim.cli.options.evaluate_options import Evaluate
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE
from apo_sim.files import writable_folder


def run(options: Evaluate) -> int:
    """Let one model or two answer, and show the marks."""
    if options.out is not None:
        writable_folder("out", options.out)
    benchmark = _benchmark(options.prompts, options.seed)
    scores = {"model": _scores(options.model, benchmark, options)}
    if options.against is not None:
        scores["against"] = _scores(options.against, benchmark, options)
    rows = {name: found.rows() for name, found in scores.items()}
    if options.against is not None:
        rows["difference"] = scores["model"].less(scores["against"])
    if options.out is not None:
        for name, found in scores.items():
            found.write(options.out / f"{name}.json")
    if options.json:
        print_json({"benchmark": benchmark.name, **rows})
        return DONE
    console = open_console()
    say(console, f"{benchmark.name}; means with 95 % intervals over prompts and seeds")
    for name, found in rows.items():
        for row in found:
            say(console, f"{name:<12} {row.metric:<20} {row.estimate:.3f}")
    return DONE


def _benchmark(prompts: str, seed: int) -> llm.Benchmark:
    if prompts.isdecimal():
        return llm.GeneratedGSMSymbolic(int(prompts), seed)
    return llm.InstructionFollowing(llm.read(prompts))


def _scores(model: str, benchmark: llm.Benchmark, options: Evaluate) -> llm.Scores:
    sampling = llm.Sampling(
        responses=1,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        max_prompt=options.max_prompt,
        batch=options.batch,
    )
    return llm.evaluate(
        llm.load(model), benchmark, sampling, seeds=options.seeds, seed=options.seed
    )
