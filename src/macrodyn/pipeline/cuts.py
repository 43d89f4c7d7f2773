"""Into how many shards a stage was cut that is finished: it is not made again for another cut."""

from __future__ import annotations

from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.logs import read_log


def kept_cut(folder: StrPath) -> int | None:
    """Return the number of shards that a stage's result was gathered from.

    Args:
        folder: The stage's folder.

    Returns:
        Their number; None if the stage is not gathered, or does not say.
    """
    folder = Path(folder)
    if not (folder / "data.nc").exists():
        return None
    log = read_log(folder / "logs" / "gather.log")
    return log.shards if log else None
