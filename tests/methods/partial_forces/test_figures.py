"""What figures of partial forces show where there is little to show."""

from __future__ import annotations

import pytest

from macrodyn.methods.partial_forces import figures


@pytest.mark.parametrize(
    ("steps", "losses", "said"),
    [
        ([], [], "not trained"),
        ([500], [[0.2, 0.3]], "validated once, at the end"),
        ([100, 200], [[0.4, 0.5], [0.2, 0.3]], None),
    ],
)
def test_training_says_why_there_is_no_course(steps, losses, said):
    report = {"history": {"steps": steps, "validation_loss": losses}}
    figure = figures.training(report, report, "run")
    for axis in figure.axes:
        assert [text.get_text() for text in axis.texts] == ([said] if said else [])
        assert len(axis.lines) == (0 if said else 2)
