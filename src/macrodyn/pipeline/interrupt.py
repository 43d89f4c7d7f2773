"""Signals that end a job, such as the SIGTERM before a time limit, and a job's sign of life."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from macrodyn.storage.checkpoints import Checkpoints, Interrupted

_LOGGER = logging.getLogger("macrodyn")
# Seconds between two signs of life.
_BEAT = 10.0
# Longest time to wait for SLURM to end a job that it has asked to stop.
_WAIT = 600.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What a shell reports for a process that SIGTERM ended.
_STATUS = 128 + signal.SIGTERM


def in_slurm() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


def host() -> str:
    """Name this machine and, in a SLURM job, the job."""
    return platform.node() + (f", SLURM job {os.environ['SLURM_JOB_ID']}" if in_slurm() else "")


class StopSignal:
    """Remembers a SIGTERM, or the SIGINT of Ctrl-C, until a loop has written its checkpoint.

    Attributes:
        name: The signal, once it has come.
    """

    def __init__(self) -> None:
        self.name = ""

    def received(self) -> bool:
        """Whether the job shall stop."""
        return bool(self.name)

    @contextmanager
    def handled(self, checkpoints: Checkpoints) -> Iterator[None]:
        """Handle the signals inside of the block.

        The handler itself writes nothing, as it may interrupt anything. A loop with checkpoints
        stops after its step. Elsewhere there is nothing to save: in a SLURM job the work goes on
        until it is done or killed, so that SLURM requeues a preempted job instead of seeing it
        fail; outside of SLURM the job ends at once.

        Args:
            checkpoints: Those of the job's loop.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            self.name = signal.Signals(number).name
            if not (checkpoints.active or in_slurm()):
                raise Interrupted("there was nothing to save")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def leave(message: str) -> None:
    """End a job that was asked to stop.

    In a SLURM job this waits to be killed: a preempted job is then requeued under its own number,
    where one that ends by itself counts as failed.

    Args:
        message: What to log.

    Raises:
        SystemExit: Always, with the status of a process ended by SIGTERM.
    """
    _LOGGER.info(message)
    print(message, file=sys.stderr)
    if in_slurm():
        _LOGGER.info("waiting for SLURM to end the job")
        # The end of a time limit, or of a grace time, comes with another SIGTERM.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end = time.monotonic() + _WAIT
        while time.monotonic() < end:
            time.sleep(1.0)
    raise SystemExit(_STATUS)


@contextmanager
def heartbeat(log: Path | None) -> Iterator[None]:
    """Touch a job's log every few seconds, so that one that was killed is told by its silence.

    Args:
        log: The log; None for no sign of life.
    """
    if log is None:
        yield
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            try:
                os.utime(log)
            except OSError:  # the log was taken away, or the folder is read-only for a while
                pass

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
