"""Clips a second of the data loader against PyTorch's DataLoader on the same frames and cores.

    python benchmarks/clips.py

Needs the `bench` extra. Writes its section of docs/benchmarks.md. Every row of a batch is a clip: 16 frames
chosen as M3DFEL does, decoded, cropped to 112 x 112, mirrored, and changed in colour, all by one draw a clip.
"""

import argparse
import contextlib
import dataclasses
import itertools
import math
import os
import pathlib
import sys
import tempfile
import time

import cv2
import numpy as np
import torch

from aufer_jax import synth
from aufer_jax.data import loader, records, sampling, views
from aufer_jax.datasets import catalog, store
from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
TITLE = "Clips"
SIZE, FRAMES = 112, 16
DRAWN = 112  # pixels at which clips are drawn, before they are enlarged
STARTUP = 4  # batches before the clock starts
TARGET = 1.5
FLAT = 50  # MB by which the process may grow
AUGMENT = views.Augment(
    flip=0.5, crop=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4,
    shuffle_colour=True,
)  # fmt: skip
SPEC = views.Spec(size=SIZE, augment=AUGMENT, clip=sampling.Sampling(FRAMES, "spread"))

NOTE = """{count} clips of `synth_clips`, {shortest} to {longest} frames, enlarged to {pixels} x {pixels},
JPEG, in files (PyTorch) or ArrayRecord (aufer_jax) in the page cache; batches of {batch_size} clips of
{frames} frames, {size} x {size}. Of clips that short M3DFEL's choice takes some frames again: {share:.0%}
of the chosen are different ones, and aufer_jax draws each of those once. *aufer_jax* is `train_batches`:
uint8 batches, scaled later on the device. *PyTorch* is a Dataset written the ordinary way with OpenCV,
which gives uint8 tensors too; *PyTorch, float32* also scales them on the host, as M3DFEL does. All run on
the same cores, by turns, {rounds} rounds of {batches} batches from a freshly started loader, after
{startup} batches that do not count; rates and ratios are medians over the rounds. Worker processes share
those cores. Goal: {target} times PyTorch with as many workers; measured: {verdicts}. Memory of the process
that loads with 2 threads: {early:.0f} MB after {few} batches, {late:.0f} MB after {many}: {flat}."""


class Ordinary(torch.utils.data.Dataset):
    """Files -> uint8 tensors [T, H, W, 3], or float32 from 0 to 1."""

    def __init__(self, folders, to_float):
        self.paths = [sorted(map(str, folder.iterdir())) for folder in folders]
        self.to_float = to_float

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        paths = self.paths[index]
        start = np.arange(FRAMES) * len(paths) // FRAMES
        places = np.minimum(start + rng.integers(0, FRAMES, FRAMES), len(paths) - 1)
        images = [cv2.cvtColor(cv2.imread(paths[i]), cv2.COLOR_BGR2RGB) for i in places]
        top, left, height, width = self.box(*images[0].shape[:2], rng)
        factors = rng.uniform(0.6, 1.4, 3)
        turns, order = rng.uniform(-0.4, 0.4), rng.permutation(4)
        mirrored = rng.random() < 0.5
        frames = []
        for image in images:
            image = image[top : top + height, left : left + width]
            image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
            if mirrored:
                image = cv2.flip(image, 1)
            frames.append(self.recolour(image, factors, turns, order))
        clip = torch.from_numpy(np.stack(frames))
        if self.to_float:
            clip = clip.permute(3, 0, 1, 2).float().div(255)
        return clip, index % 7

    @staticmethod
    def box(height, width, rng):
        for _ in range(10):
            area, ratio = height * width * rng.uniform(0.08, 1), rng.uniform(3 / 4, 4 / 3)
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if rng.random() < 0.5:
                w, h = h, w
            if w <= width and h <= height:
                return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
        return 0, 0, height, width

    @staticmethod
    def recolour(image, factors, turns, order):
        for change in order:
            if change == 0:
                image = cv2.convertScaleAbs(image, alpha=factors[0])
            elif change == 1:
                mean = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()
                image = cv2.addWeighted(image, factors[1], image, 0, (1 - factors[1]) * mean)
            elif change == 2:
                gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
                image = cv2.addWeighted(image, factors[2], gray, 1 - factors[2], 0)
            else:
                hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
                hsv[..., 0] += np.uint8(round(turns * 256) % 256)
                image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        return image


def enlarge(data: bytes, pixels: int) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def draw(count: int, pixels: int) -> list[records.Record]:
    found = []
    for index in range(count):
        clip = synth.clip_record("synth_clips", "train", index, size=DRAWN)
        clip["frames"] = [enlarge(frame, pixels) for frame in clip["frames"]]
        found.append(clip)
    return found


