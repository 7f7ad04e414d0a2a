"""The one style of all figures, and their rendering into files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler
from PIL import Image

from apo_sim.files import cannot_write, writable_folder, write_bytes

# Okabe and Ito's palette: told apart with any colour vision. The meaning is fixed throughout:
# blue for what was measured, vermillion for what the paper prints, green for the sharp bound.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#1a1a1a")
SIZE = (7.0, 3.6)  # inches
# No date and no version: the same drawing must give the same bytes.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
DENSE = 200  # marks of one artist, from which on an SVG has them as pixels
COLOURS = 32  # of a figure on a page: six of the palette, and their blends with the background

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.35",
    "axes.formatter.use_mathtext": True,
    "axes.grid": True,
    "axes.labelcolor": "0.15",
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.facecolor": "white",
    "figure.figsize": SIZE,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "text.color": "0.15",
    "xtick.color": "0.35",
    "xtick.labelcolor": "0.25",
    "xtick.labelsize": 8.5,
    "ytick.color": "0.35",
    "ytick.labelcolor": "0.25",
    "ytick.labelsize": 8.5,
}


def render(draw: Callable[[Figure], object], name: str) -> dict[str, bytes]:
    """Draw a figure in the project's style: the same bytes for the same drawing.

    Args:
        draw: fills the empty figure it is given, 7 x 3.6 inches.
        name: what the identifiers inside the SVG are derived from.

    Returns:
        The figure by format: `"svg"` and `"png"`. Artists of many marks are pixels in the SVG too,
        where each mark would be an element of its own.

    Example:
        >>> images = render(lambda figure: figure.subplots().plot([0, 1]), "line")
        >>> sorted(images)
        ['png', 'svg']
    """
    images = {}
    # The defaults first, so that nothing a user has set shows.
    with matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure()
        draw(figure)
        for artist in figure.findobj(_is_dense):
            artist.set_rasterized(True)
        for kind, metadata in METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            images[kind] = buffer.getvalue()
    return images


def for_page(png: bytes) -> bytes:
    """A figure as the page holds it: all its pixels, in few colours, as a lossless WebP.

    That is a sixth of the SVG's bytes, and shows lines and letters as sharply on any screen.

    Args:
        png: the figure, as `render` makes it.

    Example:
        >>> images = render(lambda figure: figure.subplots().plot([0, 1]), "line")
        >>> small = for_page(images["png"])
        >>> len(small) < len(images["png"]) / 2 and small[8:12] == b"WEBP"
        True
    """
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(
            COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
        few.convert("RGB").save(buffer, format="WEBP", lossless=True, quality=100, method=4)
    return buffer.getvalue()


def _is_dense(artist: Artist) -> bool:
    """Whether an artist draws so many marks that their outlines are most of an SVG."""
    if isinstance(artist, Collection):
        return max(np.size(artist.get_offsets()) // 2, len(artist.get_paths())) >= DENSE
    if isinstance(artist, Line2D):
        marked = str(artist.get_marker()) not in ("None", "none", " ", "")
        return marked and np.size(artist.get_xdata(orig=False)) >= DENSE
    return False


def save(draw: Callable[[Figure], object], name: str, folder: str | Path) -> Path:
    """Draw a figure into `folder/name.svg` and `folder/name.png`, each written whole.

    Args:
        draw: fills the empty figure it is given, 7 x 3.6 inches.
        name: the file name, without a suffix.
        folder: made if it is not there.

    Returns:
        The path of the SVG.

    Raises:
        InvalidArgument: if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(lambda figure: figure.subplots().plot([0, 1]), "line", folder).name
        'line.svg'
    """
    folder = writable_folder("folder", folder)
    for kind, image in render(draw, name).items():
        try:
            write_bytes(folder / f"{name}.{kind}", image)
        except OSError as error:
            raise cannot_write("folder", folder, error) from None
    return folder / f"{name}.svg"
