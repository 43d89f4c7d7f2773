"""The report as a reader has it: built by Snakemake, opened in a real browser, every page of it."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from macrodyn.config.load import load_study
from macrodyn.evaluation.pages import LARGEST_PAGE
from macrodyn.pipeline.identity import run_identities
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.planner import StudyPlan, plan_study
from macrodyn.pipeline.report.summary import summarise
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

from .browser import CHROMIUM, DRIVER, Browser, chromium
from .conftest import ROOT, FinishedStudy, Workflow

pytestmark = pytest.mark.workflow

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no browser to open the report in: install chromium and chromium-driver",
)
TITLE = "Two horizons"
EXPLORER = "Trajectories to explore"
SECOND = "long-ours"  # a horizon whose name could be read as horizon and method


def build_report(workflow: Workflow, config: Path, report: Path) -> Path:
    """Have Snakemake build a report."""
    done = workflow.run("--configfile", config, "--report", report)
    assert done.returncode == 0, done.stdout
    assert "WARNING/" not in done.stdout and "ERROR/" not in done.stdout, done.stdout
    return report


@pytest.fixture(scope="module")
def one_horizon(study: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study's report: one horizon; a run with both baselines, two without."""
    target = tmp_path_factory.mktemp("report") / "report.html"
    return build_report(study, study.config_file, target)


