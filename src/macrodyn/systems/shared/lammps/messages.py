"""Messages between a process and its LAMMPS: a line of JSON, then the bytes of arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_message(stream: IO[bytes], content: dict[str, Any], arrays: Sequence[NDArray]) -> None:
    """Write one message.

    Args:
        stream: Where to; it is flushed.
        content: Plain values.
        arrays: Arrays of numbers.

    Raises:
        BrokenPipeError: If nobody reads any more.
    """
    arrays = [np.ascontiguousarray(array) for array in arrays]
    about = [[array.dtype.str, array.shape] for array in arrays]
    stream.write(json.dumps({**content, "arrays": about}).encode() + b"\n")
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], list[NDArray]]:
    """Read one message.

    Args:
        stream: Where from.

    Returns:
        Plain values and arrays, as they were given to `write_message`.

    Raises:
        EOFError: If nobody writes any more, or stopped in the middle.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the other process has ended")
    content = json.loads(line)
    arrays = []
    for dtype, shape in content.pop("arrays"):
        size = np.dtype(dtype).itemsize * math.prod(shape)
        data = stream.read(size)
        if len(data) < size:
            raise EOFError("the other process has ended in the middle of a message")
        arrays.append(np.frombuffer(data, dtype=dtype).reshape(shape).copy())
    return content, arrays
