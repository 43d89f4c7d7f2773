"""Text and HTML tables."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from macrodyn.evaluation.tables import format_value, html_table, summary_text

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


HEADINGS = {"run": "run", "test_error": "test error, ours", "updates": "updates", "never": "never"}


def test_html_is_well_formed_and_escaped() -> None:
    root = ElementTree.fromstring(html_table(ROWS, HEADINGS, "R & D"))
    table = next(root.iter("table"))
    assert [cell.text for cell in next(table.iter("tbody"))[1]] == ["a<b", "diverged", "12"]
    # Columns are those that have a heading and a value.
    assert [cell.text for cell in table.iter("th")] == ["run", "test error, ours", "updates"]
    assert next(table.iter("caption")).text == "R & D"


def test_html_aligns_numbers_and_what_diverged() -> None:
    rows = [{"run": "8", "error": "diverged"}, {"run": "16", "error": 0.5}]
    cells = [
        (cell.text, cell.get("class"))
        for cell in ElementTree.fromstring(html_table(rows, {"run": "r", "error": "e"})).iter("td")
    ]
    assert cells == [("8", None), ("diverged", "number"), ("16", None), ("0.5", "number")]
