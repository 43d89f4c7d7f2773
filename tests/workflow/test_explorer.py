"""The figure of trajectories in a browser: what is chosen is shown, and values are the data's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrodyn.evaluation.explorer import ExplorerCase, explorer, pooled_curves, trajectory_data
from macrodyn.evaluation.pages import page

from .browser import CHROMIUM, DRIVER, Browser, chromium

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no browser to open the figure in: install chromium and chromium-driver",
    ),
]
TIME = np.arange(41) * 0.5
INITIAL = (-0.5, 0.0, 0.5)
VARIABLES = ("magnetisation $m$", r"density $\rho$", "closure 0")
HOSTILE = '</script><b id=bad>early & "late"'


def trajectories(rate: float, members: int, seed: int, variables: int) -> np.ndarray:
    """Means of known form with noise, [member, initial, replica, time, variable]."""
    random = np.random.default_rng(seed)
    decay = np.exp(-rate * TIME)
    clean = np.stack(
        [np.outer(INITIAL, decay), np.outer([1, 2, 3], 1 - decay), np.outer(INITIAL, TIME)]
    )
    mean = np.moveaxis(clean, 0, -1)[None, :, None, :, :variables]
    members_off = 0.02 * random.normal(size=(members, 1, 1, 1, variables))
    return mean + members_off + 0.1 * random.normal(size=(members, 3, 6, 41, variables))


DIRECT = trajectories(0.2, 1, 0, 2)
OURS = trajectories(0.25, 4, 1, 3)
NAIVE = trajectories(0.5, 4, 2, 3)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    curves = {
        "direct": pooled_curves(DIRECT, ddof=1),
        "ours": pooled_curves(OURS),
        "naive": pooled_curves(NAIVE),
    }
    cases = [
        ExplorerCase(
            name=name, time=TIME, states=[f"m {m:g}" for m in INITIAL], curves=curves, replicas=6
        )
        for name in ("transient", HOSTILE)
    ]
    data = trajectory_data(
        cases,
        VARIABLES,
        truth="direct",
        schemes={"direct": "direct simulation", "ours": "ours", "naive": HOSTILE},
        state="initial macrostate",
    )
    path = tmp_path_factory.mktemp("explorer") / "figure.html"
    path.write_text(page("Figure", explorer(data, "<p>Caption</p>")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(started: Browser, file: Path) -> Iterator[Browser]:
    """The figure alone, from its file; at the end nothing was wrong, and nothing was asked for."""
    started.open(file, 1100, 1100)
    yield started
    assert started.errors() == []
    assert started.run("return performance.getEntriesByType('resource').length") == 0


def choose(browser: Browser, name: str, text: str) -> None:
    """Choose an option by its text, as a user's choice is told to the page."""
    browser.run(
        "const s = document.querySelector(`select[name=${arguments[0]}]`);"
        "const o = [...s.options].find(o => o.textContent === arguments[1]);"
        "s.value = o.value; s.dispatchEvent(new Event('change', { bubbles: true }));",
        name,
        text,
    )


def toggle(browser: Browser, number: int) -> None:
    browser.run("document.querySelectorAll('[name=scheme]')[arguments[0]].click()", number)


def heading(browser: Browser) -> str:
    return browser.run("return document.querySelector('.explorer h2').textContent")


def curves(browser: Browser) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('path.curve')].map(p => p.dataset.scheme)"
    )


def ticks(browser: Browser) -> list[float]:
    """Numbers along the axis of time."""
    texts = browser.run(
        "return [...document.querySelectorAll('.plot text[text-anchor=middle]')]"
        ".map(t => t.textContent)"
    )
    assert texts.pop() == "time"
    return [float(text.replace("\u2212", "-")) for text in texts]


