"""Reading a configuration: plain values only, and no more of them than a study can need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macrodyn.config.file import MOST_BYTES, ConfigFileError, check_file, check_size, read_config
from macrodyn.config.load import ConfigError, load_study


def multiplied(levels: int, each: int = 9) -> str:
    """A list of lists of lists, written down once each: the billion laughs."""
    lines = [f"a0: &a0 [{', '.join(['lol'] * each)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * each)}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_plain_values_and_aliases_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("times: &t [0, 1.5, 2]\nagain: *t\nname: ρ\nnone:\n", encoding="utf-8")
    expected = {"times": [0, 1.5, 2], "again": [0, 1.5, 2], "name": "ρ", "none": None}
    assert read_config(path).content == expected


WRONG = {
    "object": ("a: !!python/object/apply:os.system ['touch made']", "not valid YAML"),
    "name": ("a: !!python/name:os.system", "not valid YAML"),
    "multiplied": (multiplied(10), "stands for"),
    "itself": ("a: &a [1, *a]", "contains itself"),
    "itself in a mapping": ("a: &a {b: {c: *a}}", "contains itself"),
    "deep": ("a: " + "[" * 60 + "]" * 60, "50 levels"),
    "very deep": ("a: " + "[" * 20000 + "]" * 20000, "nested too deeply"),
    "chain": (
        "\n".join(["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60)]),
        "50",
    ),
    "binary": ("a: \0", "not valid YAML"),
    "date": ("a: 2025-99-99", "not valid YAML"),
    "large": ("a: " + "x" * MOST_BYTES, "bytes"),
}


@pytest.mark.parametrize(("text", "reason"), WRONG.values(), ids=WRONG)
def test_what_no_study_needs_is_refused(tmp_path, monkeypatch, text, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigFileError, match=reason) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    # A study says the same.
    with pytest.raises(ConfigError, match=reason):
        load_study(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


def test_undecodable_text_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigFileError, match="not valid YAML"):
        read_config(path)


def test_mapping_that_another_program_has_read_is_checked_as_well():
    part: list = ["x"] * 10
    for _ in range(8):
        part = [part] * 10
    with pytest.raises(ConfigError, match=r"a\.yaml stands for 1\.1e\+09 values"):
        load_study({"study": "a", "title": part}, where="a.yaml")
    check_size({"study": "a", "runs": {"b": {}}})


def test_what_only_a_template_engine_runs_is_an_unknown_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(
        "__use_yte__: true\n?__import__('os').mkdir('made'): 1\nstudy: a\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="__use_yte__: unknown key"):
        load_study(path)
    assert not (tmp_path / "made").exists()


TWICE = {
    "two runs of one name": ("runs:\n  a: {seed: 1}\n  b:\n  a: {seed: 2}\n", ["4: a", "2"]),
    "a section twice": ("closure: {}\nseed: 1\nclosure: {}\n", ["3: closure", "1"]),
    "with and without quotes": ("a: 1\n'a': 2\n", ["2: a", "1"]),
    "on one line": ("a: {dt: 1, dt: 2}\n", ["1: dt", "1"]),
    "the same value": ("a: 1\na: 1\n", ["2: a", "1"]),
    "two ways to write one number": ("a: {1: x, 0x1: y}\n", ["1: 0x1", "1"]),
    "in a list": ("a:\n- b: 1\n  b: 2\n", ["3: b", "2"]),
    "in a part with a name": ("a: &a\n  b: 1\n  b: 2\nc: *a\n", ["3: b", "2"]),
    "beside a merge": ("a: &a {b: 1}\nc:\n  <<: *a\n  d: 1\n  d: 2\n", ["5: d", "4"]),
    "in JSON": ('{"a": 1,\n "a": 2}', ["2: a", "1"]),
}


def told(key: str, first: str) -> str:
    return f"  line {key} stands in line {first} already: keep one of the two, or rename one"


@pytest.mark.parametrize(("text", "where"), TWICE.values(), ids=TWICE)
def test_key_that_stands_twice_is_refused(tmp_path, text, where):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    expected = f"{path} has a key twice in one mapping:\n{told(*where)}"
    for read in (read_config, check_file, load_study):
        with pytest.raises(ValueError, match="twice") as caught:
            read(path)
        assert str(caught.value) == expected


def test_all_keys_that_stand_twice_are_told(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: 1, b: 2}\nc: 1\nc: 2\nc: 3\n", encoding="utf-8")
    with pytest.raises(ConfigFileError) as caught:
        read_config(path)
    assert str(caught.value).splitlines()[1:] == [
        told("1: b", "1"),
        told("3: c", "2"),
        told("4: c", "2"),
    ]


ONCE = {
    "a merged key is overridden": ("a: &a {b: 1, c: 1}\nd: {<<: *a, b: 2}\n", {"b": 2, "c": 1}),
    "two parts are merged": (
        "a: [&a {b: 1}, &b {b: 2, c: 3}]\nd: {<<: [*a, *b]}",
        {"b": 1, "c": 3},
    ),
    "a merged part merges": (
        "a: {x: &a {<<: &z {b: 1, c: 1}, b: 2}}\nd: {<<: *a, c: 5}\n",
        {"b": 2, "c": 5},
    ),
    "equal keys of two mappings": ("a: {b: 1}\nd: {b: 2}\n", {"b": 2}),
    "a number and its text": ("d: {1: x, '1': y}\n", {1: "x", "1": "y"}),
}


@pytest.mark.parametrize(("text", "expected"), ONCE.values(), ids=ONCE)
def test_merged_keys_do_not_count_as_given_twice(tmp_path, text, expected):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_config(path).content["d"] == expected
    check_file(path)


def test_what_another_program_has_read_passes_unless_a_key_stands_twice(tmp_path):
    files = {"tabs.json": '{\n\t"a": 1}', "broken.yaml": "a: [", "text.yaml": "\xff"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
        check_file(tmp_path / name)
    assert json.loads(files["tabs.json"]) == {"a": 1}
    check_file(tmp_path / "missing.yaml")
    check_file(Path(tmp_path))
