"""Models on disk: round trips are exact, and damaged or mismatched files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from macrodyn.storage.models import ModelFileError, load_model, save_model
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

METADATA = {
    "architecture": {"kind": "mlp", "layers": [3, 4]},
    "scalers": {"mean": [0.1, 1e-300], "scale": [1 / 3, 2.0]},
    "provenance": {"seed": 7, "commit": None},
}


def make_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(4, 6, generator=generator)
    return {
        "float32": base,
        "transposed": base.T,
        "row": base[1],
        "float64": base.double() / 3,
        "integer": torch.tensor([1, -2, 3]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "closure.safetensors"
    save_model(path, make_tensors(), METADATA)
    return path


def test_round_trip_is_identical(saved: Path) -> None:
    tensors, metadata = load_model(saved)
    expected = make_tensors()
    assert metadata == METADATA
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype, name
        assert torch.equal(tensors[name], tensor), name


def test_only_the_two_files_remain(saved: Path) -> None:
    names = sorted(path.name for path in saved.parent.iterdir())
    assert names == ["closure.json", "closure.safetensors"]


def test_saving_twice_gives_the_same_bytes(saved: Path) -> None:
    first = saved.read_bytes(), saved.with_suffix(".json").read_bytes()
    save_model(saved, make_tensors(), METADATA)
    assert (saved.read_bytes(), saved.with_suffix(".json").read_bytes()) == first


def test_failed_save_keeps_the_previous_model(saved: Path) -> None:
    with pytest.raises(TypeError):
        save_model(saved, {"other": torch.ones(2)}, {"not json": object()})
    assert load_model(saved)[1] == METADATA
    assert len(list(saved.parent.iterdir())) == 2


def test_not_a_number_in_the_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_model(tmp_path / "a.safetensors", {}, {"scale": float("nan")})
    assert not list(tmp_path.iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def of_another_kind(path: Path) -> None:
    write_sealed_json(path, {"metadata": {}})


def edit_by_hand(path: Path) -> None:
    path.write_text(
        path.read_text(encoding="utf-8").replace('"seed": 7', '"seed": 8'), encoding="utf-8"
    )


def change(path: Path, **keys) -> None:
    """Write a description again, sealed, with other values."""
    stored = {**read_sealed_json(path), **keys}
    write_sealed_json(path, {key: value for key, value in stored.items() if value is not None})


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        pytest.param(".safetensors", Path.unlink, id="weights-missing"),
        pytest.param(".safetensors", truncate, id="weights-truncated"),
        pytest.param(".safetensors", flip_one_bit, id="weights-bit-flipped"),
        pytest.param(".safetensors", lambda path: path.write_bytes(b""), id="weights-empty"),
        pytest.param(".json", Path.unlink, id="description-missing"),
        pytest.param(".json", truncate, id="description-truncated"),
        pytest.param(".json", of_another_kind, id="description-of-another-kind"),
        pytest.param(
            ".json", lambda path: change(path, sha256=None), id="description-without-digest"
        ),
        pytest.param(".json", edit_by_hand, id="description-edited"),
        pytest.param(
            ".json",
            lambda path: change(path, weights="../../etc/passwd"),
            id="description-of-a-file-elsewhere",
        ),
        pytest.param(
            ".json",
            lambda path: change(path, sha256="0" * 64),
            id="description-of-other-weights",
        ),
        pytest.param(".json", lambda path: path.write_bytes(b"\xff\xfe"), id="description-binary"),
    ],
)
def test_damage_is_refused_naming_the_file(saved: Path, suffix: str, damage) -> None:
    damaged = saved.with_suffix(suffix)
    damage(damaged)
    with pytest.raises(ModelFileError) as caught:
        load_model(saved)
    message = str(caught.value)
    assert str(damaged) in message
    assert message.endswith(", then run the same command again")
    _, _, command = message.rpartition("rm ")
    assert str(saved) in command and str(saved.with_suffix(".json")) in command


def test_weights_of_another_model_are_refused(saved: Path) -> None:
    other = saved.with_name("other.safetensors")
    save_model(other, {"float32": torch.ones(2)}, METADATA)
    saved.write_bytes(other.read_bytes())
    with pytest.raises(ModelFileError, match=r"closure\.safetensors .* does not belong"):
        load_model(saved)


@pytest.mark.parametrize("function", [lambda path: save_model(path, {}, {}), load_model])
def test_other_suffixes_are_refused(tmp_path: Path, function) -> None:
    with pytest.raises(ValueError, match=r"\.safetensors"):
        function(tmp_path / "model.pt")


def folder(root: Path, stage: str, key: str) -> Path:
    return root / "stages" / stage / key / "model.safetensors"


@pytest.mark.parametrize(
    ("stage", "key", "reason"),
    [
        ("closure", "b" * 12, "its stage_key is aaaaaaaaaaaa, not bbbbbbbbbbbb"),
        ("dynamics", "a" * 12, "its stage is closure, not dynamics"),
    ],
)
def test_model_of_another_stages_folder_is_refused(
    tmp_path: Path, stage: str, key: str, reason: str
) -> None:
    one, other = folder(tmp_path, "closure", "a" * 12), folder(tmp_path, stage, key)
    save_model(one, make_tensors(), METADATA)
    load_model(one)
    other.parent.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        other.with_suffix(suffix).write_bytes(one.with_suffix(suffix).read_bytes())
    with pytest.raises(ModelFileError, match=reason):
        load_model(other)


def test_model_without_an_origin_is_refused_in_a_stages_folder(saved: Path, tmp_path: Path) -> None:
    path = folder(tmp_path, "closure", "a" * 12)
    path.parent.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        text = saved.with_suffix(suffix).read_bytes()
        path.with_suffix(suffix).write_bytes(text)
    with pytest.raises(ModelFileError, match="does not say for which stage"):
        load_model(path)


def test_model_can_be_taken_out_of_its_stages_folder(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "closure", "a" * 12), tmp_path / "model.safetensors"
    save_model(one, make_tensors(), METADATA)
    for suffix in (".safetensors", ".json"):
        other.with_suffix(suffix).write_bytes(one.with_suffix(suffix).read_bytes())
    assert load_model(other)[1] == METADATA
