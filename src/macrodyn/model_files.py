"""Trained models on disk: found among the results of a study, or in a folder of their own.

What is in such a folder, and what is made of it, the method says: its module ``model`` has

- ``PLACES``: folders in that of the model, by the role of the stage whose files they hold;
- ``describe(study, run, config, metrics)``: what ``build`` makes the model of, as plain values;
- ``build(content, files, where)``: the model.
"""

from __future__ import annotations

import importlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from macrodyn.config.load import load_study
from macrodyn.config.models import RunConfig
from macrodyn.methods.registry import find_method
from macrodyn.model_core import ModelError
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import model_written
from macrodyn.pipeline.metrics import read_metrics
from macrodyn.pipeline.planner import PREPARED, RunPlan, plan_study
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.systems import System, system_class
from macrodyn.systems.origin import system_origin
from macrodyn.systems.registry import UnknownSystemError, system_version

if TYPE_CHECKING:
    from macrodyn.methods.partial_forces.model import ForceModel
    from macrodyn.model import MacroModel
    from macrodyn.pipeline.job import Job

_FILE = "model.json"
_KIND = "macrodyn-trained-model"
_System = TypeVar("_System", bound=System)


def load(path: StrPath, run: str | None = None) -> MacroModel | ForceModel:
    """Read a trained model.

    Args:
        path: A folder that `MacroModel.save` or a study wrote, such as
            ``results/ising/small-16/model``; or the results of a study, such as ``results/ising``.
        run: The run whose model it is, of a study's results; not needed if there is one only.

    Returns:
        A `MacroModel` of partial evolution, a `ForceModel` of partial forces.

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


def _method(name: str) -> Any:
    """The module that knows the models of a method; None if it has none."""
    module = find_method(name).model
    return importlib.import_module(module) if module else None


def _read(folder: Path) -> Any:
    content = read_sealed_json(folder / _FILE)
    if content.get("kind") != _KIND:
        raise ModelError(f"{folder / _FILE} describes no trained model of macrodyn")
    files = {place: folder / place for place in content["files"]}
    if missing := [place for place, path in files.items() if not path.is_file()]:
        raise ModelError(f"{folder / missing[0]} is missing: copy the model's folder as a whole")
    return _method(content["made_from"]["method"]).build(content, files, str(folder))


def _of_study(folder: Path, run: str | None) -> Any:
    content = json.loads((folder / "study.json").read_text(encoding="utf-8"))["config"]
    study = load_study(content, str(folder / "study.json"), check_systems=False)
    plans = plan_study(study)
    if run is None and len(plans) > 1:
        raise ModelError(f"{folder} has several runs: name one of {', '.join(plans)}")
    name = next(iter(plans)) if run is None else run
    if name not in plans:
        raise ModelError(f"{folder} has no run {name!r}: name one of {', '.join(plans)}")
    plan = plans[name]
    known = _method(plan.config.method)
    if plan.trained is None or known is None:
        raise ModelError(
            f"run {name} is of the method {plan.config.method}, which says of no trained model how "
            "it is read: use what stands in the folders of its stages"
        )
    if model_written(folder / name, plan.trained.key):
        return _read(folder / name / "model")
    files = {
        place: folder / plan.trained.parents[role].folder / file
        for place, (role, file) in _places(plan, known.PLACES).items()
    }
    missing = [str(path) for path in files.values() if not path.exists()]
    if missing:
        raise ModelError(
            f"run {name} is not trained yet, {missing[0]} is missing: snakemake "
            f"{folder / name / 'model'}"
        )
    metrics = folder / name / "metrics.json"
    found = read_sealed_json(metrics) if metrics.is_file() else None
    described = known.describe(study.name, name, plan.config, found)
    return known.build(described, files, f"run {name}")


def _places(plan: RunPlan, known: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Role and file of what stands at each place of a model's folder."""
    assert plan.trained is not None
    files = {
        role: {name: str(file) for name, file in stage.kind.outputs.items()}
        for role, stage in plan.trained.parents.items()
    }
    found = places(files, known)
    return {place: (role, files[role][name]) for place, (role, name) in found.items()}


def places(
    inputs: Mapping[str, Mapping[str, StrPath]], known: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """What stands at each place of a model's folder.

    Args:
        inputs: Files of stages by role, then by the name of the output.
        known: Folders by role, of the method; what a system has prepared is kept as well.

    Returns:
        Role and name of the output, by place.
    """
    found: dict[str, tuple[str, str]] = {}
    for role, outputs in inputs.items():
        head = role if role.startswith(PREPARED) else known.get(role)
        if head is None:
            continue
        for name, file in outputs.items():
            if name != "training":
                found[f"{head}/{Path(file).name}"] = (role, name)
    return found


def model_of_run(job: Job, run: RunConfig) -> Any:
    """The model that a job of a run writes, which says what it was made from.

    Args:
        job: The job; inputs are the stages of the method's ``PLACES``, what the system prepared,
            and ``evaluation``; its configuration holds that of the ``run``.
        run: The run.
    """
    known = _method(run.method)
    found = places(job.inputs, known.PLACES)
    files = {place: job.input(role, name) for place, (role, name) in found.items()}
    study = job.outputs["model"].absolute().parents[1].name
    metrics = read_metrics(job.input("evaluation", "metrics"))
    model = known.build(known.describe(study, job.subject, run, metrics), files, job.subject)
    told = {
        "config": job.config["run"],
        # Folders of stages are named by what they were made from.
        "stages": {
            role: "/".join(job.input(role, name).parts[-3:-1]) for role, name in found.values()
        },
    }
    return replace(model, origin={**model.origin, **told})


def described_run(
    study: str, run: str, config: Any, evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Of what a method's ``describe`` gives, its system and where it comes from.

    Args:
        study: Name of the study.
        run: Name of the run.
        config: Its configuration.
        evaluation: Figures of merit; None if it was not evaluated.
    """
    origin: dict[str, Any] = {
        "study": study,
        "run": run,
        "system": config.system.name,
        "method": config.method,
        "seed": config.seed,
    }
    if evaluation is not None:
        origin["evaluation"] = evaluation
    system = {"name": config.system.name, "parameters": config.system.parameters}
    return {"system": system, "made_from": origin}


def trained_system(
    content: Mapping[str, Any], files: Mapping[str, Path], where: str, base: type[_System]
) -> _System:
    """The microscopic system of a model.

    Args:
        content: What describes the model; its ``system`` has ``name`` and ``parameters``.
        files: Its files, by their place in a folder of its own.
        where: Where it is from, for messages.
        base: What systems of its method are.

    Raises:
        ModelError: If the system cannot be imported, or is another kind of system.
    """
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
    if not isinstance(system, base):
        raise ModelError(f"{name} is no {base.__name__}")
    return system


def write_model(
    model: MacroModel | ForceModel,
    folder: StrPath,
    content: Mapping[str, Any],
    *,
    identity: str = "",
) -> Path:
    """Write a model to a folder of its own.

    Args:
        model: The model, with the files that it was read from.
        folder: A new folder, or one that holds a model already.
        content: What its method's ``build`` needs beside system, origin and files.
        identity: Key of the stage that writes it; '' for a user's copy.

    Raises:
        ModelError: If the folder holds something else, or the model was not read from files.
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
    described = {
        "kind": _KIND,
        "identity": identity,
        "system": system,
        **content,
        "made_from": dict(model.origin),
        "files": sorted(model.files),
    }
    write_sealed_json(target / _FILE, described)
    (target / "README.md").write_text(model.card(), encoding="utf-8")
    return target
