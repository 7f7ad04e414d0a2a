"""What a response says, apart from what it thinks before."""

OPEN, CLOSE = "<think>", "</think>"


def said(response: str) -> str:
    """What follows the thinking: nothing, if a response was cut while it thinks.

    Source: huggingface/lighteval #790.

    Example:
        >>> said("Well. <think>17?</think>It is 18."), said("<think>17?</think><think>Or 18")
        ('It is 18.', '')
    """
    rest = response.rsplit(CLOSE, 1)[-1]
    return "" if OPEN in rest else rest
