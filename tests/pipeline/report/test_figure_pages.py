"""Pages of figures: their titles, their order, their captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from macrodyn.evaluation.explorer import Curves, ExplorerCase, trajectory_data
from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.methods.partial_evolution.stages import COSTS, EVALUATE
from macrodyn.pipeline.kind import Figure
from macrodyn.pipeline.report.figure_pages import shown_figures, write_figure_pages
from macrodyn.pipeline.report.page_labels import page_label, page_stem
from macrodyn.storage.errors import StoreError
from macrodyn.storage.sealed import write_sealed_json

CAPTIONS = Path(__file__).parents[3] / "workflow" / "report"
ACROSS = [figure for a in PartialEvolution.analyses for figure in a.stage.figures]
KINDS = (*EVALUATE.figures, *ACROSS)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 120)).save(path)
    return path


def drawn(path: Path) -> Path:
    """Write a figure as its kind says: a picture, or data of trajectories."""
    if path.suffix != ".json":
        return picture(path)
    curves = {"direct": Curves(mean=np.linspace(0, 1, 6).reshape(1, 6, 1))}
    case = ExplorerCase(name="short", time=np.arange(6.0), states=["m 0"], curves=curves)
    data = trajectory_data([case], ["m"], truth="direct", schemes={"direct": "direct"})
    write_sealed_json(path, data)
    return path


def shown(folder: Path, *names: str, order: tuple[str, ...] = ()) -> dict[str, str]:
    """Draw figures; return the captions of what is shown, by title, in order."""
    for name in names:
        picture(folder / f"{name}.png")
    found = shown_figures(folder, EVALUATE.figures, CAPTIONS, order)
    return {one.title: one.caption for one in found}


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("trajectories/short/ours", "Trajectories, short, ours"),
        ("trajectories/long-naive/full", "Trajectories, long-naive, full"),
        ("equilibrium/long-ours", "Equilibrium, long-ours"),
        ("drift-diffusion", "Drift and diffusion"),
        ("covariance-factor", "Covariance factor"),
    ],
)
def test_titles(tmp_path: Path, name: str, title: str) -> None:
    picture(tmp_path / f"{name}.png")
    found = {one.title: one.path for one in shown_figures(tmp_path, KINDS, CAPTIONS)}
    assert found[title] == tmp_path / f"{name}.png"
    assert page_label(page_stem(7, title)) == f"07 {title}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_every_figure_has_a_caption(tmp_path: Path, kind: Figure) -> None:
    drawn(tmp_path / kind.pattern.replace("*", "short"))
    (found,) = shown_figures(tmp_path, [kind], CAPTIONS)
    text = found.caption
    assert len(text) > 60 and text.startswith("<p>")
    assert not {"{{", "{%", "snakemake", "system-message"} & set(text.split())


def test_captions_are_those_of_the_kind(tmp_path: Path) -> None:
    found = shown(tmp_path, "trajectories/short/naive", "markov")
    assert "<strong>naive</strong>" in found["Trajectories, short, naive"]
    assert "memory" in found["Markov diagnostic"]
    picture(tmp_path / "costs" / "costs.png")
    (costs,) = shown_figures(tmp_path / "costs", COSTS.figures, CAPTIONS)
    assert costs.title == "Costs" and "by stage" in costs.caption


def test_a_figure_without_a_caption_has_none(tmp_path: Path) -> None:
    picture(tmp_path / "decay.png")
    (found,) = shown_figures(tmp_path, [Figure(pattern="decay.png", title="Decay")], CAPTIONS)
    assert (found.title, found.caption) == ("Decay", "")


def test_figures_of_a_run_are_in_order(tmp_path: Path) -> None:
    """By kind, then as the user named horizons and schemes; what was not drawn is left out."""
    names = ["training", "markov", "equilibrium/b", "equilibrium/a", "trajectories/b/naive",
             "trajectories/a/ours", "trajectories/b/ours", "trajectories/later/ours",
             "drift-diffusion", "not-declared"]  # fmt: skip
    found = shown(tmp_path, *names, order=("b", "a", "ours", "naive"))
    assert list(found) == [
        "Trajectories, b, ours",
        "Trajectories, b, naive",
        "Trajectories, a, ours",
        "Trajectories, later, ours",
        "Equilibrium, b",
        "Equilibrium, a",
        "Drift and diffusion",
        "Markov diagnostic",
        "Training",
    ]


def test_pages_of_figures_that_are_no_more_are_removed(tmp_path: Path) -> None:
    for name in ("markov", "training"):
        picture(tmp_path / "figures" / f"{name}.png")
    figures = shown_figures(tmp_path / "figures", EVALUATE.figures, CAPTIONS)
    assert [one.title for one in figures] == ["Markov diagnostic", "Training"]
    write_figure_pages(tmp_path / "pages", figures, "Run <a>")
    write_figure_pages(tmp_path / "pages", figures[1:], "Run <a>")
    (only,) = (tmp_path / "pages").iterdir()
    assert only.name == "01-Training.html"
    text = only.read_text(encoding="utf-8")
    assert "<h1>Training</h1>" in text and "Run &lt;a&gt;" in text
    assert "Losses on training and validation data" in text


def test_a_page_of_trajectories_holds_its_data(tmp_path: Path) -> None:
    """It comes first; of results that were made before there were such data it is left out."""
    picture(tmp_path / "figures" / "training.png")
    before = shown_figures(tmp_path / "figures", EVALUATE.figures, CAPTIONS)
    assert [one.title for one in before] == ["Training"]
    path = tmp_path / "figures" / "trajectories.json"
    path.parent.mkdir(exist_ok=True)
    drawn(path)
    figures = shown_figures(tmp_path / "figures", EVALUATE.figures, CAPTIONS)
    assert [one.title for one in figures] == ["Trajectories to explore", "Training"]
    write_figure_pages(tmp_path / "pages", figures, "Run <a>")
    text = (tmp_path / "pages" / "01-Trajectories_to_explore.html").read_text(encoding="utf-8")
    assert text.count('"mean":[["-4 0 2000 2000 2000 2000 2000"]]') == 1
    assert "Run &lt;a&gt;" in text and "<em>members' means</em>" in text
    path.write_bytes(path.read_bytes().replace(b"2000 2000", b"2000 1000"))
    with pytest.raises(StoreError, match=r"trajectories\.json cannot be read"):
        write_figure_pages(tmp_path / "pages", figures, "Run <a>")


@pytest.mark.parametrize("title", ["A, b", "A_b", "Error against patch size, a-b_c", "x,y"])
def test_labels_are_those_of_the_titles(title: str) -> None:
    """Whatever a horizon is called."""
    assert page_label(page_stem(3, title)) == f"03 {title}"
