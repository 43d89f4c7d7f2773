"""Errors of files: each names the file, says what is wrong, and how to go on."""

from __future__ import annotations

import shlex

from macrodyn.paths import StrPath

AGAIN = "then run the same command again"


class Interrupted(BaseException):
    """A computation stopped because it was asked to; its checkpoint is written.

    No error, so that nothing takes it for one: like KeyboardInterrupt, it passes by
    ``except Exception``.
    """


class WriteError(OSError):
    """A file could not be written; the message says why and how to go on."""


class StoreError(RuntimeError):
    """A data file is missing, damaged or not what was expected.

    Attributes:
        problem: What is wrong, without the file's name and the way on.
    """

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem or message


def refusal(path: StrPath, problem: str, *beside: StrPath) -> StoreError:
    """Make the error of a file that cannot be used: its name, the reason and the way on.

    Args:
        path: The file.
        problem: What is wrong with it.
        beside: Files to be made again with it.
    """
    files = " ".join(shlex.quote(str(file)) for file in (path, *beside))
    return StoreError(f"{path} {problem}: rm {files}, {AGAIN}", problem)


def missing(path: StrPath) -> StoreError:
    """Make the error of a file that is not there."""
    return StoreError(f"{path} is missing: run the same command again", "is missing")


def unreadable(path: StrPath, error: OSError) -> StoreError:
    """Make the error of a file that the system does not give."""
    problem = f"cannot be read ({error.strerror or error})"
    return StoreError(f"{path} {problem}: make it readable, {AGAIN}", problem)
