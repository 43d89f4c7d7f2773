"""Pages of figures: their titles, their order, their captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from macrodyn.pipeline.figure_pages import (
    caption,
    run_figures,
    study_figure_files,
    write_figure_pages,
)
from macrodyn.pipeline.figure_titles import RUN_FIGURES, STUDY_FIGURES, figure_title, page_label

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
NAMES = [kind + "short-ours" * kind.endswith("-") for kind in (*RUN_FIGURES, *STUDY_FIGURES)]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("trajectories-short-ours", "Trajectories, short, ours"),
        ("trajectories-long-naive-full", "Trajectories, long-naive, full"),
        ("equilibrium-long-ours", "Equilibrium, long-ours"),
        ("drift-diffusion", "Drift and diffusion"),
        ("error-against-patch-size-a-b", "Error against patch size, a-b"),
        ("mmd-against-covariance-factor-x", "MMD against the covariance factor, x"),
        ("covariance-factor", "Covariance factor"),
        ("something-new", "Something new"),
    ],
)
def test_titles(name: str, title: str) -> None:
    assert figure_title(name) == title
    assert page_label(f"07-{name}") == f"07 {title}"


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_caption(name: str) -> None:
    text = caption(CAPTIONS, name)
    assert len(text) > 60 and text.startswith("<p>")
    assert not {"{{", "{%", "snakemake", "system-message"} & set(text.split())


def test_captions_are_those_of_the_kind() -> None:
    assert "<strong>naive</strong>" in caption(CAPTIONS, "trajectories-short-naive")
    assert "by stage" in caption(CAPTIONS, "costs")
    assert "memory" in caption(CAPTIONS, "markov")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 120)).save(path)
    return path


def test_figures_of_a_run_are_in_order(tmp_path: Path) -> None:
    """Trajectories come first, ours before the baselines; what was not drawn is left out."""
    for name in ("training", "markov", "equilibrium/b", "equilibrium/a", "trajectories/a-naive",
                 "trajectories/b-ours", "trajectories/a-ours", "drift-diffusion"):  # fmt: skip
        picture(tmp_path / "figures" / f"{name}.png")
    found = run_figures(tmp_path, ["a", "b"])
    assert list(found) == [
        "trajectories-a-ours",
        "trajectories-b-ours",
        "trajectories-a-naive",
        "equilibrium-a",
        "equilibrium-b",
        "drift-diffusion",
        "markov",
        "training",
    ]
    assert found["trajectories-a-naive"] == tmp_path / "figures" / "trajectories" / "a-naive.png"


def test_figures_of_a_study_are_in_order(tmp_path: Path) -> None:
    names = ["costs", "new", "covariance-factor", "mmd-against-covariance-factor-a",
             "error-against-patch-size-b", "all-runs", "error-against-patch-size-a"]  # fmt: skip
    assert list(study_figure_files(tmp_path, names)) == [
        "error-against-patch-size-b",
        "error-against-patch-size-a",
        "all-runs",
        "mmd-against-covariance-factor-a",
        "covariance-factor",
        "costs",
        "new",
    ]


def test_pages_of_figures_that_are_no_more_are_removed(tmp_path: Path) -> None:
    figures = {name: picture(tmp_path / f"{name}.png") for name in ("markov", "training")}
    write_figure_pages(tmp_path / "pages", figures, CAPTIONS, "Run <a>")
    del figures["markov"]
    write_figure_pages(tmp_path / "pages", figures, CAPTIONS, "Run <a>")
    (only,) = (tmp_path / "pages").iterdir()
    assert only.name == "01-training.html"
    text = only.read_text(encoding="utf-8")
    assert "<h1>Training</h1>" in text and "Run &lt;a&gt;" in text
    assert "Losses on training and validation data" in text
