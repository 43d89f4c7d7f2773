"""What a configuration may give for a number: no truth value, and text in decimal notation only.

YAML 1.1, which Python and Snakemake read, takes yes, no, on and off for truth values, Python takes
those for 1 and 0, and ``1e-3`` is text to it. The models refuse the first and read the last.
"""

from __future__ import annotations

import re
import types
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NUMBERS = (int, float, complex, Decimal)


def _number(value: Any, kind: Literal["int", "float"]) -> Any:
    """Return a number, or what only its type can refuse."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type" if kind == "int" else "float_type")
    if isinstance(value, str):
        read = _read(value)
        if read is None:
            raise PydanticKnownError("int_parsing" if kind == "int" else "float_parsing")
        return read
    # One zero, whatever its sign: results are found again by what was given.
    return value + 0.0 if isinstance(value, float) else value


def _read(text: str) -> int | float | None:
    """Read text in decimal notation; None if it is another, such as 08, 1_000 or 1:30."""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) + 0.0 if _DECIMAL.fullmatch(text) else None


# To annotate numbers with, after their limits.
WHOLE = BeforeValidator(lambda value: _number(value, "int"))
REAL = BeforeValidator(lambda value: _number(value, "float"))


def as_annotated(value: Any, annotation: Any) -> Any:
    """Read a value for a field that was annotated without regard to configurations.

    Args:
        value: Plain value.
        annotation: The field's annotation.

    Returns:
        The value; a number for text that is one, where the field takes numbers.

    Raises:
        PydanticKnownError: For a truth value, or text that is no decimal number, where the field
            takes numbers and neither truth values nor text.
    """
    if not isinstance(value, bool | str | float):
        return value
    kinds = list(_kinds(annotation))
    numbers = [kind for kind in kinds if kind in _NUMBERS]
    if not numbers:
        return value
    if isinstance(value, str):
        read = _read(value)
        if read is not None:
            return read
        others = [kind for kind in kinds if kind not in (*numbers, bool, type(None))]
        if any(kind == value or isinstance(kind, type) for kind in others):
            return value
    elif isinstance(value, bool) and bool in kinds:
        return value
    return _number(value, "int" if numbers == [int] else "float")


def _kinds(annotation: Any) -> list[Any]:
    """Return the types that a field takes, and the values of its literals."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    if origin is Literal:
        return list(get_args(annotation))
    if hasattr(annotation, "__value__"):  # of the statement `type`
        return _kinds(annotation.__value__)
    return [annotation]
