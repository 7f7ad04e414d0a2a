"""Figures: of many marks, as an SVG and as the page has them."""

import io
import re

import numpy as np
from PIL import Image

from apo_sim.report import style


def scatter(marks):
    def draw(figure):
        x, y = np.random.default_rng(0).normal(size=(2, marks))
        axes = figure.subplots()
        axes.scatter(x, y, s=4)
        axes.plot(x, y, ".")
        axes.plot(np.sort(x), np.sort(y))

    return draw


def test_many_marks_are_pixels_and_few_are_outlines():
    few = style.render(scatter(style.DENSE - 1), "few")["svg"].decode()
    assert "<image" not in few and few.count("<use") > 2 * (style.DENSE - 1)
    many = style.render(scatter(20 * style.DENSE), "many")["svg"].decode()
    assert many.count("<image") >= 1 and many.count("<use") < 100
    assert len(many) < 200_000
    # A line without marks stays a line, whatever its length.
    assert max(map(len, re.findall(r' d="([^"]*)"', many))) > 5_000


def test_a_figure_of_a_page_is_the_figure_in_few_colours():
    images = style.render(scatter(500), "x")
    small = style.for_page(images["png"])
    assert len(small) < len(images["png"]) / 2
    with Image.open(io.BytesIO(small)) as few, Image.open(io.BytesIO(images["png"])) as all:
        assert few.format == "WEBP" and few.size == all.size
        before, after = (np.asarray(image.convert("RGB"), int) for image in (all, few))
    assert len(np.unique(after.reshape(-1, 3), axis=0)) <= style.COLOURS
    assert np.abs(before - after).mean() < 2.5
    assert style.for_page(images["png"]) == small
