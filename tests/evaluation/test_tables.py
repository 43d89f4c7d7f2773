"""Text and HTML tables."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from macrodyn.evaluation.tables import format_value, summary_html, summary_text

ROWS = [
    {"run": "tile", "test_error": 2.9e-4, "updates": 1_234_567},
    {"run": "a<b", "test_error": np.inf, "updates": 12, "seconds": np.float32(31.25)},
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "diverged"),
        (0.0, "0"),
        (2.9e-4, "2.90e-04"),
        (0.12345, "0.123"),
        (4096, "4,096"),
        (np.int64(4096), "4,096"),
        (12_000_000_000, "1.20e+10"),
        (True, "yes"),
        ("8x8", "8x8"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert format_value(value) == text


def test_text_is_aligned() -> None:
    lines = summary_text(ROWS).splitlines()
    assert lines[0].split("  ") and lines[0].startswith("run ")
    assert lines[2].index("2.90e-04") + 8 == lines[3].index("diverged") + 8
    assert lines[2].rstrip().endswith("-")
    assert lines[3].endswith("31.2")
    assert summary_text([]) == "(no rows)"


def test_html_is_well_formed_and_escaped() -> None:
    page = summary_html(ROWS, title="R & D")
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n").replace(
        '<meta charset="utf-8">', ""))  # fmt: skip
    table = next(root.iter("table"))
    assert [cell.text for cell in next(table.iter("tbody"))[1]] == ["a<b", "diverged", "12", "31.2"]
    assert [cell.text for cell in table.iter("th")] == ["run", "test error", "updates", "seconds"]
    assert "R &amp; D" in page and "http" not in page
