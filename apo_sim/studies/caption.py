"""What the bands, bars and marks of a figure are: one line above its panels."""

from matplotlib.figure import Figure


def caption(figure: Figure, text: str) -> None:
    """Write a line of plain words above all panels, at the left.

    Example:
        >>> figure = Figure()
        >>> caption(figure, "bands: 95 % intervals")
        >>> figure.get_suptitle()
        'bands: 95 % intervals'
    """
    figure.suptitle(text, x=0.02, ha="left", fontsize=8.5)
