"""How errors fall with the number of labels."""

import numpy as np


def check_slopes(squares, numbers):
    """Squared errors fall as 1 / n from each number to the next, within 3.5 standard errors.

    `squares` has a row of seeds for each of the numbers.
    """
    means = squares.mean(axis=1)
    relative = squares.std(axis=1) / means / np.sqrt(squares.shape[1])
    slopes = np.diff(np.log(means)) / np.diff(np.log(numbers))
    errors = np.hypot(relative[1:], relative[:-1]) / np.diff(np.log(numbers))
    np.testing.assert_array_less(np.abs(slopes + 1.0), 3.5 * errors)
    assert np.all(errors < 0.1)
