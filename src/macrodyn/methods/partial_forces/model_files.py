"""Trained models of partial forces on disk; see `macrodyn.model_files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macrodyn.closure.encoders import load_encoder
from macrodyn.config.models import RunConfig
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.methods.partial_forces.model import ForceModel
from macrodyn.methods.partial_forces.model_card import facts, merits
from macrodyn.model_files import described_run, trained_system, write_model
from macrodyn.paths import StrPath
from macrodyn.systems import ForceSystem

PLACES = {"model": "dynamics", "encoder": "closure"}


def describe(
    study: str, run: str, config: RunConfig, metrics: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What `build` makes the model of a run of.

    Args:
        study: Name of the study.
        run: Name of the run.
        config: Its configuration.
        metrics: Content of its metrics.json; None if it was not evaluated.
    """
    given: Any = config
    told = described_run(study, run, given, None if metrics is None else merits(metrics))
    told["made_from"]["latent_model"] = given.dynamics.model
    return told | {
        "size": list(given.size),
        "step": given.evaluate.step or given.forecast_times.spacing,
    }


def build(content: Mapping[str, Any], files: Mapping[str, Path], where: str) -> ForceModel:
    """Make a model of its description and its files.

    Args:
        content: As `describe` gives it, or as it stands in a model's folder.
        files: Its files, by their place in a folder of its own.
        where: Where it is from, for messages.

    Raises:
        ModelError: If its system cannot be imported, or is none of partial forces.
    """
    system = trained_system(content, files, where, ForceSystem)  # type: ignore[type-abstract]
    return ForceModel(
        ensemble=Ensemble.load(files["dynamics/model.safetensors"]),
        encoder=load_encoder(files["closure/model.safetensors"], system),
        system=system,
        size=tuple(content["size"]),
        step=float(content["step"]),
        origin=dict(content["made_from"]),
        files=dict(files),
    )


def save(model: ForceModel, folder: StrPath, *, identity: str = "") -> Path:
    """See `ForceModel.save`.

    Args:
        model: The model.
        folder: Where to write it.
        identity: Key of the stage that writes it; '' for a user's copy.
    """
    content = {"size": list(model.size), "step": model.step, "facts": facts(model)}
    return write_model(model, folder, content, identity=identity)
