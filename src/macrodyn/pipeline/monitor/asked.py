"""The study that is asked about: by its configuration, or by its folder, for what was last run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from macrodyn.config.load import ConfigError, load_study
from macrodyn.config.study import Study
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import run_identities
from macrodyn.pipeline.planner import RunPlan, StudyPlan, plan_study
from macrodyn.pipeline.record import (
    FILE,
    REMEDY,
    Record,
    RecordError,
    read_record,
    run_command,
)
from macrodyn.systems.registry import UnknownSystemError, system_version


@dataclass(frozen=True)
class AskedStudy:
    """A study with the configuration that it is asked about.

    Attributes:
        study: The study.
        folder: Its folder.
        plans: Its runs.
        identities: The identities of its runs: by them its results are known.
        configuration: The file that holds the configuration: the user's, or the record.
        command: The Snakemake command that goes on with it.
        record: What was last run in the folder, if that is known.
    """

    study: Study
    folder: Path
    plans: StudyPlan
    identities: dict[str, str]
    configuration: str
    command: str
    record: Record | None = field(default=None, repr=False)

    def report_command(self, report: StrPath) -> str:
        """Return the Snakemake command that makes its report.

        Args:
            report: The file to make.
        """
        return Record({}, self.command).report_command(report)


def asked_study(study: StrPath, *, check_systems: bool = True) -> AskedStudy:
    """Find a study and its configuration.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``). A folder's
            configuration is that of its last run.
        check_systems: Check the configuration of a file against the microscopic systems.

    Raises:
        ConfigError: If the configuration is wrong.
        RecordError: If the study's folder has no usable record of what it consists of.
        FileNotFoundError: If there is no such study.
    """
    study = Path(study)
    if study.is_file():
        loaded = load_study(study, check_systems=check_systems)
        folder = Path("results") / loaded.name
        plans = plan_study(loaded)
        record = _record(folder)
        command = record.command if record and record.names(study) else run_command(study)
        return AskedStudy(loaded, folder, plans, run_identities(plans), str(study), command, record)
    folder = study_folder(study)
    record = read_record(folder)
    file = folder / FILE
    # A study that has run has been checked, maybe where other systems are installed.
    try:
        loaded = load_study(record.config, str(file), check_systems=False)
    except ConfigError as error:
        raise RecordError(f"{error}\nThe next run writes it anew; {REMEDY}") from None
    plans = plan_study(loaded)
    identities = run_identities(plans)
    # Where a system is not installed its version is not known, nor what it reads.
    if record.identities.keys() == plans.keys() and not all(map(_is_installed, plans.values())):
        identities = record.identities
    return AskedStudy(loaded, folder, plans, identities, str(file), record.command, record)


def study_folder(study: StrPath) -> Path:
    """Find the folder of a study.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``).

    Raises:
        ConfigError: If the configuration is wrong.
        FileNotFoundError: If there is no such study.
    """
    study = Path(study)
    if study.is_file():
        return Path("results") / load_study(study, check_systems=False).name
    folder = study if study.is_dir() else Path("results") / study
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no study {study}: give its configuration file, its folder, or the name of a "
            "folder below results/"
        )
    return folder


def _record(folder: Path) -> Record | None:
    try:
        return read_record(folder)
    except RecordError:
        return None


def _is_installed(plan: RunPlan) -> bool:
    try:
        system_version(plan.config.system.name)
    except UnknownSystemError:
        return False
    return True
