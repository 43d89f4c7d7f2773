"""Rows of values as an aligned text table for the terminal and as an HTML table for the report."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

__all__ = ["format_value", "html_table", "summary_text"]

Rows = Sequence[Mapping[str, object]]


def format_value(value: object) -> str:
    """Write one value: numbers to three figures, missing ones as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10_000_000 else f"{value:.2e}"
    if not _is_number(value):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return "-"
    if math.isinf(number):
        return "diverged" if number > 0 else "-inf"
    if number == 0:
        return "0"
    size = abs(number)
    if 0.01 <= size < 1000:
        return f"{number:.3g}"
    if 1000 <= size < 100_000:
        return f"{number:,.0f}"
    return f"{number:.2e}"


def summary_text(rows: Rows) -> str:
    """Render rows as a plain-text table with aligned columns.

    Args:
        rows: One mapping of column to value for each row. Columns appear in the order in which
            they are first met; a row without a column shows a dash there.

    Returns:
        Lines joined by newlines, without one at the end; a note if there are no rows.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return "(no rows)"
    cells = [[format_value(row.get(column)) for column in columns] for row in rows]
    headers = [column.replace("_", " ") for column in columns]
    right = [_numeric(rows, column) for column in columns]
    widths = [max(len(headers[c]), *(len(line[c]) for line in cells)) for c in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if align else value.ljust(width)
            for value, width, align in zip(values, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), "  ".join("-" * w for w in widths), *map(line, cells)])


def html_table(rows: Rows, headings: Mapping[str, str], caption: str = "") -> str:
    """Render rows as an HTML table whose headings wrap, in a box that scrolls sideways.

    Args:
        rows: One mapping of column to value for each row.
        headings: What stands above each column, in order. A column without any value is left out.
        caption: Caption of the table.

    Returns:
        The table; every text is escaped. The style is that of `macrodyn.evaluation.pages`.
    """
    columns = [c for c in headings if any(row.get(c) is not None for row in rows)]
    right = {column: _numeric(rows, column) for column in columns}

    def cell(tag: str, column: str, text: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kind = ' class="number"' if right[column] else ""
        return f"<{tag}{scope}{kind}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, headings[column]) for column in columns)
    body = "\n".join(
        "<tr>" + "".join(cell("td", c, format_value(row.get(c))) for c in columns) + "</tr>"
        for row in rows
    )
    title = f"<caption>{html.escape(caption)}</caption>\n" if caption else ""
    return (
        f'<div class="scroll">\n<table>\n{title}<thead>\n<tr>{head}</tr>\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, bool))


def _numeric(rows: Rows, column: str) -> bool:
    values = [row[column] for row in rows if row.get(column) is not None]
    return bool(values) and all(_is_number(value) or value == "diverged" for value in values)
