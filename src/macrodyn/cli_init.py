"""The commands that write files to begin with: init study, init system."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from macrodyn.cli_app import Commands, command

init = typer.Typer(cls=Commands, help="Write a study, or a system of your own, to begin with.")

_STUDY = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_SYSTEM = r"[a-z][a-z0-9]*([_-][a-z0-9]+)*"
_LONGEST = 64


def _templates() -> list[str]:
    """List the systems of which there is a study to begin with."""
    names = (Path(entry.name) for entry in files("macrodyn.templates").iterdir())
    return sorted(p.stem for p in names if p.suffix == ".yaml" and p.stem != "my_system")


def _systems(incomplete: str) -> list[str]:
    return [name for name in _templates() if name.startswith(incomplete)]


def _system(name: str) -> str:
    known = _templates()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        meant = f", did you mean {close[0]!r}?" if close else ";"
        raise typer.BadParameter(
            f"there is no study to begin with of {name!r}{meant} There are {', '.join(known)}; "
            "for a system of your own: macrodyn init system"
        )
    return name


def _study_name(name: str) -> str:
    if not re.fullmatch(_STUDY, name) or len(name) > _LONGEST:
        raise typer.BadParameter(
            f"must be letters, digits, '_', '.' and '-', begin with a letter or digit, and have at "
            f"most {_LONGEST} of them, not {name!r}"
        )
    return name.removesuffix(".yaml")


def _system_name(name: str) -> str:
    if not re.fullmatch(_SYSTEM, name) or len(name) > _LONGEST:
        raise typer.BadParameter(
            f"must be small letters and digits, begin with a letter, with single '_' or '-' "
            f"between words, and have at most {_LONGEST} of them, not {name!r}"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or find_spec(module) is not None:
        raise typer.BadParameter(f"Python has a {module} of its own: give another name")
    return name


@command(init)
def study(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", parser=_study_name, help="The study; NAME.yaml is written."),
    ],
    system: Annotated[
        str,
        typer.Option(
            parser=_system,
            metavar="NAME",
            help="The built-in system that it is about.",
            autocompletion=_systems,
        ),
    ] = "ising",
) -> None:
    """Write a small configuration that runs as it is."""
    _write({f"{name}.yaml": _filled(f"{system}.yaml", {"my-study": name})})
    _next(f"{name}.yaml")


@command(init)
def system(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            parser=_system_name,
            help="The system; NAME.py and NAME.yaml are written.",
        ),
    ],
) -> None:
    """Write a small system of your own that works as it is, and a study of it."""
    module = name.replace("-", "_")
    names = {
        "my_system.": f"{module}.",
        "my_system:": f"{module}:",
        "my-system": name,
        "MySystem": "".join(word.capitalize() for word in module.split("_")),
    }
    _write(
        {
            f"{module}.py": _filled("my_system.py", names),
            f"{name}.yaml": _filled("my_system.yaml", names),
        }
    )
    _next(f"{name}.yaml")


def _filled(template: str, names: Mapping[str, str]) -> str:
    """Return a template with the user's names in it."""
    text = (files("macrodyn.templates") / template).read_text(encoding="utf-8")
    study = names.get("my-study") or names["my-system"]
    # A name such as 10 or yes would be read as no text.
    text = re.sub(r"(?m)^study: .*$", lambda _: f"study: {_quoted(study)}", text)
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text


def _quoted(name: str) -> str:
    import yaml

    return name if yaml.safe_load(name) == name else f"'{name}'"


def _write(contents: Mapping[str, str]) -> None:
    for file in contents:
        if Path(file).exists() or Path(file).is_symlink():
            raise FileExistsError(f"{file} is there already: give another name, or move it away")
    for file, text in contents.items():
        with Path(file).open("x", encoding="utf-8") as opened:
            opened.write(text)
        print(file)


def _next(config: str) -> None:
    print(f"\nNext: macrodyn check {config}\n      macrodyn run {config}")
