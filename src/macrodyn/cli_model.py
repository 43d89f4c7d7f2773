"""The commands that ask a trained model: info, predict, save."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from macrodyn.cli_app import command
from macrodyn.cli_arguments import (
    AsJson,
    assigned,
    lattice,
    positive,
    print_json,
    whole,
)

Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model's folder, or the results of a study."),
]
Run = Annotated[
    str | None, typer.Option(metavar="NAME", help="The run, of a study that has several.")
]


def add_model_commands(app: typer.Typer) -> None:
    """Add them to an application.

    Args:
        app: The application.
    """
    for function in (info, predict, save):
        command(app, rich_help_panel="Trained models")(function)


def info(model: Model, run: Run = None, as_json: AsJson = False) -> None:
    """Say what a trained model is, and where it holds."""
    from macrodyn.model_files import load

    found = load(model, run)
    if as_json:
        print_json(found.described())
    else:
        print(found.card(), end="")


def predict(
    model: Model,
    initial: Annotated[
        list[Any],
        typer.Option(
            parser=assigned,
            metavar="NAME=VALUE,...",
            help="An initial macrostate: each of its components once, several values for all.",
        ),
    ],
    until: Annotated[float, typer.Option(parser=positive, metavar="TIME", help="The last time.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The NetCDF file to write.")
    ],
    run: Run = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            parser=positive,
            metavar="TIME",
            help="Time between records; a hundredth of --until if left out.",
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            metavar="N",
            help="Trajectories from each; 100 if left out, and 1 where nothing is random.",
        ),
    ] = None,
    condition: Annotated[
        list[Any] | None,
        typer.Option(
            parser=assigned,
            metavar="NAME=VALUE",
            help="The value of a condition; the system's own if left out.",
        ),
    ] = None,
    size: Annotated[
        Any,
        typer.Option(
            parser=lattice,
            metavar="AxB",
            help="Sites along each axis; what it was trained for if left out.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(parser=whole, metavar="N", help="Seed of the noise.")] = 0,
) -> None:
    """Predict trajectories by a trained model."""
    import numpy as np

    from macrodyn.model_files import load
    from macrodyn.storage.files import atomic_path

    trained = load(model, run)
    spacing = spacing or until / 100
    count = math.floor(until / spacing * (1 + 1e-9))
    conditions = {}
    for name, values in condition or []:
        if len(values) != 1:
            raise ValueError(f"--condition {name}: give one value, and another command for others")
        conditions[name] = values[0]
    predicted = trained.predict(
        dict(initial),
        spacing * np.arange(count + 1),
        **({} if replicas is None else {"replicas": replicas}),
        conditions=conditions,
        size=size,
        seed=seed,
    )
    with atomic_path(output) as temporary:
        predicted.to_netcdf(temporary, engine="netcdf4")
    for share, what in (("outside", "predicted points"), ("initial_outside", "initial states")):
        if predicted.attrs[share] > 0:
            print(
                f"{predicted.attrs[share]:.2%} of the {what} lie outside of what was learned from"
            )
    if predicted.attrs["conditions_outside"]:
        print(f"outside of the sampled values: {predicted.attrs['conditions_outside']}")
    print(output)


def save(
    model: Model,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The new folder.")],
    run: Run = None,
) -> None:
    """Copy a trained model to a folder of its own."""
    from macrodyn.model_files import load

    print(load(model, run).save(target))
