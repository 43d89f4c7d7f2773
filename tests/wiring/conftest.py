"""One bench for all tests of the wiring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .bench import Bench


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The little study, whose stages are made at need."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Bench(tmp_path_factory.mktemp("bench"))
    torch.set_num_threads(threads)
