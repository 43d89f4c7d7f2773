"""The pages of the report that show one figure each, its caption below it."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from docutils.core import publish_parts

from macrodyn.evaluation.explorer import explorer
from macrodyn.evaluation.pages import figure, page
from macrodyn.pipeline.kind import Figure
from macrodyn.pipeline.report.page_labels import page_stem
from macrodyn.storage.files import atomic_path
from macrodyn.storage.sealed import read_sealed_json


@dataclass(frozen=True, kw_only=True)
class ShownFigure:
    """A figure of the report.

    Attributes:
        title: Its name in words, such as ``Trajectories, transient, ours``.
        path: Its file.
        caption: HTML.
    """

    title: str
    path: Path
    caption: str


def shown_figures(
    folder: Path, kinds: Sequence[Figure], captions: Path, order: Sequence[str] = ()
) -> list[ShownFigure]:
    """Find the figures that a stage has drawn, in the order of the report.

    Args:
        folder: Where they stand.
        kinds: What its kind declares.
        captions: Where captions stand, reStructuredText with Jinja.
        order: What the user named, in the order in which it is shown; what else there is follows.
    """
    found = []
    for kind in kinds:
        drawn = [
            (_parts(kind.pattern, path.relative_to(folder)), path)
            for path in sorted(folder.glob(kind.pattern))
        ]
        place = {name: number for number, name in enumerate(order)}
        drawn.sort(key=lambda item: [place.get(part, len(place)) for part in item[0]])
        found += [
            ShownFigure(
                title=", ".join([kind.title, *parts]),
                path=path,
                caption=_caption(captions, kind, parts),
            )
            for parts, path in drawn
        ]
    return found


def _parts(pattern: str, path: Path) -> list[str]:
    """Return what stands for the stars of a pattern in a path."""
    stars = re.escape(pattern).replace(r"\*", "([^/]*)")
    match = re.fullmatch(stars, path.as_posix())
    return list(match.groups()) if match else []


def _caption(captions: Path, kind: Figure, parts: Sequence[str]) -> str:
    if not kind.caption:
        return ""
    return render(captions / kind.caption, {"last": parts[-1] if parts else ""})


def render(path: Path, wildcards: Mapping[str, str]) -> str:
    """Render a caption as Snakemake does in a report: Jinja, then reStructuredText."""
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    said: Any = SimpleNamespace(wildcards=wildcards)
    text = template.from_string(path.read_text(encoding="utf-8")).render(snakemake=said)
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "halt_level": 2}
    parts = publish_parts(text, writer="html5", settings_overrides=settings)
    return str(parts["body"]).strip()


def write_figure_pages(folder: Path, figures: Sequence[ShownFigure], subject: str) -> None:
    """Write a page for each figure, and remove pages of figures that are no more.

    Args:
        folder: Where to; it then holds nothing else.
        figures: The figures in order.
        subject: What they are of, such as `Run small-8`.

    Raises:
        StoreError: If the data of a figure of trajectories are damaged.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, one in enumerate(figures, 1):
        alt = f"{one.title}: {subject}"
        head = f'<h1>{html.escape(one.title)}</h1>\n<p class="lead">{html.escape(subject)}</p>'
        shown = (
            explorer(read_sealed_json(one.path), one.caption, one.path)
            if one.path.suffix == ".json"
            else figure(one.path, one.caption, alt)
        )
        content = page(alt, f"{head}\n{shown}")
        with atomic_path(folder / f"{page_stem(number, one.title)}.html") as temporary:
            temporary.write_text(content, encoding="utf-8")
