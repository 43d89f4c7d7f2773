"""Load and check a configuration: every error at once, each with its key's path, before any job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from macrodyn.config.analyses import asked_analyses
from macrodyn.config.errors import problems, shown
from macrodyn.config.file import ConfigFileError, check_size, read_config
from macrodyn.config.models import METHOD, RunConfig, StudyKeys, study_model
from macrodyn.config.section import LONGEST_NAME
from macrodyn.config.study import Study
from macrodyn.config.sweep import merge, nested, swept
from macrodyn.config.text import Document, Written
from macrodyn.environment import EnvironmentFault
from macrodyn.methods.base import Method
from macrodyn.methods.registry import UnknownMethodError, find_method, method_of
from macrodyn.paths import StrPath
from macrodyn.systems import System, UnknownSystemError, system_class
from macrodyn.systems.trial.declarations import (
    check_class,
    check_parameters,
    describe_failure,
)

__all__ = [
    "ConfigError",
    "check_run",
    "load_study",
    "make_system",
    "merge",
]

# What else stands in a study's folder.
RESERVED_RUN_NAMES = {
    "stages",
    "summary",
    "report",
    "figures",
    "logs",
    "pages",
    "checkpoint",
    "analyses",
}
# A run's folder must take no file's place.
RESERVED_ENDINGS = (".csv", ".html", ".json", ".zip")


def is_reserved(run: str) -> bool:
    """Whether a run of this name would stand where something else of a study does.

    Upper and lower case count as the same, as on some file systems they are.
    """
    name = run.lower()
    return name in RESERVED_RUN_NAMES or name.endswith(RESERVED_ENDINGS)


class ConfigError(ValueError):
    """A configuration is wrong; the message lists each wrong key and what to do."""


def load_study(
    source: StrPath | dict[str, Any],
    where: str = "",
    *,
    check_systems: bool = True,
    documents: Sequence[Document] = (),
) -> Study:
    """Read and check a configuration.

    Args:
        source: A YAML file, or its content as a mapping.
        where: Name of the file for messages, if ``source`` is a mapping.
        check_systems: Check each run against its microscopic system as well, for which the
            system is loaded; jobs of a study that has been checked need not.
        documents: The files from which ``source``, if a mapping, was read, those that go before
            last: values are shown as they are written there.

    Returns:
        The study with its runs.

    Raises:
        ConfigError: With one line for each wrong key.
        EnvironmentFault: If the machine keeps a system from being loaded or tried.
    """
    try:
        if isinstance(source, str | os.PathLike):
            where = where or str(source)
            documents = [read_config(source)]
            content = documents[0].content
        else:
            content = source
            check_size(content, where)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(_no_keys(content, where or "the configuration"))
    written = _written(documents, ())
    keys, methods = _read_keys(content, where, written)
    base = {k: v for k, v in content.items() if k not in StudyKeys.model_fields}
    runs: dict[str, RunConfig] = {}
    wrong: dict[str, str] = {}
    warnings: list[str] = []
    for name, changes, origin in swept(keys.runs, keys.sweep):
        prefix = f"runs.{origin}."
        if problem := _name_problem(name, changes, runs):
            wrong[f"runs.{name}" if not problem[0] else prefix + problem[0]] = problem[1]
            continue
        merged = merge(base, changes)
        method = methods[str(merged.get("method", METHOD))]
        foreign = _foreign_keys(method, methods.values()) - changes.keys()
        merged = {k: v for k, v in merged.items() if k not in foreign}
        find = _written(documents, ("runs", origin), ())
        try:
            runs[name] = method.Run.model_validate(merged)
        except ValidationError as error:
            told = problems(error, merged, method.Run, find)
            wrong |= {_place(path, origin, keys): said for path, said in told.items()}
            continue
        for path, message in check_run(runs[name], find) if check_systems else ():
            wrong[_place(path, origin, keys)] = message
        if check_systems and not wrong:
            warnings += [f"runs.{name}: {said}" for said in _warnings(runs[name])]
    if wrong:
        raise _config_error(where, wrong)
    if check_systems:
        wrong.update(_check_stages(keys, runs))
    analyses = dict(asked_analyses(keys, runs, wrong))
    if wrong:
        raise _config_error(where, wrong)
    return Study(keys.study, keys.title, runs, tuple(warnings), analyses)


def _read_keys(
    content: dict[str, Any], where: str, written: Written
) -> tuple[StudyKeys, dict[str, Method]]:
    """Read what concerns the study as a whole, and check the base that its runs share.

    Returns:
        The study's keys, and the methods of its runs by name.

    Raises:
        ConfigError: If something is wrong.
    """
    given, sweep = (
        found if isinstance(found := content.get(key), dict) else {} for key in ("runs", "sweep")
    )
    runs = {name: changes for name, changes in given.items() if isinstance(changes, dict)}
    asked = content.get("method", METHOD)
    values = sweep.get("method")
    methods = _find_methods(
        [
            ("method", asked),
            *(
                (f"runs.{name}.method", run["method"])
                for name, run in runs.items()
                if "method" in run
            ),
            *(("sweep.method", value) for value in (values if isinstance(values, list) else [])),
        ],
        where,
    )
    base = methods[asked]
    foreign = _foreign_keys(base, methods.values())
    own = {k: v for k, v in content.items() if k not in foreign}
    model = study_model(base.Run)
    try:
        model.model_validate(own)
        told = {}
    except ValidationError as error:
        told = problems(error, own, model, written)
    # What the base lacks, some runs may have; the others are told of it by name.
    having = [*runs.values(), *(nested(str(key).split("."), 0) for key in sweep)]
    wrong = {
        path: said
        for path, said in told.items()
        if path.split(".")[0] in StudyKeys.model_fields
        or _has(content, path)
        or not any(_has(r, path) for r in having)
    }
    if wrong:
        raise _config_error(where, wrong)
    header = {k: v for k, v in content.items() if k in StudyKeys.model_fields}
    return StudyKeys.model_validate(header), methods


def _find_methods(asked: Sequence[tuple[str, Any]], where: str) -> dict[str, Method]:
    """Find the methods that some keys name.

    Raises:
        ConfigError: If there is none of a name.
    """
    found: dict[str, Method] = {}
    wrong = {}
    for key, name in asked:
        try:
            if isinstance(name, str):
                found[name] = find_method(name)
            else:
                wrong[key] = f"must be text, not {shown(name)}"
        except UnknownMethodError as error:
            wrong[key] = str(error)
    if wrong:
        raise _config_error(where, wrong)
    return found


def _has(content: Any, path: str) -> bool:
    """Whether a key is given, whatever it holds."""
    for key in path.split("."):
        if not (isinstance(content, dict) and key in content):
            return False
        content = content[key]
    return True


def _foreign_keys(method: Method, methods: Any) -> set[str]:
    """Sections of the study's other methods, which a run of this one passes over in the base."""
    others = {key for other in methods for key in other.Run.model_fields}
    return others - method.Run.model_fields.keys()


