"""The subcommands that ask a trained model: info, predict, save."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from macrodyn.cli_arguments import assigned, lattice, positive, whole

Command = Callable[[str, Callable[[argparse.Namespace], None], str], Any]


def add_commands(command: Command) -> None:
    """Add them to the parser of the command line.

    Args:
        command: Adds a subcommand of a name, what it calls, and its help text.
    """
    info = command("info", _info, "say what a trained model is, and where it holds")
    _model(info)
    predict = command("predict", _predict, "predict trajectories by a trained model")
    _model(predict)
    predict.add_argument(
        "--initial",
        type=assigned,
        action="append",
        required=True,
        metavar="NAME=VALUE[,VALUE]",
        help="an initial macrostate: each of its components once, several values for all of them",
    )
    predict.add_argument("--until", type=positive, required=True, help="the last time")
    predict.add_argument(
        "--spacing", type=positive, help="time between records (default: a hundredth of --until)"
    )
    predict.add_argument(
        "--replicas", type=whole, default=100, help="trajectories from each (default 100)"
    )
    predict.add_argument(
        "--condition",
        type=assigned,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a condition (default: the system's own)",
    )
    predict.add_argument(
        "--size",
        type=lattice,
        metavar="AxB",
        help="sites along each axis (default: what it was trained for)",
    )
    predict.add_argument("--seed", type=whole, default=0, help="seed of the noise (default 0)")
    predict.add_argument(
        "-o", "--output", type=Path, required=True, help="the NetCDF file to write"
    )
    save = command("save", _save, "copy a trained model to a folder of its own")
    _model(save)
    save.add_argument("target", type=Path, help="the new folder")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model's folder, or the results of a study")
    parser.add_argument("--run", help="the run, of a study that has several")


def _info(given: argparse.Namespace) -> None:
    from macrodyn.model_files import load

    print(load(given.model, given.run).card(), end="")


def _predict(given: argparse.Namespace) -> None:
    import numpy as np

    from macrodyn.model_files import load
    from macrodyn.storage.files import atomic_path

    model = load(given.model, given.run)
    spacing = given.spacing or given.until / 100
    count = math.floor(given.until / spacing * (1 + 1e-9))
    conditions = {}
    for name, values in given.condition:
        if len(values) != 1:
            raise ValueError(f"--condition {name}: give one value, and another command for others")
        conditions[name] = values[0]
    predicted = model.predict(
        dict(given.initial),
        spacing * np.arange(count + 1),
        replicas=given.replicas,
        conditions=conditions,
        size=given.size,
        seed=given.seed,
    )
    with atomic_path(given.output) as temporary:
        predicted.to_netcdf(temporary, engine="netcdf4")
    for share, what in (("outside", "predicted points"), ("initial_outside", "initial states")):
        if predicted.attrs[share] > 0:
            print(
                f"{predicted.attrs[share]:.2%} of the {what} lie outside of what was learned from"
            )
    if predicted.attrs["conditions_outside"]:
        print(f"outside of the sampled values: {predicted.attrs['conditions_outside']}")
    print(given.output)


def _save(given: argparse.Namespace) -> None:
    from macrodyn.model_files import load

    print(load(given.model, given.run).save(given.target))
