"""Values are shown as their author wrote them; notations of YAML 1.1 alone are refused."""

from __future__ import annotations

from typing import Any

import pytest

from macrodyn.config.file import ConfigFileError, check_file
from macrodyn.config.load import ConfigError, load_study
from macrodyn.config.text import Document

STUDY = """\
study: s
seed: {seed}
system: {{name: ising, parameters: {{temperature: {temperature}}}}}
sizes: {{small: [8, 6], large: [16, 18]}}
evolve: {{dt: 0.25}}
{more}
runs: {{a: {run}}}
"""


def told(tmp_path, more: str = "", **changes: Any) -> list[str]:
    """What is said of a file, below the first line."""
    path = tmp_path / "a.yaml"
    parts = {"seed": 5, "temperature": 2.5, "run": "{}", "more": more, **changes}
    path.write_text(STUDY.format(**parts), encoding="utf-8")
    try:
        load_study(path)
    except ConfigError as error:
        return [line.strip() for line in str(error).split("\n")[1:]]
    return []


SHOWN = {
    "parameter": (
        {"temperature": "yes"},
        "system.parameters.temperature: must be a number, not yes",
    ),
    "seed": ({"seed": "off"}, "seed: must be a whole number, not off"),
    "capital letters": ({"seed": "TRUE"}, "seed: must be a whole number, not TRUE"),
    "in a run": (
        {"run": "{system: {parameters: {temperature: On}}}"},
        "runs.a.system.parameters.temperature: must be a number, not On",
    ),
    "in a list": (
        {"more": "simulate: {times: [0, no]}"},
        "simulate.times.1: must be a number, not no",
    ),
    "in a range by name": (
        {"more": "simulate: {initial_range: {magnetisation: [no, 1]}}"},
        "simulate.initial_range.magnetisation.0: must be a number, not no",
    ),
    "condition": (
        {"more": "conditions: {temperature: [2, yes]}"},
        "conditions.temperature.1: must be a number, not yes",
    ),
    "published": (
        {"more": "published: {transient: {theirs: y, ours: true}}"},
        "published.transient.theirs: must be a number, not 'y'",
    ),
    "date": (
        {"more": "title: 2024-01-01"},
        "title: must be text, not 2024-01-01: put it in quotes",
    ),
    "hexadecimal": ({"more": "title: 0x1F"}, "title: must be text, not 0x1F: put it in quotes"),
    "of the base, in another run": (
        {"more": "simulate: {groups: 0x0}", "run": "{seed: 3}"},
        "simulate.groups: must be greater than 0, not 0x0",
    ),
    "by an anchor": (
        {"seed": "&a yes", "more": "closure: {steps: *a}"},
        "closure.steps: must be a whole number, not yes",
    ),
    "by a merge key": (
        {"more": "x-short: &s {steps: on}\nclosure: {<<: *s, hidden: 4}"},
        "closure.steps: must be a whole number, not on",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), SHOWN.values(), ids=SHOWN)
def test_value_is_shown_as_written(tmp_path, changes, expected):
    assert expected in told(tmp_path, **changes)


ODD = {
    "base 60": ("temperature", "1:30", "would be 90, a number to the base 60"),
    "base 60, with a fraction": ("temperature", "1:30.5", "would be 90.5, a number to the base 60"),
    "base 8": ("seed", "010", "would be 8, a number to the base 8"),
    "base 8, negative": ("seed", "-010", "would be -8, a number to the base 8"),
    "base 2": ("seed", "0b101", "would be 5, a number to the base 2"),
    "underscore": ("seed", "1_000", "would be 1000, a number in YAML 1.1 alone"),
    "underscore, with a fraction": ("temperature", "2_0.5", "would be 20.5, a number in YAML 1.1"),
}


@pytest.mark.parametrize(("key", "text", "expected"), ODD.values(), ids=ODD)
def test_notation_that_means_something_else_is_refused(tmp_path, key, text, expected):
    (line,) = told(tmp_path, **{key: text})
    path = {"temperature": "system.parameters.temperature"}.get(key, key)
    assert line.startswith(f"{path}: {text} {expected}")
    with pytest.raises(ConfigFileError, match="reads oddly"):
        check_file(tmp_path / "a.yaml")
    assert told(tmp_path, more=f'title: "{text}"') == []


def test_name_in_an_odd_notation_is_refused(tmp_path):
    text = STUDY.format(seed=5, temperature=2.5, run="{}", more="").replace("{a:", "{010:")
    (tmp_path / "b.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"runs\.010: 010 would be 8"):
        load_study(tmp_path / "b.yaml")


@pytest.mark.parametrize("text", ["0", "0.5", "1e-3", "-1.5e+3", "007.5", ".5", "0x1F", "08"])
def test_other_notations_are_left_to_the_models(text):
    assert Document(f"a: [{text}]".encode()).peculiar() == []


def test_odd_numbers_of_the_users_own_keys_do_not_matter(tmp_path):
    assert told(tmp_path, more="x-started: 12:30", run="{x-note: 1_0}") == []


def test_odd_number_of_an_own_key_matters_where_it_is_used(tmp_path):
    (line,) = told(tmp_path, more="x-long: &long 1:30\nclosure: {steps: *long}")
    assert line.startswith("closure.steps: 1:30 would be 90")
    (line,) = told(tmp_path, more="x-long: &long {steps: 1:30}\nclosure: {<<: *long}")
    assert line.startswith("closure.steps: 1:30 would be 90")


def test_keys_for_anchors_are_free(tmp_path):
    more = "x-short: &short {steps: 20}\nclosure: {<<: *short, x-why: [a, test]}"
    assert told(tmp_path, more=more, run="{x-note: 3, dynamics: {<<: {steps: 7}}}") == []
    study = load_study(tmp_path / "a.yaml")
    assert (study.runs["a"].closure.steps, study.runs["a"].dynamics.steps) == (20, 7)


def test_names_that_a_user_chooses_may_begin_like_free_keys(tmp_path):
    more = "evaluate: {horizons: {x-long: {spacing: 1, points: 3}}}"
    text = STUDY.format(seed=5, temperature=2.5, run="{}", more=more).replace("{a:", "{x-a:")
    (tmp_path / "b.yaml").write_text(text, encoding="utf-8")
    (run,) = (runs := load_study(tmp_path / "b.yaml").runs).values()
    assert list(runs) == ["x-a"] and list(run.evaluate.horizons) == ["x-long"]


def test_a_value_of_the_last_file_is_shown(tmp_path):
    first, last = Document(b"seed: yes"), Document(b"seed: on")
    content = {
        "study": "s",
        "seed": True,
        "system": {"name": "ising", "parameters": {"temperature": 2.5}},
        "sizes": {"small": [8, 6], "large": [16, 18]},
        "runs": {"a": None},
    }
    for documents, text in (([first, last], "on"), ([last, first], "yes"), ([], "true")):
        with pytest.raises(ConfigError, match=f"seed: must be a whole number, not {text}$"):
            load_study(content, documents=documents)
    # Given on the command line, it stands in no file.
    with pytest.raises(ConfigError, match=r"not false$"):
        load_study({**content, "seed": False}, documents=[first, last])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), "Yes"),
        (("b", 1), "0x10"),
        (("b", 5), None),
        (("c", "d"), "off"),
        (("c", "e"), None),
        (("c",), None),
        (("none",), None),
        (("word",), None),
    ],
)
def test_text_is_found_by_path(path, expected):
    document = Document(b"{a: Yes, b: [1, 0x10], c: {d: off}, word: yes it is}")
    value = document.content
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError):
            value = None
    assert document.text(path, value) == expected
