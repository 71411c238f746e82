"""From faces to the networks that come with this package, and how good they are on people held out.

    python benchmarks/shipped.py prepare --photographs real_faces.zip  # `drawn`, `photographs`
    python -m aufer_jax.main --config=configs/shipped_small.py --workdir=runs/small
    python benchmarks/shipped.py ship runs/small small
    python benchmarks/shipped.py accuracy --photographs real_faces.zip --openface openface_au.csv

`prepare` draws faces, finds faces in drawings and photographs with the detector `mesh`, aligns them, and
keeps landmarks, blendshapes and AUs: exact ones of drawings, of photographs those that the blendshapes tell.
`ship` measures the calibration on the validation split and writes weights and card into the package.
`accuracy` writes docs/results/predict.md: the raw pictures of the people of the split `test` through the
whole chain. `card` copies its figures into the networks' card, which `accuracy` does too.
"""

import argparse
import csv
import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from aufer_jax import facs, synth
from aufer_jax.datasets import catalog
from aufer_jax.datasets.prepare import prepare
from aufer_jax.evaluate import intervals
from aufer_jax.faces import chain, crops, shapes
from aufer_jax.report import results
from aufer_jax.runs import Predictor, shipping
from aufer_jax.runs.table import Table
from aufer_jax.sources.files import Files, base_name
from aufer_jax.weights import shipped

RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "results" / "predict.md"
ACCURACY = "Accuracy on people held out"
CARD = shipped.place("small").parent / "CARD.md"
MARKS = "<!-- figures, by benchmarks/shipped.py -->", "<!-- end of figures -->"
FIVE = ("neutral", "happiness", "surprise", "sadness", "anger")
DRAWN, PHOTOGRAPHS = "drawn", "photographs"
CLASSES = facs.EXPRESSIONS[:7]
SECOND = 0.5  # weight of the regression on the mesh's features beside `small`, chosen by validation
DIALECTS = ("synth_a", "synth_b", "synth_c", "synth_d")
SIZE = 112
# What `clean` is told to expect in everyday photographs, a rough guess: drawn faces show strong expressions
# far more often.
EVERYDAY = dict.fromkeys(CLASSES, 0.03) | {"neutral": 0.5, "happiness": 0.35}


def draw(folder: pathlib.Path, each: int) -> None:
    """Pictures of `each` faces of every dialect, and `labels.csv` with their true expressions and AUs."""
    folder.mkdir(parents=True)
    columns = [facs.AUS[au].label for au in synth.AUS]
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "expression", "subject", *columns])
        for name in DIALECTS:
            classes = synth.DIALECTS[name].expressions
            for index in range(each):
                # All AUs are known here: these records are not the dialect's own.
                scene = synth.image_scene(name, "train", index)
                record = synth.image_record(name, "train", index, size=160)
                label = classes[record["true_expression"]]
                if label not in CLASSES:
                    continue
                path = f"{name}/{index:05d}.jpg"
                (folder / name).mkdir(exist_ok=True)
                (folder / path).write_bytes(record["image"])
                table.writerow([path, label, scene.subject, *(f"{x:.3f}" for x in scene.au)])


