"""HTML pages of the report: each stands alone, needs no other file, and fits any window."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

from PIL import Image

from macrodyn.paths import StrPath

__all__ = ["LARGEST_PAGE", "figure", "page"]

LARGEST_PAGE = 1_500_000
"""Bytes of a page. In a report each is a data: URL, and Chromium shows none of more than 2 MiB."""
LARGEST_PICTURE = 1_000_000
"""Bytes of a picture, which takes 4/3 of them in a page."""

_STYLE = """\
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1f2328;
  background: #fff; margin: 0 auto; max-width: 64rem; padding: 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #d8dee4; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, ul, dl, figure { margin: .6rem 0; }
li { margin: .25rem 0; }
.lead { color: #57606a; margin-top: 0; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dl.facts dt { color: #57606a; }
dl.facts dd { margin: 0; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption, .note { color: #424a53; font-size: .92rem; max-width: 56rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .3rem .35rem; border-bottom: 1px solid #d8dee4; text-align: left; }
th, td:not(:last-child) { overflow-wrap: normal; }
th { border-bottom: 2px solid #57606a; vertical-align: bottom; line-height: 1.25;
  min-width: 3rem; }
.number { text-align: right; }
td.number, td:first-child { white-space: nowrap; }
@media (max-width: 60rem) { table { font-size: .76rem; } th, td { padding: .3rem .2rem; } }
pre { background: #f6f8fa; padding: 1rem; border-radius: 6px; overflow-x: auto;
  font: .88rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: normal; }
code { background: #f0f2f4; padding: .1em .3em; border-radius: 4px; font-size: .9em; }
pre code { background: none; padding: 0; }
.level { font-size: .8rem; font-weight: 600; padding: .1rem .55rem; border-radius: 1rem;
  margin-left: .4rem; white-space: nowrap; }
.good { background: #d2f4da; color: #0a5524; }
.fair { background: #fff0c2; color: #664200; }
.poor { background: #ffdcd7; color: #8a1108; }
.unknown { background: #e7eaee; color: #424a53; }"""


def page(title: str, body: str, *, style: str = "") -> str:
    """Make a page.

    Args:
        title: Its title, which is escaped.
        body: Its content, HTML.
        style: Further CSS.

    Returns:
        The page.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def figure(path: StrPath, caption: str, alt: str, *, largest: int = LARGEST_PICTURE) -> str:
    """Put a picture into a page, with its caption below.

    Args:
        path: A PNG file.
        caption: HTML.
        alt: What is to be seen, for those who cannot see it; escaped.
        largest: Bytes that the picture may have. A larger one is shown with fewer dots.

    Returns:
        The figure as HTML, the picture within.
    """
    content = Path(path).read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
        share = 1.0
        while len(content) > largest and min(width, height) * share > 100:
            share *= 0.8
            smaller = picture.convert("RGB").resize((int(width * share), int(height * share)))
            buffer = io.BytesIO()
            smaller.save(buffer, format="PNG", optimize=True)
            content = buffer.getvalue()
    text = base64.b64encode(content).decode()
    # docutils, which puts the front page into the report, takes no line of 10,000 characters.
    data = "\n".join(text[i : i + 4096] for i in range(0, len(text), 4096))
    return (
        f'<figure>\n<img width="{width}" height="{height}" alt="{html.escape(alt)}" '
        f'src="data:image/png;base64,{data}">\n<figcaption>{caption}</figcaption>\n</figure>'
    )
