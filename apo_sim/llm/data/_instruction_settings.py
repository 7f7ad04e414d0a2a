"""Settings of verifiable instructions: which ones each needs, for its verdict to be one verdict.

The package if-verifiable draws at random what is missing or out of its range, so that the same
response is judged one way now and another way later. Here every setting is asked for.
"""

import importlib
import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.plain_kinds import is_whole

# How often a class is asked what it makes of its settings, to see that it is always the same.
_TRIES = 8

# From what is wrong to whether a value is right.
Kind = tuple[str, Callable[[Any], bool]]


def _is_count(value: Any) -> bool:
    # Tables of numbers hold whole ones as floats.
    whole = is_whole(value) or (isinstance(value, float) and value.is_integer())
    return whole and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_text, value))


def _is_language(value: Any) -> bool:
    known = importlib.import_module("if_verifiable.ifeval.instructions_util").LANGUAGE_CODES
    return isinstance(value, str) and value in known


COUNT: Kind = "a whole number of at least 0", _is_count
PLACE: Kind = "a whole number of at least 1", lambda value: _is_count(value) and value >= 1
TEXT: Kind = "a text", _is_text
WORDS: Kind = "a list of texts", _is_words
LETTER: Kind = "one character", lambda value: _is_text(value) and len(value) == 1
RELATION: Kind = "'less than' or 'at least'", lambda value: value in ("less than", "at least")
LANGUAGE: Kind = "the code of a language, such as 'en'", _is_language

# Of IFEval, by their ids.
SETTINGS: dict[str, dict[str, Kind]] = {
    "keywords:existence": {"keywords": WORDS},
    "keywords:frequency": {"keyword": TEXT, "frequency": COUNT, "relation": RELATION},
    "keywords:forbidden_words": {"forbidden_words": WORDS},
    "keywords:letter_frequency": {
        "letter": LETTER,
        "let_frequency": COUNT,
        "let_relation": RELATION,
    },
    "language:response_language": {"language": LANGUAGE},
    "length_constraints:number_sentences": {"num_sentences": COUNT, "relation": RELATION},
    "length_constraints:number_paragraphs": {"num_paragraphs": COUNT},
    "length_constraints:number_words": {"num_words": COUNT, "relation": RELATION},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": COUNT,
        "nth_paragraph": PLACE,
        "first_word": TEXT,
    },
    "detectable_content:number_placeholders": {"num_placeholders": COUNT},
    "detectable_content:postscript": {"postscript_marker": TEXT},
    "detectable_format:number_bullet_lists": {"num_bullets": COUNT},
    "detectable_format:constrained_response": {},
    "detectable_format:number_highlighted_sections": {"num_highlights": COUNT},
    "detectable_format:multiple_sections": {"section_spliter": TEXT, "num_sections": COUNT},
    "detectable_format:json_format": {},
    "detectable_format:title": {},
    "combination:two_responses": {},
    "combination:repeat_prompt": {"prompt_to_repeat": TEXT},
    "startend:end_checker": {"end_phrase": TEXT},
    "startend:quotation": {},
    "change_case:capital_word_frequency": {
        "capital_frequency": COUNT,
        "capital_relation": RELATION,
    },
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "punctuation:no_comma": {},
}


def check_settings(name: str, given: Mapping[str, Any]) -> None:
    """Refuse settings of an instruction that leave its verdict open.

    Settings that are None are as good as missing, as in IFEval's own lines. An instruction that is
    unknown here is left to whoever ranks by it.

    Raises:
        InvalidArgument: a setting that is missing, out of its range, or unknown.

    Source: allenai/olmo-eval #296.

    Example:
        >>> check_settings("length_constraints:number_words", {"num_words": 300, "relation": None})
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: kwargs = {'num_words': 300} lacks relation of \
length_constraints:number_words; pass 'less than' or 'at least'
    """
    if name not in SETTINGS:
        return
    wanted, found = SETTINGS[name], given_settings(given)
    for setting, (words, is_right) in wanted.items():
        if setting not in found:
            raise InvalidArgument("kwargs", found, f"lacks {setting} of {name}", f"pass {words}")
        if not is_right(found[setting]):
            raise InvalidArgument(
                "kwargs", found, f"has no usable {setting} for {name}", f"pass {words}"
            )
    for setting in found:
        if setting not in wanted:
            raise InvalidArgument(
                "kwargs",
                found,
                f"has {setting!r}, which {name} does not accept",
                f"pass {', '.join(wanted) or 'no settings'}",
            )
    if found.get("nth_paragraph", 0) > found.get("num_paragraphs", 0):
        raise InvalidArgument(
            "kwargs",
            found,
            "asks for a paragraph beyond the last one",
            "pass an nth_paragraph of at most num_paragraphs",
        )


def check_signature(name: str, verifier: type, given: Mapping[str, Any]) -> None:
    """Refuse settings that the class of an instruction does not know, or would draw others for.

    It draws what is below its range, and now and then what is zero or empty; which, its code alone
    says. So it is asked several times.

    Args:
        name: of an instruction of IFBench, whose settings are not listed here.
        verifier: the class that describes and verifies it.
        given: settings.

    Raises:
        InvalidArgument: a setting that is missing, out of its range, or unknown.

    Example:
        >>> from apo_sim.llm.data._verifiers import of_ifbench
        >>> check_signature("count:numbers", of_ifbench()["count:numbers"], {})
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: kwargs = {} lacks N of count:numbers; pass N
    """
    parameters = inspect.signature(verifier.build_description).parameters  # type: ignore[attr-defined]
    wanted = [n for n, p in parameters.items() if p.kind != p.VAR_KEYWORD and n != "self"]
    found = given_settings(given)
    for setting in wanted:
        if setting not in found:
            raise InvalidArgument("kwargs", found, f"lacks {setting} of {name}", f"pass {setting}")
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    for setting in found:
        if setting not in wanted and not takes_any:
            raise InvalidArgument(
                "kwargs",
                found,
                f"has {setting!r}, which {name} does not accept",
                f"pass {', '.join(wanted) or 'no settings'}",
            )
    try:
        built = {_built(verifier, name, found, seed) for seed in range(_TRIES)}
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument(
            "kwargs", found, f"cannot be used by {name} ({error})", "pass such as IFBench's own"
        ) from None
    if len(built) > 1:
        raise InvalidArgument(
            "kwargs",
            found,
            f"has a setting in whose place {name} draws another",
            "pass numbers above 0 and texts that are not empty",
        )


def _built(verifier: type, name: str, found: Mapping[str, Any], seed: int) -> str:
    """What the class of an instruction makes of its settings, at this state of chance."""
    kept = random.getstate()
    random.seed(seed)
    try:
        made: Any = verifier(name)
        made.build_description(**found)
    finally:
        random.setstate(kept)
    return repr(sorted(vars(made).items()))


def given_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not None.

    Example:
        >>> given_settings({"letter": "#", "keyword": None})
        {'letter': '#'}
    """
    return {name: value for name, value in given.items() if value is not None}
