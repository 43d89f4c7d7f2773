"""Summary rows as an aligned text table for the terminal and as HTML for the report."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

__all__ = ["format_value", "summary_html", "summary_text"]

Rows = Sequence[Mapping[str, object]]

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 1.5em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .6em; }
th, td { padding: .35em .8em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #555; vertical-align: bottom; }
.number { text-align: right; }
tbody tr:hover { background: #f4f6f8; }"""  # noqa: E501


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
    columns = _columns(rows)
    if not columns:
        return "(no rows)"
    cells = [[format_value(row.get(column)) for column in columns] for row in rows]
    headers = [_header(column) for column in columns]
    right = [_numeric(rows, column) for column in columns]
    widths = [max(len(headers[c]), *(len(line[c]) for line in cells)) for c in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if align else value.ljust(width)
            for value, width, align in zip(values, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), "  ".join("-" * w for w in widths), *map(line, cells)])


def summary_html(rows: Rows, title: str = "Summary") -> str:
    """Render rows as a standalone HTML page with one table, needing no other file.

    Args:
        rows: As for `summary_text`.
        title: Page title and caption of the table.

    Returns:
        The page; every cell is escaped.
    """
    columns = _columns(rows)
    right = {column: _numeric(rows, column) for column in columns}

    def cell(tag: str, column: str, text: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kind = ' class="number"' if right[column] else ""
        return f"<{tag}{scope}{kind}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, _header(column)) for column in columns)
    body = "\n".join(
        "<tr>"
        + "".join(cell("td", column, format_value(row.get(column))) for column in columns)
        + "</tr>"
        for row in rows
    )
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{name}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f'<div class="scroll">\n<table>\n<caption>{name}</caption>\n'
        f"<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
        "</body>\n</html>\n"
    )


def _columns(rows: Rows) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _header(column: str) -> str:
    return column.replace("_", " ")


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, bool))


def _numeric(rows: Rows, column: str) -> bool:
    values = [row[column] for row in rows if row.get(column) is not None]
    return bool(values) and all(_is_number(value) for value in values)
