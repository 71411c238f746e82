"""Where records wait while TFDS sorts more of them than fit into memory; its own class needs TensorFlow."""

import contextlib
import os
import pathlib
import struct
from collections.abc import Iterator

from tensorflow_datasets.core import shuffle

MEMORY = 64 << 20  # bytes of records before files are used; TFDS has 1 GB

_KEY = 16  # bytes of a key, a hash of 128 bits


class Bucket:
    """Records with their keys in one file, as `shuffle.Shuffler` asks for them."""

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        self._length = 0
        self.size = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: int, data: bytes) -> None:
        # Opened each time: there are a thousand buckets, and a process may open no more files.
        with self._path.open("ab") as file:
            file.write(key.to_bytes(_KEY, "big") + struct.pack("=Q", len(data)))
            file.write(data)
        self._length += 1
        self.size += len(data)

    def read_values(self) -> Iterator[tuple[int, bytes]]:
        if not self._length:
            return
        with self._path.open("rb") as file:
            while key := file.read(_KEY):
                (size,) = struct.unpack("=Q", file.read(8))
                yield int.from_bytes(key, "big"), file.read(size)

    def del_file(self) -> None:
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def used(memory: int = MEMORY) -> Iterator[None]:
    """Makes TFDS sort through these, and early."""
    before = shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE
    shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE = Bucket, memory
    try:
        yield
    finally:
        shuffle._Bucket, shuffle.MAX_MEM_BUFFER_SIZE = before
