"""Sealed files: each ends with a digest of all bytes before it, which every reader checks first.

A file that was cut short, or of which any bit changed, is so refused as a whole, before a library
interprets a single byte of it. Two forms: binary files with a trailer behind their own end, which
HDF5 leaves unread, and JSON whose last key holds the digest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from macrodyn.paths import StrPath
from macrodyn.storage.errors import missing, refusal, unreadable
from macrodyn.storage.files import atomic_path
from macrodyn.storage.provenance import check_origin, place

_MAGIC = b"macrodyn-sha256\n"
_DIGEST = hashlib.sha256().digest_size
_TRAILER = len(_MAGIC) + _DIGEST
_CHUNK = 2**20

_NO_SEAL = "cannot be read (no seal at its end: it was cut short, or macrodyn did not write it)"
_BROKEN = "cannot be read (damaged: its bytes are not those that were sealed)"

_ORIGIN = "origin"
_SEAL = "seal"
_OPENING = f',\n "{_SEAL}": "'.encode()
_CLOSING = b'"\n}\n'
_TAIL = len(_OPENING) + 2 * _DIGEST + len(_CLOSING)


def seal(path: StrPath) -> None:
    """Append the digest of a binary file to it."""
    with Path(path).open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, 2)
        file.write(_MAGIC + digest)


def verify(path: StrPath) -> None:
    """Check that a binary file is whole: all that was sealed, and nothing behind it.

    Raises:
        StoreError: If the file is missing, cannot be read, is not sealed, or has changed since.
    """
    try:
        with Path(path).open("rb") as file:
            left = file.seek(0, 2) - _TRAILER
            if left < 0:
                raise refusal(path, _NO_SEAL)
            file.seek(0)
            found = hashlib.sha256()
            while left:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    raise refusal(path, _BROKEN)
                found.update(chunk)
                left -= len(chunk)
            trailer = file.read()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from error
    _check_trailer(path, trailer, found.digest())


def read_sealed(path: StrPath) -> bytes:
    """Read a binary file whole, without its seal, once that is verified.

    Raises:
        StoreError: If the file is missing, cannot be read, is not sealed, or has changed since.
    """
    content = _read(path)
    payload = content[:-_TRAILER]
    _check_trailer(path, content[len(payload) :], hashlib.sha256(payload).digest())
    return payload


def write_sealed_json(path: StrPath, content: dict[str, Any]) -> None:
    """Write strict, readable JSON atomically, with the digest of its text as the last key.

    Args:
        path: The file.
        content: Plain values; nan and infinities are refused.

    Raises:
        ValueError: If a value is not finite, or `content` has one of the keys that are added.
        WriteError: If the file cannot be written.
    """
    text = sealed_text(path, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(text)


def sealed_text(path: StrPath, content: dict[str, Any]) -> bytes:
    """Return what `write_sealed_json` writes to a path."""
    if not content or {_ORIGIN, _SEAL} & content.keys():
        raise ValueError(f"{Path(path).name} needs keys other than {_ORIGIN!r} and {_SEAL!r}")
    origin = {_ORIGIN: place(path)} if place(path) else {}
    text = json.dumps({**content, **origin}, indent=1, allow_nan=False)
    body = text.removesuffix("\n}").encode()
    return body + _OPENING + _hexdigest(body) + _CLOSING


def read_sealed_json(path: StrPath) -> dict[str, Any]:
    """Read what `write_sealed_json` wrote, once its seal and its origin are verified.

    Raises:
        StoreError: If the file is missing, cannot be read, is not sealed, has changed since, or
            was made for another place.
    """
    text = _read(path)
    body, tail = text[:-_TAIL], text[-_TAIL:]
    if not (tail.startswith(_OPENING) and tail.endswith(_CLOSING)):
        raise refusal(path, _NO_SEAL)
    if tail != _OPENING + _hexdigest(body) + _CLOSING:
        raise refusal(path, _BROKEN)
    try:
        content = json.loads(text)
        del content[_SEAL]
        check_origin(content.pop(_ORIGIN, {}), path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refusal(path, f"cannot be read (not what macrodyn writes: {error})") from None
    return content


def _read(path: StrPath) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from error


def _check_trailer(path: StrPath, trailer: bytes, digest: bytes) -> None:
    if not trailer.startswith(_MAGIC):
        raise refusal(path, _NO_SEAL)
    if trailer != _MAGIC + digest:
        raise refusal(path, _BROKEN)


def _hexdigest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
