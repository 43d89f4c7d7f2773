"""The documentation: its site builds without a warning, its links lead on, and it is complete."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import macrodyn
from macrodyn.evaluation import verdict, verdict_horizon, verdict_predicted
from macrodyn.methods.partial_forces import report
from tests.once import shared_folder

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
READ_ON_GITHUB = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "profiles/README.md", *PAGES]
WITHOUT = "the site needs the packages of the extra docs: pip install 'macrodyn[docs]'"


def build(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", *arguments]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [*command, DOCS, target],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site with the notebook as it is written, built once for all processes of the test run."""
    pytest.importorskip("myst_nb", reason=WITHOUT)
    pytest.importorskip("furo", reason=WITHOUT)
    with shared_folder(tmp_path_factory, "site") as base:
        target, printed = base / "site", base / "site.txt"
        if not printed.exists():
            done = build(target, "-D", "nb_execution_mode=off")
            printed.write_text(f"{done.returncode}\n{done.stdout}", encoding="utf-8")
    status, _, said = printed.read_text(encoding="utf-8").partition("\n")
    if status != "0":
        pytest.fail(f"the site does not build without warnings:\n{said[-6000:]}")
    return target


class Page(HTMLParser):
    """Anchors of a built page, what it leads to, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := given.get(key))}
        if (target := given.get("href")) is not None:
            (self.links if tag == "a" else self.loaded).append(target)
        if (target := given.get("src")) is not None:
            self.loaded.append(target)


def test_every_link_of_the_site_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > len(PAGES)
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target.suffix == ".html":
                if unquote(parts.fragment) not in pages[target].anchors:
                    broken.append(f"{path.relative_to(site)}: {link} (no such anchor)")
    assert not broken, "\n".join(broken)


def test_the_site_loads_nothing_from_the_network(site):
    for path in site.rglob("*.html"):
        outside = [link for link in Page(path).loaded if urlsplit(link).netloc]
        assert not outside, f"{path.relative_to(site)} loads {outside}"
    styles = [path for path in (site / "_static").rglob("*.css")]
    assert styles
    for path in styles:
        assert not re.search(
            r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")
        ), path


def test_equations_are_drawn_without_a_script(site):
    text = (site / "theory.html").read_text(encoding="utf-8")
    assert text.count("<math") > 300 and "<mfrac>" in text
    assert "mathjax" not in text.lower() and "$$" not in text


def test_every_public_name_is_in_the_reference(site):
    anchors = set().union(*(Page(path).anchors for path in (site / "api").glob("*.html")))
    missing = {f"macrodyn.{name}" for name in macrodyn.__all__ if name != "__version__"} - anchors
    assert not missing, f"add to docs/api: {', '.join(sorted(missing))}"
    assert "macrodyn.MacroModel.predict" in anchors


def test_every_page_is_built(site):
    built = [site / page.relative_to(DOCS).with_suffix(".html") for page in PAGES]
    assert not [path for path in built if not path.is_file()]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def without_code(text: str) -> str:
    text = re.sub(r"^(```+|~~~+).*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a Markdown file, numbered where they are the same."""
    fences = re.sub(
        r"^(```+|~~~+).*?^\1\s*$",
        "",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", fences, re.MULTILINE):
        name = slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        count = found.get(name, 0)
        found[name] = count + 1
        result.add(f"{name}-{count}" if count else name)
    return result


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a Markdown file that lead to no other site."""
    text = without_code(path.read_text(encoding="utf-8"))
    found = re.findall(r"\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)", text)
    return [link for link in found if not urlsplit(link).scheme]


@pytest.mark.parametrize("path", READ_ON_GITHUB, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_markdown_lead_somewhere(path):
    broken = []
    for link in links(path):
        place, _, anchor = link.partition("#")
        target = (path.parent / unquote(place)).resolve() if place else path
        if not target.exists() or not target.is_relative_to(ROOT):
            broken.append(link)
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            broken.append(f"{link} (no such heading)")
    assert not broken, f"{path.relative_to(ROOT)}: {', '.join(broken)}"


@pytest.mark.parametrize("start", [ROOT / "README.md", DOCS / "index.md"], ids=lambda p: p.name)
def test_every_page_can_be_reached(start):
    reached, waiting = {start}, [start]
    while waiting:
        path = waiting.pop()
        for link in links(path):
            target = (path.parent / unquote(link.partition("#")[0])).resolve()
            if target.suffix == ".md" and target not in reached and target.exists():
                reached.add(target)
                waiting.append(target)
    missing = [str(page.relative_to(ROOT)) for page in PAGES if page not in reached]
    assert not missing, f"no way from {start.name} to {', '.join(missing)}"


def test_the_readme_is_one_screen():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60


def test_the_gallery_has_a_picture_of_each_study():
    shown = {link.split("/")[1] for link in links(DOCS / "gallery.md") if link.endswith(".png")}
    assert shown == {path.parent.name for path in (DOCS / "results").glob("*/README.md")}


# -- What to do when the verdict is bad ----------------------------------------------------------

VERDICT = DOCS / "when-the-verdict-is-bad.md"
LIMITS = {
    "test error": (
        verdict_horizon.EXACT_TIMES,
        verdict_horizon.FAR_TIMES,
        verdict_horizon.BLIND_ERROR,
        verdict_horizon.SMALL_ERROR,
    ),
    "an exact model's score": (verdict_horizon.BLIND_ERROR, verdict_horizon.FAR_TIMES),
    "`naive`": (verdict_horizon.AS_WELL,),
    "spread error": (verdict_horizon.SPREAD_GOOD, verdict_horizon.SPREAD_FAIR),
    "share outside": (verdict_horizon.OUTSIDE_GOOD, verdict_horizon.OUTSIDE_FAIR),
    "worst member": (verdict_horizon.MEMBER_FAIR, verdict_horizon.MEMBER_POOR),
    "residual by": (verdict.RESIDUAL_GOOD, verdict.RESIDUAL_FAIR),
    "variance of the increments": (verdict.COVARIANCE_GOOD, verdict.COVARIANCE_FAIR),
    "covariance factor": (verdict.FACTOR_PERCENT / 100, verdict.FACTOR_ERRORS),
    "variance of a closure": (verdict.ORIGIN_GOOD, verdict.ORIGIN_FAIR),
    "unresolved": (report.UNRESOLVED_GOOD, report.UNRESOLVED_FAIR),
    "condition number": (report.CONDITION_GOOD, report.CONDITION_FAIR),
}


@pytest.mark.parametrize("row", LIMITS)
def test_limits_of_the_verdict_are_those_of_the_code(row):
    rows = re.findall(
        rf"^\| {re.escape(row)}.*$", VERDICT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) == 1
    found = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?(?:e-?\d+)?)( %)?", rows[0])
    numbers = [float(number) / (100 if percent else 1) for number, percent in found]
    for limit in LIMITS[row]:
        assert any(abs(number - limit) < 1e-9 for number in numbers), f"{limit} is not in {rows[0]}"


VERDICTS = [verdict, verdict_horizon, verdict_predicted, report]


@pytest.mark.parametrize("module", VERDICTS, ids=lambda m: m.__name__)
def test_each_key_that_a_verdict_names_is_on_the_page(module):
    text = VERDICT.read_text(encoding="utf-8")
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    keys = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "Advice"
        and isinstance(call.args[0], ast.Constant)
    }
    assert keys
    assert not {key for key in keys if f"`{key}" not in text}


# -- The notebook --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.workflow
def test_the_tutorial_is_computed_as_the_site_is_built(tmp_path):
    """Its cells compare what is learned with direct simulation and with the exact density."""
    pytest.importorskip("myst_nb", reason=WITHOUT)
    pytest.importorskip("furo", reason=WITHOUT)
    done = build(tmp_path / "site", "-D", "nb_execution_mode=force")
    assert done.returncode == 0, done.stdout[-6000:]
    text = (tmp_path / "site" / "tutorial.html").read_text(encoding="utf-8")
    assert "an exact model" in text and "relative squared error of the means:" in text
    pictures = re.findall(r'<img[^>]*src="(_images/[^"]*\.png)"', text)
    assert len(pictures) == 2
    assert all((tmp_path / "site" / picture).is_file() for picture in pictures)