def frame(browser: Browser) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of where curves are drawn, in the window."""
    box = browser.run(
        "const b = document.querySelector('.plot path.axis').getBoundingClientRect();"
        "return [b.left, b.right, b.top, b.bottom]"
    )
    return tuple(box)


def point_at(browser: Browser, share: float, height: float = 0.5) -> None:
    """Point at a place of the frame, by its shares of width and height."""
    left, right, top, bottom = frame(browser)
    at = (left + share * (right - left), top + height * (bottom - top))
    browser.drag(at, press=False)


def read(browser: Browser) -> dict[str, list[float | None]]:
    """What the table says at the cursor: mean, noise and members' spread by scheme."""
    rows = browser.run(
        "return [...document.querySelectorAll('.read tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    return {
        name: [None if text == "\u2013" else float(text.replace("\u2212", "-")) for text in texts]
        for name, *texts in rows
    }


def expected(z: np.ndarray, state: int, time: int, variable: int) -> list[float]:
    here = z[:, state, :, time, variable]
    spread = np.sqrt(here.var(axis=1, ddof=int(len(z) == 1)).mean())
    return [here.mean(), spread, here.mean(axis=1).std()]


def check_values(found: list[float | None], z: np.ndarray, *where: int) -> None:
    wanted: list[Any] = expected(z, *where)
    if len(z) == 1:
        assert found.pop() is None
    # As rounded in the file and in the table.
    np.testing.assert_allclose(found, wanted[: len(found)], atol=2e-4, rtol=5e-4)


def test_values_under_the_pointer_are_those_of_the_data(browser):
    choose(browser, "state", "m -0.5")
    point_at(browser, 0.25)
    found = read(browser)
    assert list(found) == ["direct simulation", "ours"]
    check_values(found["direct simulation"], DIRECT, 0, 10, 0)
    check_values(found["ours"], OURS, 0, 10, 0)
    said = browser.run("return document.querySelector('.at').textContent")
    assert said == "time = 5; initial macrostate: m -0.5"
    choose(browser, "state", "m 0.5")
    choose(browser, "variable", "density ρ")
    assert heading(browser) == "density ρ; transient; initial macrostate: m 0.5"
    point_at(browser, 0.5)
    check_values(read(browser)["ours"], OURS, 2, 20, 1)
    check_values(read(browser)["direct simulation"], DIRECT, 2, 20, 1)


def test_of_all_states_the_nearest_is_read(browser):
    assert heading(browser).endswith("all 3") and curves(browser) == ["direct"] * 3 + ["ours"] * 3
    point_at(browser, 0, 0.1)
    check_values(read(browser)["ours"], OURS, 2, 0, 0)
    point_at(browser, 0, 0.9)
    check_values(read(browser)["ours"], OURS, 0, 0, 0)


def test_schemes_are_shown_and_hidden(browser):
    choose(browser, "state", "m 0")
    assert curves(browser) == ["direct", "ours"]
    toggle(browser, 2)
    assert curves(browser) == ["direct", "ours", "naive"]
    point_at(browser, 0.5)
    check_values(read(browser)[HOSTILE], NAIVE, 1, 20, 0)
    toggle(browser, 0)
    toggle(browser, 1)
    assert curves(browser) == ["naive"] and list(read(browser)) == [HOSTILE]
    toggle(browser, 2)
    assert curves(browser) == [] and read(browser) == {}


def test_a_drag_zooms_and_a_reset_shows_all(browser):
    assert ticks(browser)[0] == 0 and ticks(browser)[-1] == 20
    left, right, top, bottom = frame(browser)
    width, height = right - left, bottom - top
    middle = top + height / 2
    browser.drag(
        (left + 0.25 * width, middle), (left + 0.4 * width, middle), (left + width / 2, middle)
    )
    assert 5 <= ticks(browser)[0] and ticks(browser)[-1] <= 10
    # What is pointed at now is within.
    point_at(browser, 0.5)
    assert "time = 7.5;" in browser.run("return document.querySelector('.at').textContent")
    browser.run("document.querySelector('[name=reset]').click()")
    assert (ticks(browser)[0], ticks(browser)[-1]) == (0, 20)
    # A box zooms both axes.
    tall = browser.run("return document.querySelector('path.band').getBBox().height")
    browser.drag(
        (left + 10, top + 0.4 * height),
        (left + 99, top + 0.5 * height),
        (left + 300, top + 0.6 * height),
    )
    assert browser.run("return document.querySelector('path.band').getBBox().height") > 3 * tall
    browser.run("document.querySelector('[name=reset]').click()")
    for name, shorter in (("in", True), ("out", False)):
        browser.run(f"document.querySelector('[name={name}]').click()")
        assert (ticks(browser)[-1] < 20) == shorter


