"""A million records, simulated: what their index, shuffle, files and metadata take of a host.

    python benchmarks/million.py --out docs/results/scaling.md

The records are tiny clips, all alike, in as many files as real ones would be in; whatever grows with
their number and not with their pixels is as it would be. Each measurement is a process of its own.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import psutil

from aufer_jax.data import loader, mixture, records, views
from aufer_jax.datasets import duplicates, store
from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
NAMES, READS, DESCRIPTORS = ("neutral", "happiness", "sadness"), 20_000, 1024
NOTE = """Clips of one frame of 8 x 8 pixels, all alike, in files as `aufer data prepare` writes them, in
the page cache. `MB`: what the process's memory grows by at most. {descriptors} open files are what a
process may have by default on most systems. Copies are looked for among all pairs: a hundred times the
work for ten times the records."""
COMMAND = "python benchmarks/million.py"


def info(count: int) -> records.DatasetInfo:
    """What is known of the simulated dataset."""
    return records.DatasetInfo("million", records.CLIP, NAMES, (1,), {"train": count}, "", "")


def payload(place: int) -> records.Record:
    """One clip."""
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    au = np.zeros((1, 1), np.float32)
    known = np.ones(1, bool)
    return {
        "frames": [png],
        "key": f"{place}",
        "expression": place % 3,
        "au": au,
        "au_known": known,
    }


def names(count: int) -> list[str]:
    """The records' keys."""
    return [f"folder_{place % 1000}/clip_{place:07}.mp4" for place in range(count)]


# --- What is measured -----------------------------------------------------------------------------


def order(count: int) -> Any:
    """The records' places in the files."""
    return store.hashed_order("train", names(count))


def write(count: int, folder: str, bounded: bool = True) -> None:
    """All files and their metadata; records are made once, so that only writing counts."""
    from array_record.python import array_record_module  # pyright: ignore

    if not bounded:
        store.FILES = count
    known = info(count)
    features = records.features(known.kind, 1)
    raw = [features.serialize_example(records.complete(payload(i), known.kind)) for i in range(3)]

    def write_pieces(pieces: list[store.Piece]) -> None:
        for piece in pieces:
            writer = array_record_module.ArrayRecordWriter(str(piece.path), "group_size:1")
            for place in piece.places:
                writer.write(raw[place % 3])
            writer.close()

    store.write(known, pathlib.Path(folder), {"train": names(count)}, write_pieces)


def opened(count: int, folder: str) -> store.ArrayRecordSource:
    """The dataset, ready to be read."""
    return store.ArrayRecordSource(info(count), pathlib.Path(folder), "train")


def read(count: int, folder: str) -> str:
    """Records here and there, with all descriptors that the system gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    source, rng = opened(count, folder), np.random.default_rng(0)
    for place in rng.integers(0, count, READS):
        source[int(place)]
    return f"{psutil.Process().num_fds()} files open"


def read_with_few(count: int, folder: str) -> str:
    """The same with the usual limit of descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
    source, rng = opened(count, folder), np.random.default_rng(0)
    for read, place in enumerate(rng.integers(0, count, READS)):
        try:
            source[int(place)]
        except Exception as error:
            return f"fails after {read} records: {str(error)[-80:]}"
    return "works"


def part(count: int, folder: str, **options: bool) -> mixture.Part:
    """The dataset as a run trains on it."""
    spec = views.Spec(size=8, aus=(1,), expressions=NAMES)
    return mixture.Part(opened(count, folder), spec, **options)


def epoch(count: int, folder: str) -> str:
    """The order of a first epoch, then single rows of it."""
    made = mixture.Order(part(count, folder), 0, 0)
    began = time.perf_counter()
    made[0]
    first = time.perf_counter() - began
    began = time.perf_counter()
    for place in range(READS):
        made[place]
    each = (time.perf_counter() - began) / READS
    return f"first row {1e3 * first:.0f} ms, each other {1e6 * each:.1f} us"


def epochs(count: int, folder: str) -> None:
    """The orders of 16 epochs, of which all are kept."""
    made = mixture.Order(part(count, folder), 0, 0)
    for number in range(16):
        made[number * count]


def balanced(count: int, folder: str) -> None:
    """The order of an epoch with all classes alike, for which every label is asked."""
    mixture.Order(part(count, folder, balanced=True), 0, 0)[0]


def position(count: int, folder: str) -> str:
    """What of the stream goes into a checkpoint."""
    described = loader.describe(part(count, folder), batch_size=8192)
    return f"{len(json.dumps(loader.State(10**6, 0, described).to_dict()))} bytes"


def copies(count: int) -> None:
    """The search for records of different splits that look the same."""
    hashes = np.random.default_rng(0).integers(0, 2**63, (count, 2))
    splits = ["test" if place % 10 == 0 else "train" for place in range(count)]
    duplicates.across_splits([tuple(pair) for pair in hashes.tolist()], splits)


# --- Tables ---------------------------------------------------------------------------------------


def _inside(function: Callable[..., Any], given: tuple) -> tuple[float, float, str]:
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    said = function(*given)
    took = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return took, max(most - before, 0), said if isinstance(said, str) else ""


def row(what: str, count: int, function: Callable[..., Any], *given: Any) -> dict[str, object]:
    """One line, measured in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as pool:
        took, grown, said = pool.submit(_inside, function, (count, *given)).result()
    line = {"what": what, "records": f"{count:,}", "s": f"{took:.2f}", "MB": f"{grown / 1e6:.0f}"}
    print(line, said, flush=True)
    return {**line, "": said}


READING = {
    "open": opened,
    f"open, then read {READS:,} here and there": read,
    f"the same with {DESCRIPTORS} open files": read_with_few,
}
SHUFFLING = {
    "shuffle an epoch": epoch,
    "shuffle 16 epochs": epochs,
    "shuffle an epoch, classes balanced": balanced,
    "the loader's state in a checkpoint": position,
}


def measure(count: int, bounded: bool = True) -> list[dict[str, object]]:
    """All lines of so many records; without `bounded` those of files as long as short splits have."""
    with tempfile.TemporaryDirectory() as place:
        folder = str(store.folder(pathlib.Path(place) / "made"))
        lines = [row("write files, metadata and checksums", count, write, folder, bounded)]
        files = len(list(pathlib.Path(folder).glob("*array_record*")))
        kept = sum(p.stat().st_size for p in pathlib.Path(folder).iterdir() if p.suffix == ".json")
        lines[-1][""] = f"{files} files, {kept / 1e6:.2f} MB of metadata"
        known = {**READING, **SHUFFLING} if bounded else READING
        lines += [row(what, count, function, folder) for what, function in known.items()]
    if not bounded:
        return [{**line, "what": f"{line['what']}; files of 256"} for line in lines]
    lines.append(row("order of the files' records, by hashed keys", count, order))
    if count <= 100_000:
        lines.append(row("copies across splits, in preparing", count, copies))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "scaling.md"
    )
    given = parser.parse_args()
    lines = [line for count in given.records for line in measure(count)]
    lines += measure(max(given.records), bounded=False)
    note = NOTE.format(descriptors=DESCRIPTORS)
    results.write_section(given.out, "A million records, simulated", lines, COMMAND, note)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
