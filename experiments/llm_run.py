"""Iterative DPO, its extrapolation (APO) and DPO at the matched beta, whose gamma is that of APO
after every iteration, on a language model, side by side: same prompts, same random numbers.

    python experiments/llm_run.py
    python experiments/llm_run.py --quick
    python experiments/llm_run.py --model /models/Mistral-7B-Instruct-v0.2 --prompts train.jsonl
"""

from dataclasses import dataclass, field
from pathlib import Path

from script import console, start

from apo_sim import llm
from apo_sim.report import style
from apo_sim.studies import transformer


@dataclass(frozen=True)
class Options:
    """What a laptop does in about 45 minutes by default; the paper's own sizes are those of
    `apo-sim llm`.

    Args:
        out: folder for the runs, results.json and the figure.
        quick: two iterations, a few prompts, one seed.
        model: smollm2, a GGUF file, or a folder of safetensors.
        prompts: a JSONL file; by default they are generated.
        held_out: a JSONL file; by default they are generated.
        number: of prompts generated, over all iterations.
        judged: number of prompts generated to judge on.
        ranker: verifiable, length or brevity.
        seeds: runs of each method.
        seed: of the first.
        alpha: extrapolation.
        beta: proximal weight of DPO and APO, one for each iteration.
        max_tokens: longest response.
        max_prompt: longest prompt.
        sample_batch: responses drawn side by side.
        learning_rate: highest one.
        batch: pairs a step.
        epochs: times that every pair is seen.
    """

    out: Path = Path("results/llm")
    quick: bool = False
    model: str = "smollm2"
    prompts: Path | None = None
    held_out: Path | None = None
    number: int = 60
    judged: int = 40
    ranker: str = "verifiable"
    seeds: int = 2
    seed: int = 0
    alpha: float = 0.3
    beta: tuple[float, ...] = field(default=(0.01, 0.1, 1.0))
    max_tokens: int = 48
    max_prompt: int = 100
    sample_batch: int = 25
    learning_rate: float = 1e-5
    batch: int = 4
    epochs: int = 1


def main(options: Options) -> None:
    beta = options.beta[:2] if options.quick else options.beta
    number, judged = (8, 6) if options.quick else (options.number, options.judged)
    results = transformer.measure(
        out=options.out / ("quick" if options.quick else "full"),
        model=options.model,
        prompts=options.prompts or number,
        held_out=options.held_out or judged,
        ranker=options.ranker,
        seeds=1 if options.quick else options.seeds,
        seed=options.seed,
        alpha=options.alpha,
        beta=beta,
        iterations=len(beta),
        settings={
            "sampling": llm.Sampling(
                max_tokens=options.max_tokens,
                max_prompt=options.max_prompt,
                batch=options.sample_batch,
            ),
            "tuning": llm.FineTuning(
                learning_rate=options.learning_rate, batch=options.batch, epochs=options.epochs
            ),
        },
    )
    for run in results.runs:
        console.print(f"\n{run.method}, seed {run.seed}")
        console.print(transformer.table(run.rows))
    console.print()
    console.print(transformer.finding(results).text, soft_wrap=True, markup=False)
    path = style.save(lambda figure: transformer.draw(figure, results), "llm", options.out)
    console.print(f"Figure: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    start(main, Options)
