"""Pages of the report: they stand alone, and stay small enough to be shown."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from macrodyn.evaluation.pages import LARGEST_PAGE, figure, page


def picture(path: Path, side: int) -> Path:
    """Write a picture of noise, which cannot be compressed."""
    dots = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(dots).save(path)
    return path


def shown(text: str) -> Image.Image:
    """Decode the picture of a figure."""
    data = re.search(r'src="data:image/png;base64,([^"]*)"', text)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_is_shown_as_it_is(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 200)
    text = figure(path, "A <em>caption</em>", 'said "so"')
    assert 'width="200" height="200"' in text and "said &quot;so&quot;" in text
    assert "<figcaption>A <em>caption</em></figcaption>" in text
    np.testing.assert_array_equal(np.array(shown(text)), np.array(Image.open(path)))


def test_a_large_picture_is_shown_with_fewer_dots(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 800)
    assert path.stat().st_size > LARGEST_PAGE
    text = figure(path, "", "", largest=1_000_000)
    # In the page it takes as much room as before.
    assert 'width="800" height="800"' in text and shown(text).width < 800
    whole = page("A", text)
    assert len(whole.encode()) < LARGEST_PAGE
    # As a data: URL in base64 it is below what Chromium shows.
    assert len(base64.b64encode(whole.encode())) < 2 * 2**20


def test_lines_are_short_enough_for_docutils(tmp_path: Path) -> None:
    text = figure(picture(tmp_path / "a.png", 300), "", "")
    assert max(map(len, text.splitlines())) < 10_000


@pytest.mark.parametrize("title", ["R & D", "a <b>"])
def test_the_title_is_escaped(title: str) -> None:
    text = page(title, "<p>body</p>")
    assert title not in text and "<p>body</p>" in text and "http" not in text
