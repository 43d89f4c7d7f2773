"""Physical parameters of systems."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from macrodyn.config.numbers import as_annotated


class Parameters(BaseModel):
    """Physical parameters of a system; subclass it with the system's own, with their limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return as_annotated(value, cls.model_fields[str(info.field_name)].annotation)


def plain_parameters(parameters: Parameters) -> dict[str, Any]:
    """Write the parameters of a system as plain values that its model reads again.

    Raises:
        PydanticSerializationError: If a value has no plain form.
    """
    return parameters.model_dump(mode="json", round_trip=True, by_alias=True)
