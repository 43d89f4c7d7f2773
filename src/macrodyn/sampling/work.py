"""How a long sampling loop is gone through: in blocks of a few seconds, interruptible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from macrodyn.sampling.cost import Cost
from macrodyn.storage.checkpoints import Checkpoints

# A block grows no faster than this, as the first one may have waited for a compiler.
_GROWTH = 4


@dataclass
class Work:
    """Goes through the items of a loop in blocks, and keeps what is needed to go on from between.

    An item's result must not depend on the block that it is in. Then the sizes of blocks, which
    follow the speed of the machine, change nothing, nor does an interruption between two of them.

    Attributes:
        progress: Called with items done and items in all after each block.
        checkpoints: Where to keep checkpoints; None keeps none.
        fingerprint: What the loop's result depends on.
        cost: What the loop adds up; kept in checkpoints as well.
        seconds: How long a block should take.
    """

    progress: Callable[[int, int], None] | None = None
    checkpoints: Checkpoints | None = None
    fingerprint: str = ""
    cost: Cost = field(default_factory=Cost)
    seconds: float = 2.0

    def blocks(
        self, sizes: Sequence[int], arrays: dict[str, NDArray], most: int = 2**31
    ) -> Iterator[tuple[int, slice]]:
        """Yield blocks of items, segment by segment.

        Args:
            sizes: Items of each segment; a block never reaches over the end of one.
            arrays: All that the loop fills or changes, by name. What a checkpoint holds replaces
                it before the first block, and the loop must use it through this mapping.
            most: Most items of a block, where their memory matters.

        Yields:
            The segment's number and the items in it.

        Raises:
            Interrupted: If the work shall stop, once its checkpoint is written.
        """
        sizes = [int(size) for size in sizes]
        total = sum(sizes)
        done = self._resume(arrays)
        length = 1
        end = 0
        for segment, size in enumerate(sizes):
            start, end = end, end + size
            while done < end:
                stop = min(done + length, end)
                began = time.monotonic()
                yield segment, slice(done - start, stop - start)
                each = (time.monotonic() - began) / (stop - done)
                wanted = int(self.seconds / max(each, 1e-9))
                length = max(1, min(_GROWTH * length, wanted, most))
                done = stop
                if self.progress is not None:
                    self.progress(done, total)
                if self.checkpoints is not None:
                    state = {"cost": self.cost.state()}
                    self.checkpoints.after(done, total, lambda s=state: (arrays, s))  # type: ignore[misc]
        if self.checkpoints is not None:
            self.checkpoints.close()

    @staticmethod
    def fill(
        arrays: dict[str, NDArray],
        made: Mapping[str, NDArray],
        rows: slice | NDArray[np.int64],
        total: int,
    ) -> None:
        """Put what was made of a block into arrays of all items, which are made at need.

        Args:
            arrays: As given to `blocks`.
            made: What was made, by name, an entry for each item of the block.
            rows: Where the items stand.
            total: Number of all items.
        """
        for name, values in made.items():
            if name not in arrays:
                arrays[name] = np.empty((total, *values.shape[1:]), values.dtype)
            arrays[name][rows] = values

    def _resume(self, arrays: dict[str, NDArray]) -> int:
        if self.checkpoints is None:
            return 0
        stored = self.checkpoints.open(self.fingerprint)
        if stored is None:
            return 0
        kept, state, done = stored
        arrays.clear()
        # What is read from a file cannot be written to.
        arrays.update({name: array.copy() for name, array in kept.items()})
        self.cost.restore(state["cost"])
        return done
