"""The pages of the report that show one figure each, its caption below it."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from docutils.core import publish_parts

from macrodyn.evaluation.pages import figure, page
from macrodyn.pipeline.figure_titles import RUN_FIGURES, STUDY_FIGURES, figure_title
from macrodyn.storage.files import atomic_path

METHODS = ("ours", "naive", "full")


def run_figures(folder: Path, horizons: Sequence[str]) -> dict[str, Path]:
    """Find the figures of a run, in the order of the report.

    Args:
        folder: The run's folder.
        horizons: Its horizons.

    Returns:
        Files by the figure's name; those that were not drawn are left out.
    """
    figures = folder / "figures"
    found: dict[str, Path] = {}
    for kind in RUN_FIGURES:
        if kind == "trajectories-":
            for name in (f"{h}-{method}" for method in METHODS for h in horizons):
                found[kind + name] = figures / "trajectories" / f"{name}.png"
        elif kind == "equilibrium-":
            found |= {f"{kind}{h}": figures / "equilibrium" / f"{h}.png" for h in horizons}
        else:
            found[kind] = figures / f"{kind}.png"
    return {name: path for name, path in found.items() if path.exists()}


def study_figure_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the files of the figures across runs, in the order of the report."""
    kinds = list(STUDY_FIGURES)

    def place(name: str) -> int:
        return next((i for i, k in enumerate(kinds) if name.startswith(k)), len(kinds))

    return {name: folder / f"{name}.png" for name in sorted(names, key=place)}


def caption(folder: Path, name: str) -> str:
    """Render the caption of a figure as HTML.

    Args:
        folder: Where the captions stand, reStructuredText with Jinja: one for each kind of figure
            of a run, and `study.rst` for those across runs.
        name: The figure's name.
    """
    kind = next((k for k in RUN_FIGURES if name.startswith(k)), None)
    file = "study" if kind is None else kind.rstrip("-").replace("-", "_")
    wildcards = {"name": name, "method": name.rsplit("-", 1)[-1]}
    return render(folder / f"{file}.rst", wildcards)


def render(path: Path, wildcards: Mapping[str, str]) -> str:
    """Render a caption as Snakemake does in a report: Jinja, then reStructuredText."""
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    said: Any = SimpleNamespace(wildcards=wildcards)
    text = template.from_string(path.read_text(encoding="utf-8")).render(snakemake=said)
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "halt_level": 2}
    parts = publish_parts(text, writer="html5", settings_overrides=settings)
    return str(parts["body"]).strip()


def write_figure_pages(
    folder: Path, figures: Mapping[str, Path], captions: Path, subject: str
) -> None:
    """Write a page for each figure, and remove pages of figures that are no more.

    Args:
        folder: Where to; it then holds nothing else.
        figures: Figures by name, in order.
        captions: Where the captions stand.
        subject: What the figures are of, such as `Run small-8`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for stem, content in _pages(figures, captions, subject):
        with atomic_path(folder / f"{stem}.html") as temporary:
            temporary.write_text(content, encoding="utf-8")


def _pages(figures: Mapping[str, Path], captions: Path, subject: str) -> Iterator[tuple[str, str]]:
    for number, (name, path) in enumerate(figures.items(), 1):
        title = figure_title(name)
        shown = figure(path, caption(captions, name), f"{title}: {subject}")
        head = f'<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(subject)}</p>'
        yield f"{number:02d}-{name}", page(f"{title}: {subject}", f"{head}\n{shown}")
