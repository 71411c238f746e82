"""What tests of preparation share: prepared faces of a table and of a class folder."""

import cv2
import faces_source as faces
import numpy as np

from aufer_jax.datasets import catalog, prepare

COUNT = 30


def run(source, data_dir, **options):
    return prepare.prepare("folder", source, name="mine", data_dir=data_dir, **options)


def all_records(data_dir, name="mine"):
    found = {}
    for split in catalog.info(name, data_dir).splits:
        source = catalog.source(name, split, data_dir)
        found |= {record["key"]: record for record in map(source.__getitem__, range(len(source)))}
    return found


def stored(record):
    return cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)


def table(count=COUNT, **columns):
    return [
        {
            "file": f"face{i}.jpg",
            "expression": faces.word(i).upper(),
            "subject": f"person {i % 10}",
            **{name: value(i) for name, value in columns.items()},
        }
        for i in range(count)
    ]


def au_columns(i):
    """AU12 as both, AU28 as presence only, AU04 without suffix, unknown in face 0."""
    au = dict(zip(faces.AUS, faces.face(i)["au"], strict=True))
    present = int(au[12] >= 1)
    return {
        "AU12_r": f"{au[12]:.3f}", " AU12_c": present, "AU28_c": 1 - present,
        "AU4": "" if i == 0 else 2.5,
    }  # fmt: skip


def tabled(folder):
    """A report on faces with landmarks, subjects and AUs of a table, and the folder it is about."""
    faces.write_images(folder / "in" / "deep" / "images", COUNT)
    rows = [row | faces.points(i) | au_columns(i) for i, row in enumerate(table())]
    faces.write_csv(folder / "in" / "labels.csv", rows)
    return run(folder / "in", folder / "data"), folder


def mixed(folder):
    """A report on whole, broken and unusual images of one class, and the folder it is about."""
    place = folder / "in" / "happy"
    faces.write_images(place, 6)
    gray = cv2.cvtColor(faces.pixels(7), cv2.COLOR_BGR2GRAY)
    (place / "gray.jpg").write_bytes(faces.encoded(gray, ".jpg"))
    for name, (data, _) in (faces.broken() | faces.unusual()).items():
        (place / name).write_bytes(data)
    return run(folder / "in", folder / "data"), folder
