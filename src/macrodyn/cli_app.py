"""How commands end: their errors, their exit status, and a reader of the output that has gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

# What a shell reports of a program whose reader has gone.
BROKEN_PIPE = 141

Function = TypeVar("Function", bound=Callable[..., Any])


class _WithoutTypesOfFlags:
    """In its help, a flag shows no type: it takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for option in found:
            if getattr(option, "is_flag", False) and option.metavar is None:
                option.metavar = ""
        return found


class OneCommand(_WithoutTypesOfFlags, TyperCommand):
    """A command."""


class Commands(_WithoutTypesOfFlags, TyperGroup):
    """The commands; what they raise becomes a message and an exit status."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List them in the order of their declaration, that which one begins with first."""
        return sorted(super().list_commands(ctx), key=lambda name: name != "init")

    def invoke(self, ctx: Any) -> int:
        """Run the command that was asked for."""
        from macrodyn.storage.errors import StoreError

        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is left to print goes nowhere, or Python complains of it when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except (ValueError, OSError, StoreError) as error:
            # After what was printed before, also where both go to one file.
            sys.stdout.flush()
            print(f"macrodyn: {error}", file=sys.stderr)
            return 1
        return int(status or 0)


def command(
    app: typer.Typer, name: str | None = None, **settings: Any
) -> Callable[[Function], Function]:
    """Make a function a command of an application.

    Args:
        app: The application.
        name: The command's name; that of the function if left out.
        settings: What else ``Typer.command`` takes.
    """
    return app.command(name, **{"cls": OneCommand, **settings})
