"""Models on disk: safetensors weights beside a sealed JSON description, bound by a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from macrodyn.paths import StrPath
from macrodyn.storage.errors import StoreError, refusal, unreadable
from macrodyn.storage.files import atomic_path
from macrodyn.storage.sealed import read_sealed_json, sealed_text

_FORMAT = "macrodyn-model-2"
# Kinds of models by the word in their descriptions: what they are, and what opens them.
_KINDS = {
    "patch-autoencoder": (
        "a closure model (patch autoencoder)",
        "macrodyn.closure.load_autoencoder",
    ),
    "autoencoder": (
        "an autoencoder of coordinates",
        "macrodyn.closure.load_autoencoder(path, Autoencoder)",
    ),
    "modes": (
        "closure variables that are linear modes of coordinates",
        "macrodyn.closure.load_encoder",
    ),
    "descriptors": (
        "closure variables that combine a system's descriptors",
        "macrodyn.closure.load_encoder(path, system)",
    ),
    "latent-ensemble": (
        "a model of the dynamics (ensemble of latent models)",
        "macrodyn.dynamics.Ensemble.load",
    ),
}


class ModelFileError(StoreError):
    """A model's files are missing, damaged, or do not belong together."""


class ModelKindError(ModelFileError, ValueError):
    """A file holds another kind of model than was asked for."""


def check_kind(path: StrPath, metadata: dict[str, Any], wanted: str) -> None:
    """Check that a model is of the kind that shall be opened.

    Args:
        path: Its file.
        metadata: What `load_model` gave beside the tensors.
        wanted: The word for the kind, as its description has it.

    Raises:
        ModelKindError: If it is of another kind; the message says of which, and what opens it.
    """
    found = metadata.get("kind", metadata.get("model"))
    if found == wanted:
        return
    if found in _KINDS:
        held, opener = _KINDS[found]
        what = f"holds {held}, which {opener} opens"
    else:
        what = f"holds a model of the unknown kind {found!r}"
    raise ModelKindError(f"{path} {what}, not {_KINDS[wanted][0]}")


def save_model(path: StrPath, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write a model's tensors and its description, each atomically.

    `path` holds the tensors; `path.with_suffix(".json")` holds the metadata and the SHA-256
    digest of the tensor file, and is sealed itself. An interruption between the two renames leaves
    a pair that `load_model` refuses, never one that it misreads.

    Args:
        path: The tensor file, ending in `.safetensors`.
        tensors: Named tensors of any device; they are stored contiguously.
        metadata: Architecture, scalers and provenance, as plain JSON values.

    Raises:
        ValueError: If `path` does not end in `.safetensors`.
        TypeError: If `metadata` holds a value that JSON cannot express.
        WriteError: If a file cannot be written.
    """
    path = Path(path)
    description = _description_path(path)
    payload = save({name: _storable(tensor) for name, tensor in tensors.items()})
    content = {
        "format": _FORMAT,
        "weights": path.name,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "metadata": metadata,
    }
    text = sealed_text(description, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(payload)
    with atomic_path(description) as temporary:
        temporary.write_bytes(text)


def load_model(path: StrPath) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_model` wrote, and verify that the two files are whole and belong together.

    Args:
        path: The tensor file, ending in `.safetensors`. It is the only file that is opened besides
            its description, whatever names the description holds.

    Returns:
        The tensors, on the CPU, and the metadata.

    Raises:
        ValueError: If `path` does not end in `.safetensors`.
        ModelFileError: If either file is missing or damaged, the digest does not match, or the
            model was made for another stage's folder. The message names the file and says what to
            do.
    """
    path = Path(path)
    description = _description_path(path)
    stored = _read_description(description)
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        raise _refusal(path, "is missing", beside=description) from None
    except OSError as error:
        raise ModelFileError(str(unreadable(path, error))) from error
    if hashlib.sha256(payload).hexdigest() != stored["sha256"]:
        raise _refusal(
            path, f"is damaged or does not belong to {description.name}", beside=description
        )
    try:
        tensors = load(payload)
    except SafetensorError as error:
        raise _refusal(path, f"is not a safetensors file ({error})", beside=description) from None
    return tensors, stored["metadata"]


def _description_path(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise ValueError(f"A model file must end in .safetensors, got {path}")
    return path.with_suffix(".json")


def _storable(tensor: torch.Tensor) -> torch.Tensor:
    # A copy: safetensors refuses tensors that share memory, such as views of one buffer.
    return tensor.detach().to("cpu", copy=True).contiguous()


def _read_description(description: Path) -> dict[str, Any]:
    weights = description.with_suffix(".safetensors")
    try:
        stored = read_sealed_json(description)
        if stored.get("format") != _FORMAT:
            raise refusal(description, f"is not a model description ({_FORMAT})")
        lacking = sorted({"weights", "sha256", "metadata"} - stored.keys())
        if lacking:
            raise refusal(description, f"lacks {', '.join(lacking)}")
        if stored["weights"] != weights.name:
            raise refusal(description, f"describes {stored['weights']!r}, not {weights.name}")
    except StoreError as error:
        raise _refusal(description, error.problem, beside=weights) from error
    return stored


def _refusal(path: Path, problem: str, *, beside: Path) -> ModelFileError:
    return ModelFileError(str(refusal(path, problem, beside)))