def _name_problem(
    name: str, changes: dict[str, Any], runs: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Say what is wrong with a run as such: the key below it, and a message."""
    if is_reserved(name):
        return "", "this name is reserved for what else is in the folder: choose another"
    if len(name) > LONGEST_NAME:
        return "", f"this name has more than {LONGEST_NAME} characters: sweep shorter values"
    if name in runs:
        return "", "two runs of the sweep have this name: give values that are written differently"
    execution = changes.get("execution")
    if isinstance(execution, dict) and "checkpoint_minutes" in execution:
        return (
            "execution.checkpoint_minutes",
            "is the same for all runs, which share jobs: set it at the top of the file",
        )
    return None


def _place(path: str, run: str, keys: StudyKeys) -> str:
    """Where a key stands in the file: in a sweep, in a run, or in the base."""
    if any(f"{path}.".startswith(f"{key}.") for key in keys.sweep):
        return f"sweep.{path}"
    made = next((key for key in keys.sweep if key.startswith(f"{path}.")), None)
    if made:
        return f"sweep.{made}"
    return f"runs.{run}.{path}" if path.split(".")[0] in (keys.runs[run] or {}) else path


def _warnings(run: RunConfig) -> Iterator[str]:
    yield from method_of(run).warnings(run, make_system(run))


def make_system(run: RunConfig) -> System:
    """Make the run's system with its own parameters.

    Raises:
        UnknownSystemError: If no installed package provides it.
        ValidationError: If a parameter is wrong.
    """
    cls = system_class(run.system.name)
    return cls(cls.Parameters.model_validate(run.system.parameters))


def _written(documents: Sequence[Document], *places: tuple[str, ...]) -> Written:
    """Make what finds the text of a value: in the last file and first place where it stands."""

    def find(path: Sequence[Any], value: Any) -> str | None:
        texts = (d.text((*at, *path), value) for d in reversed(documents) for at in places)
        return next((text for text in texts if text is not None), None)

    return find


def check_run(run: RunConfig, written: Written | None = None) -> Iterator[tuple[str, str]]:
    """Check what is wrong across the keys of one run.

    Args:
        run: The run.
        written: Finds the text of a value in the file that it was read from.

    Yields:
        Path of a key, and a message.
    """

    def below(*keys: str) -> Written:
        return lambda path, value: written((*keys, *path), value) if written else None

    method = method_of(run)
    yield from method.check_alone(run)
    try:
        cls = system_class(run.system.name)
        incomplete = list(check_class(cls, method.System))
        if incomplete:
            yield from incomplete
            return
        system = make_system(run)
    except UnknownSystemError as error:
        yield "system.name", str(error)
        return
    except ValidationError as error:
        given = run.system.parameters
        told = problems(error, given, cls.Parameters, below("system", "parameters"))
        for path, message in told.items():
            yield f"system.parameters.{path}".rstrip("."), message
        return
    except EnvironmentFault:
        raise
    except Exception as error:  # own code may raise anything
        yield "system.name", describe_failure(error, cls)
        return
    yield from check_parameters(system)
    lacking = [(f"system.parameters.{name}", message) for name, message in system.lacks()]
    yield from lacking or method.check(run, system)


_NO_SUCH = {
    "shards": "no stage of this name is scattered; those are:",
    "memory": "there is no stage of this name; there are:",
    "minutes": "there is no stage of this name; there are:",
}


def _check_stages(keys: StudyKeys, runs: Mapping[str, RunConfig]) -> Iterator[tuple[str, str]]:
    """Check the stages that `execution` names: in the base, those of any run."""
    kinds = {}
    for name, run in runs.items():
        method = method_of(run)
        known = (*method.kinds, method.evaluation, method.trained)
        kinds[name] = {kind.name: kind for kind in known if kind is not None}

    def known_to(name: str, key: str) -> set[str]:
        return {k for k, kind in kinds[name].items() if kind.scatter or key != "shards"}

    if any(
        getattr(run.execution, key).keys() - known_to(name, key)
        for name, run in runs.items()
        for key in _NO_SUCH
    ):
        # Systems may have stages of their own.
        from macrodyn.pipeline.planner import plan_run

        for name, run in runs.items():
            stages = plan_run(name, run).stages().values()
            kinds[name] |= {stage.name: stage.kind for stage in stages}
    for name, changes, origin in swept(keys.runs, keys.sweep):
        for key, message in _NO_SUCH.items():
            own = (changes.get("execution") or {}).get(key) or {}
            of_any = set().union(*(known_to(run, key) for run in runs))
            for stage in sorted(getattr(runs[name].execution, key)):
                there = known_to(name, key) if stage in own else of_any
                if stage not in there:
                    path = f"execution.{key}.{stage}"
                    yield (
                        _place(path, origin, keys) if stage in own else path,
                        f"{message} {', '.join(sorted(there))}",
                    )


def _no_keys(content: Any, where: str) -> str:
    """Say what a file should hold that holds no keys."""
    empty = content in (None, {})
    found = "is empty" if empty else f"must hold keys and values, not {shown(content)}"
    return f"{where} {found}: a study needs at least study, system, sizes and runs (docs/guide.md)"


def _config_error(where: str, wrong: dict[str, str]) -> ConfigError:
    lines = [f"  {path}: {message}" for path, message in wrong.items()]
    return ConfigError("\n".join([f"{where or 'configuration'} is wrong:", *lines]))