@pytest.fixture(scope="module")
def two_horizons(study: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study as if each run had been compared on two horizons."""
    folder = tmp_path_factory.mktemp("two-horizons") / "workflow"
    unneeded = shutil.ignore_patterns("stages", ".snakemake", "pages")
    shutil.copytree(study.folder, folder, symlinks=True, ignore=unneeded)
    results = folder / "results" / "tiny"
    config = copy.deepcopy(study.config)
    horizons = config["evaluate"]["horizons"]
    horizons[SECOND] = {"spacing": 0.5, "points": 5}
    config["title"] = TITLE
    identities = run_identities(plan_study(load_study(config)))
    for metrics in results.glob("*/metrics.json"):
        content = read_sealed_json(metrics)
        content["horizons"][SECOND] = content["horizons"]["transient"]
        content["config"]["evaluate"]["horizons"] = horizons
        content["order"] = ["transient", SECOND, *content["order"][1:]]
        content["identity"] = identities[content["run"]]
        write_sealed_json(metrics, content)
        figures = metrics.parent / "figures"
        shutil.copytree(figures / "trajectories/transient", figures / "trajectories" / SECOND)
        shutil.copy(figures / "equilibrium/transient.png", figures / f"equilibrium/{SECOND}.png")
    make_pages(results, plan_study(load_study(config)))
    file = folder / "two.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return build_report(Workflow(folder), file, folder / "report.html")


def make_pages(results: Path, plans: StudyPlan) -> None:
    """Write the pages of a study, as its rule does."""
    analyses = results / "analyses"
    one = analyses / "error-against-patch-size-transient" / "figures"
    other = analyses / f"error-against-patch-size-{SECOND}" / "figures"
    other.mkdir(parents=True)
    shutil.copy(one / "transient.png", other / f"{SECOND}.png")
    summary = plans.summary
    summarise(
        Job(
            stage="summarise",
            config=summary.config,
            inputs={
                role: {n: results / stage.folder / f for n, f in stage.kind.outputs.items()}
                for role, stage in summary.inputs.items()
            },
            outputs={name: results / file for name, file in summary.kind.outputs.items()},
            captions=ROOT / "workflow" / "report",
        )
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def run_labels(horizons: list[str], methods: list[str]) -> list[str]:
    """What a run's category must list, in order."""
    titles = [EXPLORER, *(f"Trajectories, {h}, {m}" for h in horizons for m in methods)]
    titles += [f"Equilibrium, {h}" for h in horizons]
    titles += ["Drift and diffusion", "Residual by snapshot age", "Closure variables"]
    titles += ["Errors by dt and buffer", "Markov diagnostic"]
    titles += ["Snapshots", "Training"]
    return [f"{number:02d} {title}" for number, title in enumerate(titles, 1)]


def study_labels(horizons: list[str]) -> list[str]:
    titles = [f"Error against patch size, {h}" for h in horizons]
    titles += ["All runs", "Covariance factor", "Costs"]
    numbered = [f"{number:02d} {title}" for number, title in enumerate(titles, 1)]
    return ["00 Front page", *numbered, "Configuration", "Provenance"]


FITS = """
const root = document.documentElement, cut = [];
if (root.scrollWidth > root.clientWidth) cut.push(`page of ${root.scrollWidth} px`);
for (const box of document.querySelectorAll(arguments[0]))
  if (box.scrollWidth > box.clientWidth) cut.push(`${box.tagName} ${box.innerText.slice(0, 60)}`);
return cut;
"""
PICTURES = """
return [...document.images].map(
  i => [i.alt, i.complete ? i.naturalWidth : 0, i.getBoundingClientRect().width]);
"""
MENU = "return [...document.querySelectorAll('nav ul li a')].map(a => a.innerText)"
CHOOSE = """
[...document.querySelectorAll('nav ul li a')].find(a => a.innerText === arguments[0]).click()
"""


def check_page(browser: Browser, boxes: str) -> None:
    """Check what is shown in the frame that is looked at: nothing cut off, every picture seen."""
    assert not browser.run(FITS, boxes)
    for alt, natural, shown in browser.run(PICTURES):
        assert natural > 100 and shown > 100, f"the picture {alt!r} is not to be seen"


def check_front(browser: Browser, title: str) -> None:
    """Check the page that a report opens with: the front page in its whole height."""
    browser.wait(
        "const f = document.querySelector('iframe.front');"
        "return f && f.contentDocument.readyState === 'complete' && f.offsetHeight > 1000"
    )
    assert not browser.run(FITS, ".h-screen.overflow-auto")
    # Nothing of it lies above what one can scroll to, or beside it.
    top, width, room = browser.run(
        "const f = document.querySelector('iframe.front'), o = f.closest('.overflow-auto');"
        "return [f.getBoundingClientRect().top, f.offsetWidth, o.clientWidth]"
    )
    assert top >= 0 and width >= 0.95 * room
    with browser.frame("iframe.front"):
        check_page(browser, ".scroll, pre, figure")
        assert browser.run("return document.querySelector('h1').innerText") == title
        assert browser.run("return document.images.length") >= 1
        inside = browser.run("return document.documentElement.offsetHeight")
    assert browser.run("return document.querySelector('iframe.front').offsetHeight") >= inside


def check_everything(browser: Browser, categories: dict[str, list[str]], title: str) -> None:
    """Open all that the menu offers, and all that each category lists."""
    general = ["Workflow", "Statistics", "About"]
    assert browser.wait(MENU) == [*general, *categories]
    for entry in general:
        browser.run(CHOOSE, entry)
        browser.run("document.querySelector('nav nav a').click()")
    check_front(browser, title)
    for category, labels in categories.items():
        browser.run(CHOOSE, category)
        rows = "[...document.querySelectorAll('nav table tbody tr')]"
        assert browser.run(f"return {rows}.map(r => r.cells[0].innerText)") == labels, category
        for number, label in enumerate(labels):
            check_entry(browser, f"{rows}[{number}]", label)
        browser.run("document.querySelector('nav nav a').click()")
    assert browser.errors() == []


def check_entry(browser: Browser, row: str, label: str) -> None:
    """Open a page by its button, and what is said of it by the other."""
    browser.run(f"{row}.querySelectorAll('a')[0].click()")
    browser.wait("return document.querySelectorAll('iframe:not(.front)').length === 1")
    with browser.frame("iframe"):
        browser.wait("return document.readyState === 'complete' && document.body.innerText")
        heading = browser.run("return document.querySelector('h1').innerText")
        words = re.sub(r"^\d+ ", "", label)
        assert heading == words or words == "Front page"
        check_page(browser, ".scroll, figure")
        if words not in ("Front page", "Configuration", "Provenance"):
            # One figure with its caption.
            pictures = browser.run("return document.images.length")
            drawn = browser.run("return document.querySelectorAll('.plot svg').length")
            assert (pictures, drawn) == ((0, 1) if words == EXPLORER else (1, 0))
            assert len(browser.run("return document.querySelector('figcaption').innerText")) > 40
    assert not browser.run(FITS, "nav")


@needs_browser
def test_every_page_of_a_study_opens(one_horizon, browser):
    """One run with all baselines, as the demo; and runs without any."""
    browser.open(one_horizon, 1280)
    title = "A study that only shows that the workflow works"
    check_front(browser, title)
    categories = {
        "Overview": study_labels(["transient"]),
        "Run base": run_labels(["transient"], ["ours", "naive", "full"]),
        "Run estimated": run_labels(["transient"], ["ours"]),
        "Run published-setting": run_labels(["transient"], ["ours"]),
    }
    check_everything(browser, categories, title)


@needs_browser
def test_every_page_of_a_study_with_two_horizons_opens(two_horizons, browser):
    browser.open(two_horizons, 1280)
    horizons = ["transient", SECOND]
    categories = {
        "Overview": study_labels(horizons),
        "Run base": run_labels(horizons, ["ours", "naive", "full"]),
        "Run estimated": run_labels(horizons, ["ours"]),
        "Run published-setting": run_labels(horizons, ["ours"]),
    }
    check_everything(browser, categories, "Two horizons")


@needs_browser
def test_trajectories_are_read_in_the_report(one_horizon, study, browser):
    """As a reader does: open the page, choose, point, and read what direct simulation has given."""
    reference = opened_reference(study)
    browser.open(one_horizon, 1280)
    browser.wait(MENU)
    browser.run(CHOOSE, "Run base")
    browser.run("document.querySelectorAll('nav table tbody tr')[0].querySelector('a').click()")
    browser.wait("return document.querySelectorAll('iframe:not(.front)').length === 1")
    with browser.frame("iframe"):
        browser.wait("return document.querySelector('.plot svg')")
        options = "return [...document.querySelector(`[name=${arguments[0]}]`).options]"
        names = {
            name: browser.run(f"{options}.map(o => o.textContent)", name)
            for name in ("case", "variable", "state")
        }
        assert names == {
            "case": ["transient"],
            "variable": ["magnetisation m", "domain-wall density ρ", "closure 0"],
            "state": ["all", "magnetisation m -0.5", "magnetisation m 0.5"],
        }
        schemes = browser.run("return document.querySelector('fieldset').innerText").split("\n")
        assert schemes == ["Shown:", "direct simulation", "ours", "naive", "full"]
        for name, value in (("variable", 1), ("state", 1)):
            browser.run(
                "const s = document.querySelector(`[name=${arguments[0]}]`);"
                "s.value = arguments[1]; s.dispatchEvent(new Event('change', { bubbles: true }));",
                name,
                value,
            )
        browser.run("document.querySelector('.plot').focus()")
        browser.press("\ue010")  # to the last time
        at = browser.run("return document.querySelector('.at').textContent")
        assert at == "time = 4; initial macrostate: magnetisation m 0.5"
        cells = browser.run(
            "return [...document.querySelector('.read tbody tr').cells].map(c => c.textContent)"
        )
        here = reference[1, :, -1, 1]
        assert cells[0] == "direct simulation"
        assert float(cells[1]) == pytest.approx(here.mean(), rel=1e-3)
        assert float(cells[2]) == pytest.approx(here.std(ddof=1), rel=5e-3)
    assert browser.errors() == []


def opened_reference(study: FinishedStudy) -> np.ndarray:
    """Observables by direct simulation, [initial, replica, time, observable]."""
    (path,) = study.results.glob("stages/reference/*/data.nc")
    return read_dataset(path, ["observables"])["observables"].values


@needs_browser
def test_the_front_page_fits_a_narrow_window(one_horizon, browser):
    browser.open(one_horizon, 800)
    browser.wait("const f = document.querySelector('iframe.front'); return f && f.style.height")
    with browser.frame("iframe.front"):
        check_page(browser, "figure")
    assert browser.errors() == []


def test_the_report_stands_alone(one_horizon):
    text = one_horizon.read_text(encoding="utf-8")
    loads = re.findall(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc\s*=\s*[\"']?\s*(?:https?:)?//[^\"' >]*", text
    )
    loads += re.findall(r"<link\b[^>]*\bhref\s*=\s*[\"']?\s*(?:https?:)?//[^\"' >]*", text)
    loads += re.findall(r"@import\s+(?:url\()?[\"']?(?:https?:)?//[^\"')]*", text)
    assert not loads
    assert "snakemake.wildcards" not in text


def test_a_page_has_one_label(one_horizon):
    """Of several labels Snakemake makes switches, which break on combinations that are missing."""
    text = one_horizon.read_text(encoding="utf-8")
    results = json.loads(re.search(r"var results = (\{.*\});\n", text)[1])
    assert len(results) == 7 + 12 + 10 + 10
    for path, result in results.items():
        assert list(result["labels"]) == ["page"], path
        # A browser shows no longer data: URL in a frame.
        assert len(result["data_uri"]) < 2**21 and Path(path).suffix == ".html", path


def test_every_page_stands_alone(study):
    pages = sorted(study.results.rglob("*.html"))
    assert len(pages) == 3 + 4 + 12 + 10 + 10
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert len(text.encode()) < LARGEST_PAGE
        assert "{{" not in text and "{%" not in text, path
        assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", text), path


def test_the_front_page_tells_a_stranger(study):
    text = (study.results / "overview.html").read_text(encoding="utf-8")
    words = re.sub(r"<(?:style|img)\b.*?>|<[^>]+>", " ", text, flags=re.DOTALL)
    for said in (
        study.config["title"],
        "temperature = 2.5, field = 0.1",
        "60 × 48 = 2,880 sites",
        "20 × 12 = 240 sites",
        "exact model would score",
        "Run published-setting",
        '"covariance_factor": "estimated"',
        "What to change",
        "evolve.patches",
    ):
        assert said in words.replace("&quot;", '"'), said
    # The main figure comes before the table, and the table before the verdicts.
    order = [text.index(part) for part in ("<h1>", "<figure>", "<table>", "<h3>Run base")]
    assert order == sorted(order)


def test_configuration_and_provenance_say_where_results_come_from(study):
    pages = {
        name: re.sub(r"<[^>]+>", "", (study.results / f"{name}.html").read_text(encoding="utf-8"))
        for name in ("configuration", "provenance")
    }
    shown = pages["configuration"].split("</style>")[-1]
    assert "small: [20, 12]" in shown and "covariance_factor: estimated" in shown
    for said in ("snakemake --cores", "UTC", "processor", "macrodyn", "numpy", "run base", "5"):
        assert said in pages["provenance"], said


def test_pages_are_made_again_when_a_caption_changes(copied_study, study, job_counts):
    caption = copied_study.folder / "workflow" / "report" / "markov.rst"
    caption.write_text(
        caption.read_text(encoding="utf-8") + "\nRead it with care.\n", encoding="utf-8"
    )
    done = copied_study.run("--cores", "1", "--configfile", study.config_file, "-n")
    assert done.returncode == 0, done.stdout
    assert job_counts(done.stdout) == {"summarise": 1, "all": 1}
