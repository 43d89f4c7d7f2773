"""Signals that end a job, such as the SIGTERM before a time limit, and a job's sign of life.

A job's script imports this module before all others, which take seconds: it must stay light.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from macrodyn.storage.errors import Interrupted

if TYPE_CHECKING:
    from macrodyn.storage.checkpoints import Checkpoints

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

    def __init__(self, log: Path | None = None) -> None:
        self.name = ""
        self._log = log
        self._checkpoints: Checkpoints | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None

    def received(self) -> bool:
        """Whether the job shall stop."""
        return bool(self.name)

    def listen(self) -> None:
        """Handle the signals from now on; in the main thread only.

        The handler itself writes nothing, as it may interrupt anything: a thread tells the log that
        the signal has come, even if the step under way lasts longer than what is left.
        """
        if self._pipe or threading.current_thread() is not threading.main_thread():
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._announce, args=(self._pipe[0],), daemon=True).start()
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}

    @contextmanager
    def handled(self, checkpoints: Checkpoints) -> Iterator[None]:
        """Handle the signals inside of the block.

        A loop with checkpoints stops after its step. Elsewhere there is nothing to save: in a SLURM
        job the work goes on until it is done or killed, so that SLURM requeues a preempted job
        instead of seeing it fail; outside of SLURM the job ends at once.

        Args:
            checkpoints: Those of the job's loop.
        """
        self._checkpoints = checkpoints
        self.listen()
        try:
            yield
        finally:
            self._end()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if in_slurm() or (self._checkpoints is not None and self._checkpoints.active):
            return
        if self._checkpoints is not None:
            raise Interrupted("there was nothing to save")
        write_line(self._log, f"stopped by {self.name}: the program was still loading")
        raise SystemExit(_STATUS)

    def _announce(self, pipe: int) -> None:
        while number := os.read(pipe, 1):
            if number[0] in _SIGNALS:
                whence = " (a time limit, preemption or scancel)" if in_slurm() else ""
                write_line(
                    self._log,
                    f"{signal.Signals(number[0]).name} has come{whence}: {self._course()}",
                )
        os.close(pipe)

    def _course(self) -> str:
        if self._checkpoints is None:
            return "the program is still loading"
        if self._checkpoints.active:
            return "to stop after the step under way"
        return "nothing to save"

    def _end(self) -> None:
        if self._pipe is None:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._pipe[1])
        self._pipe = None


def listen(snakemake: Any) -> StopSignal:
    """Begin a job's log, and handle signals, before the imports that take seconds.

    Args:
        snakemake: The object that Snakemake puts into a script.

    Returns:
        What `job` needs to know of a signal that comes meanwhile.
    """
    log = Path(str(snakemake.log[0])) if snakemake.log else None
    stop = StopSignal(log)
    stop.listen()
    if log is not None:
        with suppress(OSError):  # said by the job, whose log it is
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("", encoding="utf-8")
    write_line(log, f"rule {snakemake.rule} starts with {snakemake.threads} thread(s) on {host()}")
    return stop


def write_line(log: Path | None, message: str) -> None:
    """Add a line to a log, past Python's logging, which may be in the middle of one.

    Args:
        log: The log; nothing is done for None, nor where it cannot be written.
        message: What to add, without the time.
    """
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f",{int(now % 1 * 1000):03d}"
    if log is None:
        return
    with suppress(OSError):
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{stamp} {message}\n".encode())
        finally:
            os.close(file)


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
