"""Prompts with verifiable instructions, made by program: for training, apart from IFEval's own."""

import random
from pathlib import Path

from apo_sim.checks import as_count, as_seed
from apo_sim.llm.data._verifiers import registry
from apo_sim.llm.data.prompts import Prompt, read

TASKS = (
    "Describe {}.",
    "Write a short note about {}.",
    "Explain to a child why people care about {}.",
    "Give advice to somebody who is new to {}.",
    "Write an advertisement for {}.",
    "Tell a short story about {}.",
    "List what can go wrong with {}.",
    "Compare {} today with {} a hundred years ago.",
)
TOPICS = (
    "bicycles",
    "bread",
    "chess",
    "city parks",
    "coffee",
    "fishing",
    "gardens",
    "glass",
    "harbours",
    "honey",
    "lighthouses",
    "maps",
    "markets",
    "mountains",
    "music lessons",
    "night trains",
    "old books",
    "paper",
    "pottery",
    "public libraries",
    "radio",
    "rain",
    "rivers",
    "running",
    "sailing",
    "soup",
    "swimming",
    "tea",
    "telescopes",
    "umbrellas",
    "weather forecasts",
    "winter",
)
# Those that a short answer can follow and a program can verify without further data.
INSTRUCTIONS = (
    "punctuation:no_comma",
    "change_case:english_lowercase",
    "change_case:english_capital",
    "detectable_format:title",
    "detectable_format:number_bullet_lists",
    "detectable_format:number_highlighted_sections",
    "startend:quotation",
    "startend:end_checker",
    "detectable_content:postscript",
    "detectable_content:number_placeholders",
    "keywords:existence",
    "keywords:forbidden_words",
    "length_constraints:number_words",
)


# Prompts that can be generated in seconds, all different.
_MOST = 100_000


def generate(number: int, seed: int = 0, most: int = 2) -> list[Prompt]:
    """Prompts that ask for something and lay down how, all different, as IFEval's are made.

    The wording of an instruction and its settings are those of if-verifiable's own classes.

    Args:
        number: of prompts.
        seed: all randomness comes from it.
        most: instructions in a prompt, at most.

    Returns:
        So many prompts, each with one to `most` instructions that do not contradict each other.

    Source: ours.

    Example:
        >>> prompts = generate(3)
        >>> len({prompt.text for prompt in prompts})
        3
    """
    as_count("number", number, most=_MOST)
    as_count("most", most)
    as_seed("seed", seed)
    found: dict[str, Prompt] = {}
    chooser = random.Random(seed)
    # The classes draw their settings from the module's generator.
    kept = random.getstate()
    random.seed(seed)
    try:
        while len(found) < number:
            prompt = _one(chooser, most)
            found.setdefault(prompt.text, prompt)
    finally:
        random.setstate(kept)
    return list(found.values())


def chosen_prompts(
    prompts: int | str | Path, held_out: int | str | Path, seed: int = 0
) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to train on and to judge on: each a JSONL file, or how many are generated.

    What is generated for the one is not generated for the other.

    Example:
        >>> train, judge = chosen_prompts(3, 2)
        >>> len(train), len(judge), len({prompt.text for prompt in train + judge})
        (3, 2, 5)
    """
    counts = [given if isinstance(given, int) else 0 for given in (prompts, held_out)]
    for name, given in (("prompts", prompts), ("held_out", held_out)):
        if isinstance(given, int):
            as_count(name, given, most=_MOST)
    made = generate(sum(counts), seed) if any(counts) else []
    split = made[: counts[0]], made[counts[0] :]
    chosen, judged = (
        part if isinstance(given, int) else read(given, name)
        for name, part, given in zip(
            ("prompts", "held_out"), split, (prompts, held_out), strict=True
        )
    )
    return chosen, judged


def _one(chooser: random.Random, most: int) -> Prompt:
    topic = chooser.choice(TOPICS)
    sentences = [chooser.choice(TASKS).format(topic, topic)]
    names: list[str] = []
    settings = []
    for _ in range(chooser.randint(1, most)):
        open_to = [name for name in INSTRUCTIONS if not _in_conflict(name, names)]
        if not open_to:
            break
        name = chooser.choice(open_to)
        instruction = registry()[name](name)
        sentences.append(instruction.build_description(**_settings(name, chooser)))
        names.append(name)
        settings.append(instruction.get_instruction_args() or {})
    return Prompt(" ".join(sentences), tuple(names), tuple(settings))


def _settings(name: str, chooser: random.Random) -> dict[str, object]:
    """Where the class would ask for more than a short answer holds."""
    if name == "length_constraints:number_words":
        relation = chooser.choice(("less than", "at least"))
        return {"relation": relation, "num_words": chooser.choice((20, 30, 40))}
    small = {
        "detectable_format:number_bullet_lists": "num_bullets",
        "detectable_format:number_highlighted_sections": "num_highlights",
        "detectable_content:number_placeholders": "num_placeholders",
    }
    return {small[name]: chooser.choice((1, 2, 3))} if name in small else {}


# Of what is in the list, beside an instruction with itself.
_CONFLICTS = (
    {"change_case:english_lowercase", "change_case:english_capital"},
    {"change_case:english_lowercase", "startend:end_checker"},
    {"change_case:english_capital", "startend:end_checker"},
    {"change_case:english_lowercase", "detectable_content:postscript"},
    {"startend:quotation", "startend:end_checker"},
    {"startend:end_checker", "detectable_content:postscript"},
    {"punctuation:no_comma", "startend:end_checker"},
)


def _in_conflict(name: str, others: list[str]) -> bool:
    return name in others or any({name, other} in _CONFLICTS for other in others)
