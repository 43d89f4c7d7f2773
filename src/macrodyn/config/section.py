"""What every section of the configuration is made of: its base class, and the kinds of values.

A section stands beside the code that it sets; the configuration composes sections.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from macrodyn.config.numbers import REAL, WHOLE

# More than any study counts: a slip of the finger is told before it fills a memory.
MOST = 10**9
# Seeds fit a signed 64-bit integer, as attributes of files and other programs hold them.
LARGEST_SEED = 2**63 - 1

PositiveInt = Annotated[int, Field(gt=0, le=MOST), WHOLE]
NotNegativeInt = Annotated[int, Field(ge=0, le=MOST), WHOLE]
AtLeastTwo = Annotated[int, Field(ge=2, le=MOST), WHOLE]
AtLeastFour = Annotated[int, Field(ge=4, le=MOST), WHOLE]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), WHOLE]
Finite = Annotated[float, Field(allow_inf_nan=False), REAL]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), REAL]
NotNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False), REAL]
Fraction = Annotated[float, Field(gt=0, lt=1), REAL]
Share = Annotated[float, Field(ge=0, le=1), REAL]
# Adam moves every parameter by about the rate in each step, and parameters are of order 1.
LearningRate = Annotated[float, Field(gt=0, le=1), REAL]
LONGEST_NAME = 64
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)]
Lattice = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=3)]
Values = Annotated[tuple[Finite, ...], Field(min_length=1)]
Ends = tuple[Finite, Finite]
# Marks of the two forms of a macrostate; they stand in the locations of errors, not in the file.
MARKS = ("<numbers>", "<by name>")
FREE = "x-"


def is_free(key: object) -> bool:
    """Whether a key is the user's own, such as a place for YAML anchors, and is not read."""
    return isinstance(key, str) and key.startswith(FREE)


def form(value: object) -> str:
    """Tell the two forms of a macrostate apart."""
    return MARKS[isinstance(value, dict)]


# Of initial macrostates: of their one component, or of each by name.
Ranges = Annotated[
    Annotated[Ends, Tag(MARKS[0])] | Annotated[dict[Name, Ends], Tag(MARKS[1])],
    Discriminator(form),
]


def _free_keys(schema: dict[str, Any]) -> None:
    """Say in a schema that keys with the prefix for the user's own use may hold anything."""
    schema["patternProperties"] = {f"^{FREE}": {}}


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused, but for those that begin with x-."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_free_keys)

    @model_validator(mode="before")
    @classmethod
    def _without_free_keys(cls, content: Any) -> Any:
        if isinstance(content, dict) and any(map(is_free, content)):
            return {key: value for key, value in content.items() if not is_free(key)}
        return content
