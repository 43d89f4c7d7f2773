"""Trained models on disk: found among the results of a study, or in a folder of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import load_study
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.model import MacroModel, ModelError
from macrodyn.paths import StrPath
from macrodyn.pipeline.planner import PREPARED, plan_study
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.systems import PatchSystem, system_class

_FILE = "model.json"
_KIND = "macrodyn-trained-model"


def load(path: StrPath, run: str | None = None) -> MacroModel:
    """Read a trained model.

    Args:
        path: A folder that `MacroModel.save` wrote; or the results of a study, such as
            ``results/ising``.
        run: The run whose model it is, of a study's results; not needed if there is one only.

    Raises:
        ModelError: If there is no such model, or it is not trained yet.
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
    return _build(content, files)


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
    if "model/ours" not in plan.roles or "closure" not in plan.roles:
        raise ModelError(f"run {name} is of the method {plan.config.method}, not partial-evolution")
    config: Any = plan.config
    stages = {"dynamics": plan["model/ours"], "closure": plan["closure"]}
    predicted = next(stage for role, stage in plan.roles.items() if role.startswith("prediction/"))
    stages |= {
        f"prepared/{role.removeprefix(PREPARED)}": stage
        for role, stage in predicted.parents.items()
        if role.startswith(PREPARED)
    }
    files = {
        f"{place}/{file}": folder / stage.folder / file
        for place, stage in stages.items()
        for output, file in stage.kind.outputs.items()
        if output != "training"
    }
    missing = [str(path) for path in files.values() if not path.exists()]
    if missing:
        raise ModelError(
            f"run {name} is not trained yet, {missing[0]} is missing: snakemake {folder / name}"
        )
    origin = {"study": study.name, "run": name, "system": config.system.name}
    origin["merit"] = _merit(folder / name / "metrics.json")
    described = {
        "system": {"name": config.system.name, "parameters": config.system.parameters},
        "large": list(config.sizes.large),
        "patch": list(config.patch),
        "features": list(config.closure.features),
        "conditions": sorted(config.conditions),
        "made_from": origin,
    }
    return _build(described, files)


def _merit(path: Path) -> dict[str, str]:
    """Test errors of each horizon, where the run has been evaluated; or that there is no reference.

    Without a reference, how far the members' predictions differ.
    """
    if not path.is_file():
        return {}
    found = {}
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if "predicted" in metrics:
        found["reference"] = "none: the large system was not simulated"
    for name, schemes in metrics.get("predicted", {}).items():
        agreement = schemes["ours"]["agreement"]
        if agreement is not None and isinstance(agreement["mean"], float):
            chance = f"{agreement['chance']:.1e}"
            told = f"{agreement['mean']:.1e} (equal members, by chance, {chance})"
            found[f"squared difference of the members, {name}"] = told
    for name, horizon in metrics.get("horizons", {}).items():
        error = (horizon.get("ours") or {}).get("test_error") or {}
        exact = (horizon.get("sampling_error") or {}).get("mean")
        if isinstance(error.get("mean"), float):
            beside = f" (an exact model {exact:.1e})" if isinstance(exact, float) else ""
            found[f"test error, {name}"] = f"{error['mean']:.1e}{beside}"
    return found


def _build(content: Mapping[str, Any], files: Mapping[str, Path]) -> MacroModel:
    cls = system_class(content["system"]["name"])
    prepared: dict[str, dict[str, Path]] = {}
    for place, path in files.items():
        kind, _, rest = place.partition("/")
        if kind == "prepared":
            role, _, name = rest.rpartition("/")
            prepared.setdefault(role, {})[Path(name).stem] = path
    parameters = cls.Parameters.model_validate(content["system"]["parameters"])
    system = cls(parameters, prepared=prepared) if prepared else cls(parameters)
    if not isinstance(system, PatchSystem):
        raise ModelError(f"{content['system']['name']} is no system of partial evolution")
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
    )


def save(model: MacroModel, folder: StrPath) -> Path:
    """See `MacroModel.save`."""
    if not model.files:
        raise ModelError("this model was read from no files: train it by a study")
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not (target / _FILE).is_file():
        raise ModelError(f"{target} holds something that is no model: name another folder")
    for place, source in model.files.items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    parameters = model.system.parameters.model_dump(mode="json")
    content = {
        "kind": _KIND,
        "system": {"name": model.origin["system"], "parameters": parameters},
        "large": list(model.large),
        "patch": list(model.patch),
        "features": list(model.features),
        "conditions": list(model.conditions),
        "made_from": dict(model.origin),
        "files": sorted(model.files),
    }
    write_sealed_json(target / _FILE, content)
    (target / "README.md").write_text(card(model), encoding="utf-8")
    return target


def card(model: MacroModel) -> str:
    """See `MacroModel.card`."""
    domain, metadata = model.ensemble.domain, model.ensemble.metadata
    unit = model.system.time_unit
    lines = [
        f"# {model.origin.get('study', 'a model')}, run {model.origin.get('run', '')}".rstrip(),
        "",
        f"A model of the macroscopic dynamics of `{model.origin.get('system', '')}` on "
        f"{'x'.join(map(str, model.large))} sites, an ensemble of {model.ensemble.members} "
        f"({len(model.kept)} of them make its mean model), learned over dt = {model.step:g} "
        f"{unit}.",
        "",
        "| variable | learned on |",
        "|---|---|",
        *(
            f"| {name} | {low:.4g} to {high:.4g} |"
            for name, low, high in zip(model.variables, domain.low, domain.high, strict=True)
        ),
        *(
            f"| {name} (condition) | {low:g} to {high:g} |"
            for name, low, high in zip(
                model.conditions, domain.condition_low, domain.condition_high, strict=True
            )
        ),
        "",
        "Outside of these ranges it guesses; every prediction says what share of it does.",
        "",
        "```python",
        "import macrodyn",
        "",
        'model = macrodyn.load("this folder")',
        f"model.predict({_example(model)}, times=[0, {model.step:g}, {100 * model.step:g}])",
        "```",
        "",
    ]
    for name, value in (model.origin.get("merit") or {}).items():
        lines.append(f"- {name}: {value}")
    made = {k: metadata[k] for k in ("macrodyn_version", "git_commit") if k in metadata}
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in made.items()]
    return "\n".join([*lines, ""])


def _example(model: MacroModel) -> str:
    return json.dumps({name: 0.5 for name in model.system.component_names})
