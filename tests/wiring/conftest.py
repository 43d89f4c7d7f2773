"""One bench for all tests of the wiring."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import pytest
import torch

from .bench import Bench


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The little study, whose stages are made at need."""
    # As numba starts its threads it sets those of torch as well, which at this size only wait for
    # each other: twenty times as long.
    numba.get_num_threads()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Bench(tmp_path_factory.mktemp("bench"))
    torch.set_num_threads(threads)
