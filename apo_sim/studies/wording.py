"""How findings write random figures."""

import math

import xarray as xr

from apo_sim.statistics import mean_and_half


def plus_minus(values: xr.DataArray) -> str:
    """The mean over the seeds and half its 95 % interval, to the interval's second digit.

    The mean alone where all seeds agree: then nothing says how far off it is.

    Example:
        >>> plus_minus(xr.DataArray([1.0, 1.1, 1.2, 1.3], dims="seed"))
        '1.15 ± 0.21'
    """
    mean, half = (float(number) for number in mean_and_half(values))
    if half == 0:
        return f"{mean:,.3f}"
    places = max(1 - math.floor(math.log10(half)), 0) if half < math.inf else 3
    return f"{mean:,.{places}f} ± {half:.{places}f}"
