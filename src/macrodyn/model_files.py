"""Trained models on disk: found among the results of a study, or in a folder of their own."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import load_study
from macrodyn.config.models import RunConfig
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation.conformal import Calibration
from macrodyn.model import MacroModel, ModelError
from macrodyn.model_card import card, facts, merits
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import model_written
from macrodyn.pipeline.planner import PREPARED, RunPlan, plan_study
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.systems import PatchSystem, system_class
from macrodyn.systems.origin import system_origin
from macrodyn.systems.registry import UnknownSystemError, system_version

_FILE = "model.json"
_KIND = "macrodyn-trained-model"
# Places in a model's folder, by the role of the stage whose files they are.
_PLACES = {"model/ours": "dynamics", "closure": "closure"}


def load(path: StrPath, run: str | None = None) -> MacroModel:
    """Read a trained model.

    Args:
        path: A folder that `MacroModel.save` or a study wrote, such as
            ``results/ising/small-16/model``; or the results of a study, such as ``results/ising``.
        run: The run whose model it is, of a study's results; not needed if there is one only.

    Raises:
        ModelError: If there is no such model, it is not trained yet, its method has none, or its
            system cannot be imported here.
        StoreError: If a file is damaged.
    """
    folder = Path(path)
    if (folder / _FILE).is_file():
        return _read(folder)
    if (folder / "study.json").is_file():
        return _of_study(folder, run)
    raise ModelError(
        f"{folder} is neither a model nor the results of a study: name a folder with {_FILE}, or "
        "one with study.json, such as results/ising"
    )


def _read(folder: Path) -> MacroModel:
    content = read_sealed_json(folder / _FILE)
    if content.get("kind") != _KIND:
        raise ModelError(f"{folder / _FILE} describes no trained model of macrodyn")
    files = {place: folder / place for place in content["files"]}
    if missing := [place for place, path in files.items() if not path.is_file()]:
        raise ModelError(f"{folder / missing[0]} is missing: copy the model's folder as a whole")
    return build(content, files, str(folder))


def _of_study(folder: Path, run: str | None) -> MacroModel:
    content = json.loads((folder / "study.json").read_text(encoding="utf-8"))["config"]
    study = load_study(content, str(folder / "study.json"), check_systems=False)
    plans = plan_study(study)
    if run is None and len(plans) > 1:
        raise ModelError(f"{folder} has several runs: name one of {', '.join(plans)}")
    name = next(iter(plans)) if run is None else run
    if name not in plans:
        raise ModelError(f"{folder} has no run {name!r}: name one of {', '.join(plans)}")
    plan = plans[name]
    if plan.trained is None or not _PLACES.keys() <= plan.roles.keys():
        raise ModelError(
            f"run {name} is of the method {plan.config.method}: macrodyn.load reads models of "
            "partial-evolution; of others use what stands in the folders of its stages"
        )
    if model_written(folder / name, plan.trained.key):
        return _read(folder / name / "model")
    files = {
        place: folder / plan.trained.parents[role].folder / file
        for place, (role, file) in _places(plan).items()
    }
    missing = [str(path) for path in files.values() if not path.exists()]
    if missing:
        raise ModelError(
            f"run {name} is not trained yet, {missing[0]} is missing: snakemake "
            f"{folder / name / 'model'}"
        )
    metrics = folder / name / "metrics.json"
    found = read_sealed_json(metrics) if metrics.is_file() else None
    return build(description_of(study.name, name, plan.config, found), files, f"run {name}")


def _places(plan: RunPlan) -> dict[str, tuple[str, str]]:
    """Role and file of what stands at each place of a model's folder."""
    assert plan.trained is not None
    files = {
        role: {name: str(file) for name, file in stage.kind.outputs.items()}
        for role, stage in plan.trained.parents.items()
    }
    return {place: (role, files[role][name]) for place, (role, name) in places(files).items()}


def places(inputs: Mapping[str, Mapping[str, StrPath]]) -> dict[str, tuple[str, str]]:
    """What stands at each place of a model's folder.

    Args:
        inputs: Files of stages by role, then by the name of the output.

    Returns:
        Role and name of the output, by place.
    """
    found: dict[str, tuple[str, str]] = {}
    for role, outputs in inputs.items():
        head = role if role.startswith(PREPARED) else _PLACES.get(role)
        if head is None:
            continue
        for name, file in outputs.items():
            if name != "training":
                found[f"{head}/{Path(file).name}"] = (role, name)
    return found