def test_keys_do_what_the_pointer_does(browser):
    choose(browser, "state", "m 0.5")
    browser.run("document.querySelector('.plot').focus()")
    browser.press("\ue014", "\ue014", "\ue014")  # to the right
    check_values(read(browser)["ours"], OURS, 2, 2, 0)
    browser.press("\ue012")
    check_values(read(browser)["ours"], OURS, 2, 1, 0)
    browser.press("\ue010")  # to the end
    check_values(read(browser)["ours"], OURS, 2, 40, 0)
    browser.press("+", "+")
    assert ticks(browser)[0] >= 15
    browser.press("0")
    assert ticks(browser)[0] == 0
    # Every control is reached by its key, in order, and says what it is.
    browser.run("document.querySelector('select').focus()")
    reached = []
    for _ in range(12):
        reached.append(
            browser.run(
                "const a = document.activeElement;return a.name || a.className || a.tagName"
            )
        )
        browser.press("\ue004")
    zooms = ["in", "out", "reset"]
    assert reached == ["case", "variable", "state", "view", "band", *zooms, *["scheme"] * 3, "plot"]
    assert browser.run(
        "return [...document.querySelectorAll('select, input')]"
        ".every(c => c.labels.length === 1 && c.labels[0].textContent.trim())"
    )


def test_what_has_no_direct_simulation_is_predicted_alone(browser):
    choose(browser, "view", "difference of means")
    choose(browser, "state", "m 0.5")
    point_at(browser, 0.5)
    difference = expected(OURS, 2, 20, 0)[0] - expected(DIRECT, 2, 20, 0)[0]
    assert read(browser)["ours"][0] == pytest.approx(difference, abs=2e-4)
    choose(browser, "variable", "closure 0")
    assert curves(browser) == ["ours"]
    assert heading(browser) == "closure 0; transient; initial macrostate: m 0.5"
    assert "no direct simulation of closure 0" in browser.run(
        "return document.querySelector('.help').textContent"
    )
    point_at(browser, 0.5)
    check_values(read(browser)["ours"], OURS, 2, 20, 2)


def test_bands_are_of_what_is_chosen(browser):
    choose(browser, "state", "m 0")
    # A box keeps the scale of both axes.
    left, right, top, bottom = frame(browser)
    browser.drag((left, top), (left + 99, bottom - 9), (right, bottom))
    measure = "return document.querySelector('.band[data-scheme=ours]').getBBox().height"
    heights = {}
    for band in ("total", "noise", "members"):
        choose(browser, "band", f"±1 std, {band}")
        heights[band] = browser.run(measure)
    assert heights["total"] >= heights["noise"] > 1.5 * heights["members"] > 0
    choose(browser, "band", "none")
    assert browser.run("return document.querySelectorAll('path.band').length") == 0


def test_text_of_users_is_text(browser):
    choose(browser, "case", HOSTILE)
    assert HOSTILE in heading(browser)
    assert browser.run("return document.getElementById('bad')") is None


@pytest.mark.parametrize("width", [360, 800])
def test_it_fits_any_window(browser, file, width):
    browser.open(file, width, 1200)
    wide = browser.wait("return document.querySelector('.plot svg')?.clientWidth")
    assert width * 0.8 < wide < width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    # Letters are as large as ever, and none lies outside.
    assert browser.run(
        "const s = document.querySelector('.plot svg').getBoundingClientRect();"
        "return [...document.querySelectorAll('.plot text')].every(t => {"
        "const b = t.getBoundingClientRect();"
        "return b.height > 10 && b.left >= s.left && b.right <= s.right + 0.5})"
    )
