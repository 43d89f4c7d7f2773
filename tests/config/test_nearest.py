"""An unknown key shows the one that was meant."""

from __future__ import annotations

import pytest

from macrodyn.config.load import ConfigError, load_study
from macrodyn.config.models import study_model
from macrodyn.config.nearest import nearest_key
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun

NEAREST = {
    ("upsmple",): "upsample",
    ("Seed",): "seed",
    ("closure", "dimensions"): "dimension",
    ("upsample", "relaxation", "uptoage"): "up_to_age",
    ("evaluate", "horizons", "long", "point"): "points",
    ("groups",): "simulate.groups",
    ("up_to_age",): "upsample.relaxation.up_to_age",
    ("evolve", "temperature"): None,
    ("nonsense",): None,
    ("sizes", "small", "x"): None,
    (8,): None,
}


@pytest.mark.parametrize(("path", "expected"), NEAREST.items(), ids=str)
def test_nearest_key(path, expected):
    assert nearest_key(study_model(PartialEvolutionRun), path) == expected
    assert nearest_key(PartialEvolutionRun, path) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"system": {"name": "ising", "parameters": {"temprature": 2.5}}}, "temperature"),
        ({"conditions": {"feild": [0.0, 0.1]}}, "field"),
        ({"runs": {"a": {"dynamic": {}}}}, "dynamics"),
    ],
    ids=["parameter", "condition", "in a run"],
)
def test_nearest_key_is_told(changes, expected):
    content = {
        "study": "s",
        "system": {"name": "ising", "parameters": {"temperature": 2.5}},
        "sizes": {"small": [8, 6], "large": [16, 18]},
        "runs": {"a": {}},
    }
    with pytest.raises(ConfigError, match=f"; the nearest one is {expected}"):
        load_study({**content, **changes})
