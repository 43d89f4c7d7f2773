"""Models on disk: safetensors weights beside a JSON description, bound by a digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from macrodyn.storage.files import atomic_path

_FORMAT = "macrodyn-model-1"


class ModelFileError(RuntimeError):
    """A model's files are missing, damaged, or do not belong together."""


def save_model(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write a model's tensors and its description, each atomically.

    `path` holds the tensors; `path.with_suffix(".json")` holds the metadata and the SHA-256
    digest of the tensor file. An interruption between the two renames leaves a pair that
    `load_model` refuses, never one that it misreads.

    Args:
        path: The tensor file, ending in `.safetensors`.
        tensors: Named tensors of any device; they are stored contiguously.
        metadata: Architecture, scalers and provenance, as plain JSON values.

    Raises:
        ValueError: If `path` does not end in `.safetensors`.
        TypeError: If `metadata` holds a value that JSON cannot express.
    """
    description = _description_path(path)
    payload = save({name: _storable(tensor) for name, tensor in tensors.items()})
    text = json.dumps(
        {
            "format": _FORMAT,
            "weights": path.name,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "metadata": metadata,
        },
        indent=2,
        sort_keys=True,
        allow_nan=False,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(payload)
    with atomic_path(description) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_model` wrote, and verify that the two files are whole and belong together.

    Args:
        path: The tensor file, ending in `.safetensors`.

    Returns:
        The tensors, on the CPU, and the metadata.

    Raises:
        ValueError: If `path` does not end in `.safetensors`.
        ModelFileError: If either file is missing or damaged, or the digest does not match. The
            message names the file and says what to do.
    """
    description = _description_path(path)
    stored = _read_description(description)
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        raise _refusal(path, "is missing", beside=description) from None
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
        stored = json.loads(description.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _refusal(description, "is missing", beside=weights) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _refusal(description, f"is damaged or truncated ({error})", beside=weights) from None
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise _refusal(description, f"is not a model description ({_FORMAT})", beside=weights)
    missing = sorted({"sha256", "metadata"} - stored.keys())
    if missing:
        raise _refusal(description, f"lacks {', '.join(missing)}", beside=weights)
    return stored


def _refusal(path: Path, problem: str, *, beside: Path) -> ModelFileError:
    return ModelFileError(
        f"Model file {path} {problem}. Delete it and {beside.name} beside it, and run again."
    )