def make(photographs: str, each: int, data_dir: str | None) -> None:
    """The two datasets, each split by people."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        draw(folder / "pictures", each)
        print(crops.align_folder(folder / "pictures", folder / DRAWN, size=SIZE))
        print(prepare("folder", folder / DRAWN, name=DRAWN, data_dir=data_dir, expressions=CLASSES))
        if photographs:
            print(crops.align_folder(photographs, folder / PHOTOGRAPHS, size=SIZE, aus=True))
            print(
                prepare(
                    "folder", folder / PHOTOGRAPHS, name=PHOTOGRAPHS, data_dir=data_dir,
                    expressions=CLASSES, au=str(folder / PHOTOGRAPHS / crops.AUS), au_confidence=0.5,
                )
            )  # fmt: skip


# --- On people held out -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Remembering:
    """The detector `mesh`, which reads each picture once for all networks."""

    detector: chain.MeshDetector
    held: dict[bytes, list[chain.Reading]]

    def read(self, images: Sequence[np.ndarray]) -> list[list[chain.Reading]]:
        keys = [image.tobytes() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self.held}
        self.held.update(zip(new, self.detector.read(list(new.values())), strict=True))
        return [self.held[key] for key in keys]


def accuracy(photographs: str, openface: str, data_dir: str | None, names: Sequence[str]) -> None:
    """Both networks on the raw pictures of the people of the split `test`."""
    test = catalog.source(PHOTOGRAPHS, "test", data_dir=data_dir)
    classes = test.info.expressions
    truth = {row["key"]: classes[row["expression"]] for row in (test[i] for i in range(len(test)))}
    people = len({test[i]["subject"] for i in range(len(test))})
    detector = Remembering(chain.MeshDetector(), {})
    scores, units = [], []
    with tempfile.TemporaryDirectory() as place:
        files = Files(photographs)
        for key in truth:
            picture = pathlib.Path(place) / key
            picture.parent.mkdir(exist_ok=True, parents=True)
            picture.write_bytes(files.read(key))
        for name in names:
            table = Predictor.load(name).predict(place, detector=detector)
            faces = _largest(table)
            scores += _scores(name, truth, faces, table)
            units.append(_agreement(faces, table, openface))
    rows = [
        {"AU": au, "name": facs.AUS[au].name}
        | {f"r, {name}": found.get(au, "") for name, found in zip(names, units, strict=True)}
        for au in facs.OPENFACE_17
    ]
    command = "python benchmarks/shipped.py accuracy --photographs real_faces.zip --openface openface_au.csv"
    results.write_section(
        RESULTS, ACCURACY, scores, command,
        f"{len(truth)} photographs of {people} people of whom no photograph was trained on (`clean` was "
        "trained on none at all), from the raw picture through detector, mesh, alignment and network. A "
        "picture in which no face is found counts as wrong. Recall means and accuracy are over neutral, "
        "happiness, surprise, sadness and anger, all seven classes may be answered; 95 % intervals (BCa) "
        "over pictures. The labels are those of the repository that the photographs come from, and noisy. "
        "ECE: calibration error of the largest probability.",
        heading="aufer predict",
    )  # fmt: skip
    results.write_section(
        RESULTS, "AUs and OpenFace", rows, command,
        "Pearson correlation, on the same photographs, of AU intensities with OpenFace's AUxx_r (static "
        "image models) where OpenFace succeeded. OpenFace is itself an estimate; nothing that ships was "
        "trained on it.",
        heading="aufer predict",
    )  # fmt: skip
    CARD.write_text(with_figures(CARD.read_text()))


def with_figures(card: str) -> str:
    """The card with the figures of docs/results/predict.md between its marks."""
    measured = results.read_table(RESULTS, ACCURACY)
    rows = [
        {
            "network": f"`{row['network']}`",
            "photographs": row["pictures"],
            "accuracy": row["accuracy"],
            "mean recall of five classes (UAR)": row["mean recall"],
        }
        for row in measured
    ]
    before, _, rest = card.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    return f"{before}{MARKS[0]}\n\n{results.table(rows)}\n\n{MARKS[1]}{after}"


def _largest(table: Table) -> dict[str, int]:
    """File -> the row of its largest face, files without one left out."""
    rows: dict[str, int] = {}
    for i in np.argsort(np.nan_to_num(table["width"] * table["height"]), kind="stable"):
        if table["face"][i] >= 0:
            rows["/".join(pathlib.Path(str(table["file"][i])).parts[-2:])] = int(i)
    return rows


def _scores(name: str, truth: dict[str, str], faces: dict[str, int], table: Table) -> list[dict]:
    """One row: accuracy and mean recall of the five classes, with intervals."""
    names = [*CLASSES, "no face"]
    counts, sure = np.zeros((len(names), len(names)), int), []
    for key, label in truth.items():
        if label not in FIVE:
            continue
        said = str(table["label"][faces[key]]) if key in faces else "no face"
        counts[names.index(label), names.index(said)] += 1
        if key in faces:
            sure.append((max(table[c][faces[key]] for c in CLASSES), said == label))
    found = {
        score: (value(counts), intervals.bca(counts, score))
        for score, value in intervals.SCORES.items()
    }
    row: dict = {"network": name, "pictures": int(counts.sum())}
    row["faces not found"] = int(counts[:, -1].sum())
    for score, (value, (low, high)) in found.items():
        title = "mean recall" if score == "uar" else score
        row[title] = f"{value:.3f} ({low:.3f} to {high:.3f})"
    for label in FIVE:
        true = counts[names.index(label)]
        row[f"{label} ({true.sum()})"] = f"{true[names.index(label)] / true.sum():.2f}"
    row["ECE"] = f"{_ece(np.array(sure)):.3f}"
    return [row]


def _ece(sure: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of (probability, right) rows."""
    place = np.minimum((sure[:, 0] * bins).astype(int), bins - 1)
    parts = [sure[place == i] for i in range(bins) if (place == i).any()]
    return sum(abs((part[:, 0] - part[:, 1]).sum()) for part in parts) / len(sure)


