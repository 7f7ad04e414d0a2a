"""Figures inside the page: addresses that hold all of an image."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Figure:
    """A figure as the page embeds it.

    Attributes:
        uri: an address that holds the image itself.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    width: int
    height: int


def embed(webp: bytes) -> Figure:
    """An image as the page embeds it.

    Raises:
        OSError: if the bytes are no WebP.

    Example:
        >>> embed(b"<svg onload=...>")
        Traceback (most recent call last):
        ...
        PIL.UnidentifiedImageError: cannot identify image file ...
    """
    with Image.open(io.BytesIO(webp), formats=["WEBP"]) as image:
        width, height = image.size
    return Figure(f"data:image/webp;base64,{base64.b64encode(webp).decode()}", width, height)


def read_figure(path: Path) -> Figure | None:
    """The page's own form of a figure, which lies beside the SVG that a verdict names.

    Args:
        path: of the SVG.

    Returns:
        The figure, or None where there is none, or something else than an image.

    Example:
        >>> read_figure(Path("/nowhere/N2.svg"))
    """
    path = path.with_suffix(".webp")
    if path.is_symlink():  # it may lead out of the folder, to a file that is nobody's figure
        return None
    try:
        return embed(path.read_bytes())
    except OSError:
        return None