def description_of(
    study: str, run: str, config: RunConfig, metrics: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What `build` makes the model of a run of.

    Args:
        study: Name of the study.
        run: Name of the run.
        config: Its configuration, of the method partial-evolution.
        metrics: Content of its metrics.json; None if it was not evaluated.
    """
    given: Any = config
    origin: dict[str, Any] = {
        "study": study,
        "run": run,
        "system": given.system.name,
        "method": given.method,
        "seed": given.seed,
    }
    if metrics is not None:
        origin["evaluation"] = merits(metrics)
    return {
        "system": {"name": given.system.name, "parameters": given.system.parameters},
        "large": list(given.sizes.large),
        "patch": list(given.patch),
        "features": list(given.closure.features),
        "conditions": sorted(given.conditions),
        "made_from": origin,
    }


def build(content: Mapping[str, Any], files: Mapping[str, Path], where: str) -> MacroModel:
    """Make a model of its description and its files.

    Args:
        content: As `description_of` gives it, or as it stands in a model's folder.
        files: Its files, by their place in a folder of its own.
        where: Where it is from, for messages.

    Raises:
        ModelError: If its system cannot be imported, or is none of partial evolution.
    """
    system = _system(content, files, where)
    closure, _ = load_autoencoder(files["closure/model.safetensors"])
    return MacroModel(
        ensemble=Ensemble.load(files["dynamics/model.safetensors"]),
        closure=closure,
        system=system,
        large=tuple(content["large"]),
        patch=tuple(content["patch"]),
        features=tuple(content["features"]),
        conditions=tuple(content["conditions"]),
        origin=dict(content["made_from"]),
        files=dict(files),
        calibrations=tuple(map(Calibration.from_dict, content.get("bands", ()))),
    )


def _system(content: Mapping[str, Any], files: Mapping[str, Path], where: str) -> PatchSystem:
    name = content["system"]["name"]
    try:
        cls = system_class(name)
    except UnknownSystemError as error:
        made = content["made_from"].get("system_origin")
        raise ModelError(
            f"{where} holds a model of the system {name!r}, whose code is not part of it"
            f"{f' ({made})' if made else ''}: {error}"
        ) from None
    version, here = content["system"].get("version"), system_version(name)
    if version not in (None, here):
        warnings.warn(
            f"{where} was learned from version {version} of the system {name!r}, and here is "
            f"version {here}: its initial states may be others",
            stacklevel=4,
        )
    prepared: dict[str, dict[str, Path]] = {}
    for place, path in files.items():
        if place.startswith(PREPARED):
            role, _, file = place.removeprefix(PREPARED).rpartition("/")
            prepared.setdefault(role, {})[Path(file).stem] = path
    parameters = cls.Parameters.model_validate(content["system"]["parameters"])
    system = cls(parameters, prepared=prepared) if prepared else cls(parameters)
    if not isinstance(system, PatchSystem):
        raise ModelError(f"{name} is no system of partial evolution")
    return system


def save(model: MacroModel, folder: StrPath, *, identity: str = "") -> Path:
    """See `MacroModel.save`.

    Args:
        model: The model.
        folder: Where to write it.
        identity: Key of the stage that writes it; '' for a user's copy.
    """
    if not model.files:
        raise ModelError("this model was read from no files: train it by a study")
    name = model.origin["system"]
    # Of a copy of a copy it stays that of the first.
    model = replace(model, origin={"system_origin": system_origin(name), **model.origin})
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not (target / _FILE).is_file():
        raise ModelError(f"{target} holds something that is no model: name another folder")
    for place, source in model.files.items():
        path = target / place
        if path.exists() and path.samefile(source):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    system = {
        "name": name,
        "version": system_version(name),
        "parameters": model.system.parameters.model_dump(mode="json"),
    }
    content = {
        "kind": _KIND,
        "identity": identity,
        "system": system,
        "large": list(model.large),
        "patch": list(model.patch),
        "features": list(model.features),
        "conditions": list(model.conditions),
        "facts": facts(model),
        "bands": [one.as_dict() for one in model.calibrations],
        "made_from": dict(model.origin),
        "files": sorted(model.files),
    }
    write_sealed_json(target / _FILE, content)
    (target / "README.md").write_text(card(model), encoding="utf-8")
    return target