def write(found, folder: pathlib.Path, copies: int):
    """The clips as folders of files, and as a source of records, each `copies` times."""
    many = [clip | {"key": f"{n}-{clip['key']}"} for n in range(copies) for clip in found]
    folders = [folder / "files" / f"{i:04}" for i in range(len(many))]
    for place, clip in zip(folders, many, strict=True):
        place.mkdir(parents=True)
        for number, data in enumerate(clip["frames"]):
            (place / f"{number:04}.jpg").write_bytes(data)
    info = dataclasses.replace(catalog.info("synth_clips"), splits={"train": len(many)})
    place = store.folder(folder / "records", "enlarged")
    store.write_records(info, place, {"train": many})
    return folders, store.ArrayRecordSource(info, place, "train")


@contextlib.contextmanager
def ours(source, batch_size, workers, threads):
    options = {"batch_size": batch_size, "seed": 0, "prefetch": 2}
    made = loader.train_batches(source, SPEC, workers=workers, threads=threads, **options)
    with contextlib.closing(made) as batches:
        yield batches


@contextlib.contextmanager
def pytorch(dataset, batch_size, workers):
    data = torch.utils.data.DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0,
    )  # fmt: skip
    yield itertools.chain.from_iterable(itertools.repeat(data))


def rate(batches, batch_size: int, count: int) -> float:
    for _ in range(STARTUP):
        next(batches)
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * batch_size / (time.perf_counter() - began)


def measure(source, folders, args) -> list[dict]:
    plain, floats = Ordinary(folders, False), Ordinary(folders, True)
    rows = []
    for workers in (0, 2):
        candidates = {
            "aufer_jax": lambda w=workers: ours(source, args.batch_size, w, 0),
            "PyTorch": lambda w=workers: pytorch(plain, args.batch_size, w),
            "PyTorch, float32": lambda w=workers: pytorch(floats, args.batch_size, w),
        }
        if not workers:
            candidates["aufer_jax, 2 threads"] = lambda: ours(source, args.batch_size, 0, 2)
        found = {name: [] for name in candidates}
        for _ in range(args.rounds):
            for name, make in candidates.items():
                with make() as batches:
                    found[name].append(rate(batches, args.batch_size, args.batches))
        rates = {name: np.array(values) for name, values in found.items()}
        rows += [
            {
                "loader": name,
                "workers": workers,
                "clips/s": float(np.median(rates[name])),
                "times PyTorch": float(np.median(rates[name] / rates["PyTorch"])),
                "times PyTorch, float32": float(np.median(rates[name] / rates["PyTorch, float32"])),
            }
            for name in found
        ]
    return rows


def resident() -> float:
    """Megabytes of memory this process has now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(source, args) -> tuple[float, float]:
    """Memory after a few batches and after many."""
    with ours(source, args.batch_size, 0, 2) as batches:
        for _ in range(args.few):
            next(batches)
        early = resident()
        for _ in range(args.many - args.few):
            next(batches)
        return early, resident()


def different(lengths: list[int]) -> float:
    """The share of a clip's chosen frames that are not chosen before."""
    rng = np.random.default_rng(0)
    chosen = [
        sampling.sample(length, sampling.Sampling(FRAMES, "spread"), rng) for length in lengths
    ]
    return float(np.mean([len(set(places.tolist())) for places in chosen])) / FRAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=224, help="of the frames in the files")
    parser.add_argument("--drawn", type=int, default=16, help="clips that are drawn")
    parser.add_argument("--copies", type=int, default=4, help="of each, in files of their own")
    parser.add_argument("--batches", type=int, default=10, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--few", type=int, default=50, help="batches before memory is looked at")
    parser.add_argument("--many", type=int, default=500, help="batches when it is looked at again")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folders, source = write(draw(args.drawn, args.pixels), pathlib.Path(folder), args.copies)
        lengths = [len(list(folder.iterdir())) for folder in folders]
        early, late = growth(source, args)
        rows = measure(source, folders, args)
    verdicts = [
        f"{row['loader']} with {row['workers']} workers {row['times PyTorch']:.2f}, "
        + ("reached" if row["times PyTorch"] >= TARGET else "not reached")
        for row in rows
        if row["loader"].startswith("aufer_jax")
    ]
    note = NOTE.format(
        count=len(folders), shortest=min(lengths), longest=max(lengths), share=different(lengths),
        pixels=args.pixels, batch_size=args.batch_size, frames=FRAMES,
        size=SIZE, rounds=args.rounds, batches=args.batches, startup=STARTUP, target=TARGET,
        verdicts="; ".join(verdicts), early=early, few=args.few, late=late, many=args.many,
        flat="flat" if late - early <= FLAT else "not flat",
    )  # fmt: skip
    results.write_section(args.out, TITLE, rows, "python " + " ".join(sys.argv), note)
    print(results.table(rows), early, late)


if __name__ == "__main__":
    main()
