"""Reading a configuration: plain values only, and no more of them than a study can need."""

from __future__ import annotations

import pytest

from macrodyn.config_file import MOST_BYTES, ConfigFileError, check_size, read_config
from macrodyn.study import ConfigError, load_study


def multiplied(levels: int, each: int = 9) -> str:
    """A list of lists of lists, written down once each: the billion laughs."""
    lines = [f"a0: &a0 [{', '.join(['lol'] * each)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * each)}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_plain_values_and_aliases_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("times: &t [0, 1.5, 2]\nagain: *t\nname: ρ\nnone:\n")
    expected = {"times": [0, 1.5, 2], "again": [0, 1.5, 2], "name": "ρ", "none": None}
    assert read_config(path) == expected


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
    path.write_text(text)
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
    path.write_text("__use_yte__: true\n?__import__('os').mkdir('made'): 1\nstudy: a\n")
    with pytest.raises(ConfigError, match="__use_yte__: unknown key"):
        load_study(path)
    assert not (tmp_path / "made").exists()
