"""Images a second of the data loader against PyTorch's DataLoader on the same faces and cores.

    python benchmarks/loader.py --out docs/benchmarks/loader.md

Needs the `bench` extra. Every row of a batch is a face read as JPEG, aligned by five points to 112 x 112
with a random mirror, its mirrored and randomly erased view, and its AU heatmap at 28 x 28.
"""

import argparse
import contextlib
import itertools
import pathlib
import tempfile
import time

import cv2
import numpy as np
import torch

from aufer_jax.data import heatmaps, loader, views
from aufer_jax.datasets import catalog
from aufer_jax.geometry import align, landmarks
from aufer_jax.report import results

SIZE = 112
SPEC = views.Spec(size=SIZE, views=views.VIEWS, align="5pt")
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STARTUP = 16  # batches before the clock starts
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
NOTE = """\
Faces: `synth_c` drawn at {pixels} x {pixels}, JPEG, in files or ArrayRecord in the page cache. *aufer_jax*
is `train_batches`: uint8 batches, normalised later on the device. *PyTorch* is a Dataset as its users
write it: OpenCV for decoding and warping, float32 tensors normalised on the host, erasing as torchvision
does it, default collation; it decodes the whole JPEG, where ours decodes at half size the faces that
shrink to less than half. *PyTorch, our operations* calls this library's functions for each image and
keeps uint8, so what is left is the difference of the loaders. All run in one process on the same cores,
by turns, for {rounds} rounds of {images} images from a freshly started loader, after {startup} batches
that do not count; rates and ratios are medians over the rounds, so that other load on the machine meets
all alike. Worker processes share those cores. CPU time is that of the main process, so it is given
without workers only."""


class AsUsersWrite(torch.utils.data.Dataset):
    """Files -> normalised float tensors."""

    def __init__(self, folder: pathlib.Path, landmarks: np.ndarray):
        self.paths = [str(folder / f"{i}.jpg") for i in range(len(landmarks))]
        self.landmarks = landmarks

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = cv2.cvtColor(cv2.imread(self.paths[i]), cv2.COLOR_BGR2RGB)
        matrix = align.face_matrix(self.landmarks[i], SIZE)
        image = cv2.warpAffine(image, matrix, (SIZE, SIZE))
        points = align.transform(self.landmarks[i], matrix)
        if torch.rand(()) < 0.5:
            image = image[:, ::-1].copy()
            points = landmarks.flip(points, SIZE)
        first = torch.from_numpy(image).permute(2, 0, 1).float().div(255).sub(MEAN).div(STD)
        heatmap, _ = heatmaps.draw(points, SPEC.heatmap, SIZE)
        second = self.erase(torch.flip(first, [2]))
        return first, second, torch.from_numpy(heatmap), torch.tensor(i % 7)

    @staticmethod
    def erase(x):
        for _ in range(10):
            area = SIZE * SIZE * torch.empty(()).uniform_(0.02, 0.25).item()
            ratio = torch.empty(()).uniform_(np.log(0.3), np.log(3.3)).exp().item()
            h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if h < SIZE and w < SIZE:
                top = int(torch.randint(0, SIZE - h + 1, ()))
                left = int(torch.randint(0, SIZE - w + 1, ()))
                x[:, top : top + h, left : left + w] = 0
                return x
        return x


class OurOperations(torch.utils.data.Dataset):
    """Records -> uint8 tensors by this library's functions."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        record, rng = self.source[i], np.random.default_rng(torch.initial_seed() + i)
        first, second = np.empty((2, SIZE, SIZE, 3), np.uint8)
        change = views.draw(SPEC.augment, SIZE, rng)
        base = align.face_matrix(record["landmarks"], SIZE)
        matrix = views.render(record["image"], base, change, first)
        views.mirror_and_erase(first, second, SPEC.erase, rng)
        points = align.transform(record["landmarks"], matrix)
        if change.mirrored:
            points = points[list(landmarks.FLIP)]
        heatmap, _ = heatmaps.draw(points, SPEC.heatmap, SIZE)
        return first, second, heatmap, points.astype(np.float32), record["expression"]


@contextlib.contextmanager
def ours(source, batch_size, workers, threads):
    with contextlib.closing(
        loader.train_batches(
            source,
            SPEC,
            batch_size=batch_size,
            seed=0,
            workers=workers,
            threads=threads,
            prefetch=2,
        )
    ) as batches:
        yield batches


@contextlib.contextmanager
def pytorch(dataset, batch_size, workers):
    data = torch.utils.data.DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    yield itertools.chain.from_iterable(itertools.repeat(data))


def rate(batches, batch_size: int, images: int) -> tuple[float, float]:
    """Images a second, and milliseconds of this process's CPU an image, of a fresh loader.

    Batches are taken without a pause from the first one on, so that buffers are as full when the
    clock stops as when it starts: images made before must not count.
    """
    for _ in range(STARTUP):
        next(batches)
    steps = images // batch_size
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return steps * batch_size / wall, 1e3 * cpu / (steps * batch_size)


def write_files(source, folder: pathlib.Path) -> np.ndarray:
    """The faces as JPEG files; returns their landmarks."""
    for i in range(len(source)):
        (folder / f"{i}.jpg").write_bytes(source[i]["image"])
    return np.stack([source[i]["landmarks"] for i in range(len(source))])


def measure(source, folder, args) -> list[dict]:
    landmarks = write_files(source, folder)
    theirs = AsUsersWrite(folder, landmarks), OurOperations(source)
    rows = []
    for workers in (0, 1, 2):
        candidates = {
            "aufer_jax": lambda w=workers: ours(source, args.batch_size, w, 0),
            "PyTorch": lambda w=workers: pytorch(theirs[0], args.batch_size, w),
            "PyTorch, our operations": lambda w=workers: pytorch(theirs[1], args.batch_size, w),
        }
        if workers == 0:
            candidates["aufer_jax, 2 threads"] = lambda: ours(source, args.batch_size, 0, 2)
        found = {name: [] for name in candidates}
        for _ in range(args.rounds):
            for name, make in candidates.items():
                with make() as batches:
                    found[name].append(rate(batches, args.batch_size, args.images))
        rates = {name: np.array([r for r, _ in values]) for name, values in found.items()}
        rows += [
            {
                "loader": name,
                "workers": workers,
                "images/s": round(np.median(rates[name])),
                "times PyTorch's": float(np.median(rates[name] / rates["PyTorch"])),
                "CPU ms/image": "" if workers else float(np.median([c for _, c in found[name]])),
            }
            for name in found
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="docs/benchmarks/loader.md")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=4096, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=224, help="size of the faces in the files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sizes = {"train": 2048, "validation": 1, "test": 1, "occluded": 1}
    source = catalog.source("synth_c", "train", sizes=sizes, size=args.pixels)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(source, pathlib.Path(folder), args)
    note = NOTE.format(pixels=args.pixels, rounds=args.rounds, images=args.images, startup=STARTUP)
    results.write_section(
        args.out, "Data loader", rows, f"python benchmarks/loader.py --out {args.out}", note
    )
    print(results.table(rows))


if __name__ == "__main__":
    main()
