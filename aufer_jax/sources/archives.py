"""Zip files of others: opened only if what they claim to hold is in proportion to what they are.

Sizes are those of the directory, which `zipfile` never exceeds when it reads an entry.
"""

import os
import struct
import zipfile
import zlib
from typing import BinaryIO

from aufer_jax.errors import UserError, brief
from aufer_jax.sources import limits

_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def opened(path: str | os.PathLike | BinaryIO) -> zipfile.ZipFile:
    """The archive, after a look at the size of its directory; a UserError without the path if damaged."""
    if isinstance(path, str | os.PathLike):
        with open(path, "rb") as file:
            size = _directory_size(file)
    else:
        size = _directory_size(path)
    most = limits.most("DIRECTORY")
    if size > most:
        raise UserError(
            f"a zip file with a directory of {size:,} bytes; {limits.hint('DIRECTORY')}"
        )
    try:
        return zipfile.ZipFile(path)  # type: ignore[arg-type]
    except Exception as error:  # a damaged directory raises errors of many kinds
        raise UserError(f"a damaged zip file: {brief(error)}") from error


def checked_total(archive: zipfile.ZipFile) -> int:
    """The bytes of all entries together, if they are in proportion to the file."""
    total = sum(entry.file_size for entry in archive.infolist())
    there = os.path.getsize(archive.filename or "")
    if total > limits.FREE + limits.most("RATIO") * there:
        raise UserError(
            f"a zip file of {there:,} bytes that claims to hold {total:,}; {limits.hint('RATIO')}"
        )
    for entry in archive.infolist():
        _check_method(entry)
    return total


def read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry; a UserError without its name if it is damaged or too large."""
    check_entry(entry)
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, struct.error) as error:
        raise UserError(f"damaged in its zip file: {brief(error)}") from error


def check_entry(entry: zipfile.ZipInfo) -> None:
    """A UserError if reading the entry would take more memory than it may."""
    _check_method(entry)
    if entry.file_size > limits.most("BYTES"):
        raise UserError(f"{entry.file_size:,} bytes; {limits.hint('BYTES')}")
    if entry.file_size > limits.FREE + limits.most("RATIO") * entry.compress_size:
        raise UserError(
            f"{entry.file_size:,} bytes packed into {entry.compress_size:,}; {limits.hint('RATIO')}"
        )


def _check_method(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type not in _METHODS:  # others take memory as the file says
        raise UserError("packed in another way than zip's own; pack it again")


def _directory_size(file: BinaryIO) -> int:
    """What the end of a zip file says of its directory; 0 where it has no such end."""
    file.seek(0, os.SEEK_END)
    end = file.tell()
    begin = max(0, end - 2**16 - 100)
    file.seek(begin)
    tail = file.read()
    at, far = tail.rfind(_END), tail.rfind(_END_64)
    sizes = [struct.unpack_from("<I", tail, at + 12)[0]] if 0 <= at <= len(tail) - 22 else []
    sizes = [size for size in sizes if size != 0xFFFFFFFF]
    sizes += [struct.unpack_from("<Q", tail, far + 40)[0]] if 0 <= far <= len(tail) - 56 else []
    return min(max(sizes, default=0), end)