def _agreement(faces: dict[str, int], table: Table, openface: str) -> dict[int, str]:
    """AU -> the correlation of its intensity with OpenFace's."""
    with open(openface, newline="") as file:
        theirs = {row["file"]: row for row in csv.DictReader(file) if row["success"] == "1"}
    pairs = [(i, theirs[base_name(key)]) for key, i in faces.items() if base_name(key) in theirs]
    found = {}
    for au in facs.OPENFACE_17:
        label = facs.AUS[au].label
        if f"{label}_intensity" in table:
            ours = [table[f"{label}_intensity"][i] for i, _ in pairs]
            both = np.corrcoef(ours, [float(row[f"{label}_r"]) for _, row in pairs])
            found[au] = f"{both[0, 1]:.2f}"
    return found


def scale(data_dir: str | None) -> None:
    """Prints what `faces.shapes` has as rest and full of each AU."""
    values, neutral = [], []
    for split in ("train", "validation", "test"):
        source = catalog.source(PHOTOGRAPHS, split, data_dir=data_dir)
        for record in (source[i] for i in range(len(source))):
            values.append(shapes.values(record["blendshapes"]))
            neutral.append(source.info.expressions[record["expression"]] == "neutral")
    rest = np.median(np.array(values)[neutral], 0)
    full = np.quantile(values, 0.995, 0)
    for au, low, high in zip(shapes.AUS, rest, full, strict=True):
        print(f"AU{au:02d}: rest {low:.3f}, full {high:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", default=None, help="prepared datasets")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare")
    verb.add_argument(
        "--photographs", default="", help="real_faces.zip; none: the drawn faces only"
    )
    verb.add_argument("--each", type=int, default=1000, help="faces of every dialect")
    verb = verbs.add_parser("ship")
    verb.add_argument("run")
    verb.add_argument("name", choices=shipped.NAMES)
    verb = verbs.add_parser("accuracy")
    verb.add_argument("--photographs", required=True)
    verb.add_argument("--openface", required=True)
    verb.add_argument("--networks", nargs="+", default=shipped.NAMES)
    verbs.add_parser("card")
    verbs.add_parser("scale")
    given = parser.parse_args()
    if given.verb == "prepare":
        make(given.photographs, given.each, given.data_dir)
    elif given.verb == "ship":
        shares = EVERYDAY if given.name == "clean" else None
        second = SECOND if given.name == "small" else 0.0
        print(shipping.ship(given.run, shipped.place(given.name), shares, second=second))
    elif given.verb == "accuracy":
        accuracy(given.photographs, given.openface, given.data_dir, given.networks)
    elif given.verb == "card":
        CARD.write_text(with_figures(CARD.read_text()))
    else:
        scale(given.data_dir)


if __name__ == "__main__":
    main()
