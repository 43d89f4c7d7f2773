"""Trained models of partial evolution on disk; see `macrodyn.model_files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.models import RunConfig
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation.conformal import Calibration
from macrodyn.model import MacroModel
from macrodyn.model_card import facts, merits
from macrodyn.model_files import described_run, trained_system, write_model
from macrodyn.paths import StrPath
from macrodyn.systems import PatchSystem

PLACES = {"model/ours": "dynamics", "closure": "closure"}


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
    return told | {
        "large": list(given.sizes.large),
        "patch": list(given.patch),
        "features": list(given.closure.features),
        "conditions": sorted(given.conditions),
    }


def build(content: Mapping[str, Any], files: Mapping[str, Path], where: str) -> MacroModel:
    """Make a model of its description and its files.

    Args:
        content: As `describe` gives it, or as it stands in a model's folder.
        files: Its files, by their place in a folder of its own.
        where: Where it is from, for messages.

    Raises:
        ModelError: If its system cannot be imported, or is none of partial evolution.
    """
    closure, _ = load_autoencoder(files["closure/model.safetensors"])
    return MacroModel(
        ensemble=Ensemble.load(files["dynamics/model.safetensors"]),
        closure=closure,
        system=trained_system(content, files, where, PatchSystem),  # type: ignore[type-abstract]
        large=tuple(content["large"]),
        patch=tuple(content["patch"]),
        features=tuple(content["features"]),
        conditions=tuple(content["conditions"]),
        origin=dict(content["made_from"]),
        files=dict(files),
        calibrations=tuple(map(Calibration.from_dict, content.get("bands", ()))),
    )


def save(model: MacroModel, folder: StrPath, *, identity: str = "") -> Path:
    """See `MacroModel.save`.

    Args:
        model: The model.
        folder: Where to write it.
        identity: Key of the stage that writes it; '' for a user's copy.
    """
    content = {
        "large": list(model.large),
        "patch": list(model.patch),
        "features": list(model.features),
        "conditions": list(model.conditions),
        "facts": facts(model),
        "bands": [one.as_dict() for one in model.calibrations],
    }
    return write_model(model, folder, content, identity=identity)
