"""Numbers of a configuration: truth values and odd notations are refused, decimal text is read."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from macrodyn.config.models import study_model
from macrodyn.config.section import LARGEST_SEED
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.systems import Parameters
from macrodyn.systems.registry import BUILT_IN, system_class


def number_leaves(annotation: Any, metadata: tuple[Any, ...] = (), path: str = "") -> list[Any]:
    """Every number inside an annotation, as (path, annotation with what is demanded of it)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [
            leaf
            for name, field in annotation.model_fields.items()
            for leaf in number_leaves(
                field.annotation, tuple(field.metadata), f"{path}.{name}".strip(".")
            )
        ]
    if annotation in (int, float):
        return [(path, Annotated[(annotation, *metadata)] if metadata else annotation)]
    if hasattr(annotation, "__metadata__"):
        return number_leaves(get_args(annotation)[0], annotation.__metadata__, path)
    return [leaf for part in get_args(annotation) for leaf in number_leaves(part, (), path)]


STUDY = study_model(PartialEvolutionRun)
# What the system's own model reads: the configuration keeps it as it is.
LEAVES = [leaf for leaf in number_leaves(STUDY) if not leaf[0].startswith("system.parameters")]


def test_all_numbers_of_a_configuration_are_found():
    paths = {path for path, _ in LEAVES}
    assert len(LEAVES) > 40
    assert paths >= {
        "seed",
        "conditions",
        "published",
        "sizes.patch",
        "simulate.initial_range",
        "simulate.times",
        "dynamics.covariance_factor",
        "dynamics.hidden",
        "evaluate.horizons.step",
        "execution.shards",
    }


@pytest.mark.parametrize(("path", "annotation"), LEAVES, ids=[path for path, _ in LEAVES])
@pytest.mark.parametrize("value", [True, False, "1_0", "010", "1:30", " 1", "one", "١"])
def test_no_number_is_taken_from_what_is_none(path, annotation, value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(annotation).validate_python(value)
    kinds = {error["type"].split("_")[1] for error in caught.value.errors()}
    assert kinds == ({"type"} if isinstance(value, bool) else {"parsing"})


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("1.5E2", 150.0), ("-2", -2), ("+.5", 0.5), ("3.", 3.0), ("1e3", 1000)],
)
def test_decimal_text_is_read(text, number):
    """YAML 1.1 takes 1e-3 for text."""

    class Own(Parameters):
        value: float

    assert Own(value=text).value == number
    times = STUDY.model_fields["conditions"].annotation
    assert TypeAdapter(times).validate_python({"t": [text]}) == {"t": (number,)}


def test_whole_numbers_may_be_written_as_real_ones():
    seed = Annotated[int, *STUDY.model_fields["seed"].metadata]
    for given in (5, 5.0, "5", "5.0", "0.5e1"):
        assert TypeAdapter(seed).validate_python(given) == 5
    with pytest.raises(ValidationError, match="fractional part"):
        TypeAdapter(seed).validate_python("5.5")


def test_zero_has_no_sign():
    class Own(Parameters):
        value: float

    for given in (-0.0, "-0.0", 0, 0.0):
        assert math.copysign(1, Own(value=given).value) == 1


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1, 2**64])
def test_seeds_have_one_range(seed):
    seeds = Annotated[int, *STUDY.model_fields["seed"].metadata]
    assert TypeAdapter(seeds).validate_python(LARGEST_SEED) == LARGEST_SEED
    with pytest.raises(ValidationError, match="equal to"):
        TypeAdapter(seeds).validate_python(seed)


class OwnParameters(Parameters):
    """Parameters as an author may write them, without a thought of configurations."""

    real: float = 1.0
    whole: Annotated[int, Field(ge=0)] = 1
    maybe: float | None = None
    choice: Literal["auto"] | float = "auto"
    either: float | str = 1.0
    switch: bool = False
    switch_or_number: bool | int = 1
    word: str = ""


class OwnSubclass(OwnParameters):
    """A subclass with one more."""

    more: int = 1


NUMBERS = ("real", "whole", "maybe", "choice", "either", "more")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False])
def test_no_truth_value_is_a_number_of_an_own_system(name, value):
    with pytest.raises(ValidationError) as caught:
        OwnSubclass(**{name: value})
    (error,) = caught.value.errors()
    assert (error["loc"], error["type"][-5:]) == ((name,), "_type")


@pytest.mark.parametrize("name", ["real", "whole", "maybe", "choice", "more"])
def test_no_odd_notation_is_a_number_of_an_own_system(name):
    with pytest.raises(ValidationError) as caught:
        OwnSubclass(**{name: "1_0"})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize("name", NUMBERS)
def test_decimal_text_is_a_number_of_an_own_system(name):
    assert getattr(OwnSubclass(**{name: "2e0"}), name) == 2


def test_what_is_no_number_of_an_own_system_stays_as_it_is():
    given = {"switch": True, "switch_or_number": False, "word": "1e-3", "either": "wide"}
    found = OwnSubclass(**given, choice="auto").model_dump(include=given.keys() | {"choice"})
    assert found == {**given, "choice": "auto"}
    assert found["switch"] is True and found["switch_or_number"] is False


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_truth_value_is_a_number_of_a_built_in_system(name):
    model = system_class(name).Parameters
    for field, info in model.model_fields.items():
        if float in (info.annotation, *get_args(info.annotation)):
            with pytest.raises(ValidationError, match=field):
                model(**{"temperature": 1.0, field: True})
