"""The side that asks: starts a process with LAMMPS and says clearly when it has died."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from macrodyn.systems.shared.lammps.errors import LammpsError, LammpsMissingError
from macrodyn.systems.shared.lammps.messages import read_message, write_message
from macrodyn.systems.shared.lammps.serving import FOLDER, read_log_end, without_launcher


class LammpsProcess:
    """A process with LAMMPS, which starts when it is first asked for something.

    It is started anew after a failure, and in a process that was forked from the one it belongs
    to. It ends with this object, or with its process, however that ends.

    Args:
        module: The module that it runs, which calls `serve`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._owner = 0
        self._finalizer: weakref.finalize[..., Any] | None = None

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        return self._process.pid if self._process and self._owner == os.getpid() else None

    def ask(
        self, action: str, arrays: Sequence[NDArray] = (), **values: Any
    ) -> Iterator[list[NDArray]]:
        """Ask for something.

        Args:
            action: Its name, one of those given to `serve`.
            arrays: Arrays that it takes.
            **values: Plain values that it takes.

        Yields:
            The arrays of each part of the answer, as they come.

        Raises:
            LammpsError: If LAMMPS fails or its process ends.
            LammpsMissingError: If LAMMPS cannot be loaded.
        """
        if self._owner != os.getpid() or self._process is None:
            self._start()
            self._read()
        assert self._process is not None and self._process.stdin is not None
        whole = False
        try:
            with suppress(BrokenPipeError):  # reading will tell why
                write_message(self._process.stdin, {"action": action, **values}, arrays)
            while True:
                kind, part = self._read()
                if kind == "end":
                    whole = True
                    return
                yield part
        finally:
            # What is left of an answer would be taken for the next one.
            if not whole:
                self.close()

    def close(self) -> None:
        """End the process."""
        if self._finalizer is not None and self._owner == os.getpid():
            self._finalizer()
        self._process = self._finalizer = None

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        environment = without_launcher(os.environ)
        # In this order: a conda environment's packages come before those beside an installed
        # macrodyn, which may be for another Python.
        paths = [environment.get("PYTHONPATH"), *map(os.path.abspath, filter(None, sys.path))]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with (self._folder / "stderr.txt").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self._folder,
                env=environment,
                # A signal to this process's group is not for LAMMPS, which may be needed on the
                # way to a checkpoint.
                start_new_session=True,
            )
        self._process, self._owner = process, os.getpid()
        self._finalizer = weakref.finalize(self, _end, process, self._folder, os.getpid())

    def _read(self) -> tuple[str, list[NDArray]]:
        assert self._process is not None and self._process.stdout is not None
        try:
            answer, arrays = read_message(self._process.stdout)
        except EOFError:
            raise self._failure(f"LAMMPS' process ended: {self._how_it_ended()}.") from None
        if answer["kind"] == "missing":
            self.close()
            raise LammpsMissingError(answer["text"])
        if answer["kind"] == "error":
            raise self._failure(f"LAMMPS failed: {answer['text'].strip()}")
        return answer["kind"], arrays

    def _how_it_ended(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        if code >= 0:
            return f"status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        memory = " (perhaps for its memory)" if name == "SIGKILL" else ""
        return f"{name}{memory}"

    def _failure(self, text: str) -> LammpsError:
        error = LammpsError(f"{text}\n{read_log_end(self._folder)}")
        self.close()
        return error


def _end(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    """End a process and remove its folder, but never those of the process forked from."""
    if os.getpid() != owner:
        return
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # what nobody read any more
                stream.close()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
