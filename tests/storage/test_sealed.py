"""Seals: every change of a sealed file is found, whichever bit it is and wherever it was cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macrodyn.storage.errors import StoreError
from macrodyn.storage.sealed import (
    read_sealed_json,
    seal,
    verify,
    write_sealed_json,
)

CONTENT = {"loss": [0.5, 1e-05], "name": "ρ", "nested": {"seed": 3, "none": None}}


def binary(folder: Path) -> Path:
    path = folder / "data.bin"
    path.write_bytes(bytes(range(200)))
    seal(path)
    return path


def text(folder: Path) -> Path:
    path = folder / "data.json"
    write_sealed_json(path, CONTENT)
    return path


FORMS = {"binary": (binary, verify), "json": (text, read_sealed_json)}
forms = pytest.mark.parametrize(("make", "read"), FORMS.values(), ids=FORMS)


@forms
def test_every_flipped_bit_is_found(tmp_path, make, read):
    path = make(tmp_path)
    whole = path.read_bytes()
    read(path)
    for position in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="cannot be read"):
            read(path)


@forms
def test_every_shorter_file_is_refused(tmp_path, make, read):
    path = make(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="cannot be read"):
            read(path)


@forms
@pytest.mark.parametrize("behind", [b"\0", b"\n", b" ", b"more"])
def test_anything_behind_the_seal_is_refused(tmp_path, make, read, behind):
    path = make(tmp_path)
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(StoreError, match="cannot be read"):
        read(path)


@forms
def test_two_sealed_files_in_one_are_refused(tmp_path, make, read):
    path = make(tmp_path)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(StoreError, match="cannot be read"):
        read(path)


@forms
def test_missing_file_is_named(tmp_path, make, read):
    path = tmp_path / "none"
    with pytest.raises(StoreError) as caught:
        read(path)
    assert str(caught.value) == f"{path} is missing: run the same command again"


@forms
def test_folder_in_its_place_is_named(tmp_path, make, read):
    with pytest.raises(StoreError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


@forms
def test_the_way_on_can_be_pasted_into_a_shell(tmp_path, make, read):
    path = tmp_path / "a file; of mine"
    path.write_bytes(b"nothing")
    with pytest.raises(StoreError) as caught:
        read(path)
    assert str(caught.value).endswith(f": rm '{path}', then run the same command again")


def test_large_files_are_verified_in_parts(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 20000)
    seal(path)
    verify(path)
    content = bytearray(path.read_bytes())
    content[3_000_000] ^= 4
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        verify(path)


def test_sealed_json_is_json(tmp_path):
    path = text(tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert len(found.pop("seal")) == 64
    assert found == CONTENT == read_sealed_json(path)


def test_equal_content_gives_equal_bytes(tmp_path):
    first = text(tmp_path).read_bytes()
    assert text(tmp_path).read_bytes() == first


@pytest.mark.parametrize("content", [{}, {"seal": 1}, {"origin": 1, "a": 2}], ids=str)
def test_keys_that_are_added_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match="needs keys other than"):
        write_sealed_json(tmp_path / "a.json", content)
    assert not list(tmp_path.iterdir())


def test_infinite_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_sealed_json(tmp_path / "a.json", {"loss": float("inf")})
    assert not list(tmp_path.iterdir())


def test_json_of_another_stages_folder_is_refused(tmp_path):
    one, other = (tmp_path / "stages" / "closure" / key / "training.json" for key in "ab")
    one, other = (path.parents[1] / (path.parent.name * 12) / path.name for path in (one, other))
    write_sealed_json(one, CONTENT)
    assert read_sealed_json(one) == CONTENT
    other.parent.mkdir()
    other.write_bytes(one.read_bytes())
    with pytest.raises(
        StoreError, match=f"its stage_key is {'a' * 12}, not {'b' * 12}: rm {other}"
    ):
        read_sealed_json(other)
