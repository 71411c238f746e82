"""Fabricated sources of the published datasets: their files, in miniature, with drawn faces."""

import csv
import io
import json

import cv2
import faces_source as faces
import numpy as np

RAFDB_TRAIN, RAFDB_TEST = [1, 2, 3, 4, 5, 6, 7] * 6, [4, 7, 1, 2, 3, 5, 6] * 2

# Usage, image name, ten votes: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt,
# unknown, not a face.
FERPLUS = [
    ("Training", "fer0000000.png", 10, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    ("Training", "fer0000001.png", 4, 6, 0, 0, 0, 0, 0, 0, 0, 0),
    ("Training", "fer0000002.png", 5, 5, 0, 0, 0, 0, 0, 0, 0, 0),  # no majority
    ("Training", "fer0000003.png", 0, 5, 0, 4, 0, 0, 1, 0, 0, 0),  # 5 of 9: one vote is a slip
    ("Training", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 10),
    ("Training", "fer0000005.png", 1, 0, 0, 0, 0, 0, 0, 0, 8, 1),  # unknown
    ("Training", "fer0000006.png", 0, 0, 0, 0, 0, 0, 0, 7, 3, 0),
    ("PublicTest", "fer0000007.png", 0, 0, 0, 0, 9, 1, 0, 0, 0, 0),
    ("PublicTest", "fer0000008.png", 0, 1, 8, 0, 0, 0, 1, 0, 0, 0),
    ("PrivateTest", "fer0000009.png", 1, 0, 0, 0, 3, 6, 0, 0, 0, 0),
    ("PrivateTest", "fer0000010.png", 0, 0, 2, 0, 0, 0, 7, 1, 0, 0),
    ("PrivateTest", "fer0000011.png", 5, 0, 0, 5, 0, 0, 0, 0, 0, 0),  # no majority
]
FERPLUS_FOLDERS = {
    "Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test",
}  # fmt: skip

# Name and label. 7 contempt, 8 none, 9 uncertain, 10 no face.
AFFECTNET_TRAIN = [(f"aa{i:02}", i % 8) for i in range(16)] + [("ab00", 8), ("ab01", 10)]
AFFECTNET_TEST = [(f"ba{i:02}", i % 8) for i in range(8)]


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def rows_of(rows, **options):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **options).writerows(rows)
    return text.getvalue()


def rafdb(folder):
    names = [f"train_{i:05}" for i in range(1, len(RAFDB_TRAIN) + 1)]
    names += [f"test_{i:04}" for i in range(1, len(RAFDB_TEST) + 1)]
    labels = [*RAFDB_TRAIN, *RAFDB_TEST]
    lines = [f"{name}.jpg {label}" for name, label in zip(names, labels, strict=True)]
    write(folder / "EmoLabel/list_patition_label.txt", "\n".join(lines))
    for i, name in enumerate(names):
        write(folder / f"Image/aligned/{name}_aligned.jpg", faces.face(i)["image"])
    write(folder / "Image/original/train_00001.jpg", faces.face(0)["image"])
    write(folder / "Annotation/auto/train_00001_auto_attri.txt", "1 2\n")


def rafdb_lists(folder):
    """The third test image is missing, the second is labelled otherwise."""
    lines = ("test_0001_aligned 3 4", "test_0002_aligned 5 1", "test_0999_aligned 3 2")
    write(folder / "RAF_DB_dir/rafdb_occlusion_list.txt", "\n".join(lines))
    write(
        folder / "RAF_DB_dir/val_raf_db_list.txt",
        "3/test_0001_aligned.jpg\n0/test_0003_aligned.jpg",
    )
    write(folder / "RAF_DB_dir/val_raf_db_list_45.txt", "0/test_0003_aligned.jpg\n")


def gray(i):
    return cv2.resize(cv2.cvtColor(faces.pixels(i), cv2.COLOR_BGR2GRAY), (48, 48))


def ferplus(folder, form):
    if form == "tables":
        header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt"
        text = f"{header},unknown,NF\n{rows_of(FERPLUS)}"
        write(folder / "fer2013new.csv", text)
        pixels = [(0, " ".join(map(str, gray(i).ravel())), r[0]) for i, r in enumerate(FERPLUS)]
        write(folder / "fer2013.csv", "emotion,pixels,Usage\n" + rows_of(pixels))
        return
    for usage, place in FERPLUS_FOLDERS.items():
        rows = [
            (name, "(0, 0, 48, 48)", *votes) for u, name, *votes in FERPLUS if u == usage and name
        ]
        write(folder / "data" / place / "label.csv", rows_of(rows))
    for i, (usage, name, *_) in enumerate(FERPLUS):
        if name:
            place = folder / "data" / FERPLUS_FOLDERS[usage] / name
            write(place, faces.encoded(gray(i), ".png"))


def ferplus_lists(folder):
    lines = ("5_fer0000009.png 8 0", "6_fer0000010.png 8 3", "3_fer0000011.png 8 1")
    write(folder / "FERplus_dir/jianfei_occlusion_list.txt", "\n".join(lines))
    write(folder / "FERplus_dir/pose_30_ferplus_list.txt", "6/fer0000010.jpg\n")
    write(folder / "FERplus_dir/pose_45_ferplus_list.txt", "2/fer0000010.jpg\n")


BOX = (5, 4, 30, 32)  # left, top, width, height


def affectnet(folder, form):
    parts = {"train": AFFECTNET_TRAIN, "val": AFFECTNET_TEST}
    if form == "full":
        for name, part in (("training", "train"), ("validation", "val")):
            rows = [_affectnet_row(i, *row) for i, row in enumerate(parts[part])]
            if part == "train":  # the validation file has no header
                rows.insert(0, AFFECTNET_HEADER)
                no_box = list(_affectnet_row(0, "ac00", 0))
                rows.append((no_box[0], -1, -1, -1, -1, *no_box[5:]))
            write(folder / f"{name}.csv", rows_of(rows))
        root = folder / "Manually_Annotated/Manually_Annotated_Images"
        for i, (name, label) in _indexed(parts):
            if label < 8:
                write(root / f"12/{name}.jpg", faces.face(i)["image"])
    elif form == "small":
        for i, (name, label, part) in enumerate(_all(parts)):
            place = folder / "AffectNet" / f"{part}_set"
            write(place / f"images/{name}.jpg", faces.face(i)["image"])
            _save(place / f"annotations/{name}_exp.npy", np.array(str(label) if i % 2 else label))
            _save(place / f"annotations/{name}_lnd.npy", faces.face(i)["landmarks"].ravel())
        write(folder / "AffectNet/val_set/images/bz99.jpg", faces.face(0)["image"])
    else:
        for i, (name, label, part) in enumerate(_all(parts)):
            write(folder / f"images/{part}/{label}/{name}.jpg", faces.face(i)["image"])
        for part, rows in parts.items():
            listed = [(f"images/{part}/{label}/{name}.jpg", label) for name, label in rows]
            _save(folder / f"{part}_list.npy", np.array(listed))


AFFECTNET_HEADER = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip


def _all(parts):
    return [(name, label, part) for part, rows in parts.items() for name, label in rows]


def _indexed(parts):
    return enumerate((name, label) for name, label, _ in _all(parts))


def _affectnet_row(i, name, label):
    i += len(AFFECTNET_TRAIN) * name.startswith("b")
    points = ";".join(f"{x:.4f}" for x in faces.face(i)["landmarks"].ravel())
    return (f"12/{name}.jpg", *BOX, points, label, "0.1", "-2")


def _save(path, array):
    file = io.BytesIO()
    np.save(file, array)
    write(path, file.getvalue())


# Name, label, part, and the soft label of neutral, happiness, ...; it need not sum to 1.
AFFECTNETPLUS = {
    "human_annotated/train_set": [
        ("10", 0, 0, (0.6, 0.2, 0.2, 0, 0, 0, 0, 0)),
        ("11", 1, 1, (0.5, 1.0, 0, 0, 0, 0, 0, 0.5)),
        ("12", 7, 2, (0, 0, 0, 0, 0, 0, 0.4, 0.6)),
        ("13", 6, "Difficult", (0, 0, 0, 0, 0, 0.25, 0.75, 0)),
        ("14", 2, 0, (0.5, 0.5)),  # no soft label
        ("15", 10, 2, None),  # no face
    ],
    "human_annotated/validation_set": [
        *((f"2{i}", i, i % 3, tuple(float(k == i) for k in range(8))) for i in range(8)),
    ],
    "no_human_annotated": [("30", 3, 1, (0, 0, 0, 0.5, 0.5, 0, 0, 0))],
}


def affectnetplus(folder):
    number = 0
    for place, rows in AFFECTNETPLUS.items():
        for name, label, part, soft in rows:
            told = {"human-label": label, "subset": part, "meta-data": {"age": 30}}
            told["meta-data"]["landmark-68"] = faces.face(number)["landmarks"].ravel().tolist()
            told |= {} if soft is None else {"soft-label": list(soft)}
            write(folder / "AffectNet+" / place / f"images/{name}.jpg", faces.face(number)["image"])
            write(folder / "AffectNet+" / place / f"annotations/{name}.json", json.dumps(told))
            number += 1


def affectnet_lists(folder):
    place = folder / "AffectNet_dir"
    write(place / "occlusion_affectnet_list.txt", "val/1/ba01/\nval/7/ba07/\nval/2/ffff/\n")
    write(place / "pose_30_affectnet_list.txt", "0/ba00.jpg\n7/ba07/8.jpg\n")
    write(place / "pose_45_affectnet_list.txt", "2/ba03.jpg\n")


RAFAU_ROWS = {  # as the list writes them, and the places of the AUs among the 21
    "0001": ("1+2+25", (0, 1, 18)),
    "0002": ("null ", ()),
    "0003": ("L12+R14+26", (8, 9, 19)),
    "0004": ("4+43+27", (2, 20)),
    "0005": ("T23+B16+??", (16, 11)),
}


def rafau(folder, count=5):
    names = [f"{i:04}" for i in range(1, count + 1)]
    lines = [f"{n}.jpg {RAFAU_ROWS.get(n, ('6+12', ()))[0]}" for n in names]
    write(folder / "RAFAU_label.txt", "\n".join(lines) + "\n")
    for i, name in enumerate(names):
        write(folder / f"aligned/{name}_aligned.jpg", faces.face(i)["image"])


def rafau_split_lists(folder):
    """The second disagrees with the list with letters."""
    columns = {
        n: " ".join(str(int(k in places)) for k in range(21))
        for n, (_, places) in RAFAU_ROWS.items()
    }
    columns["0002"] = "1 " + "0 " * 19 + "0"
    parts = {"train": ("0001", "0002", "0003"), "test": ("0004", "0005")}
    for part, names in parts.items():
        lines = [f"{n}.jpg {columns[n]}" for n in names]
        write(folder / f"aligned_split_{part}_label.txt", "\n".join(lines))


def emotionet(folder, form):
    """Three rows with an image and one without; AU 1 is 1, 0 and unknown, AU 26 unknown, 0, 1."""
    rows = []
    for i, (au1, au26) in enumerate([(1, 999), (0, 0), (999, 1), (0, 1)]):
        values = [999] * 60
        values[0], values[25], values[42], values[6] = au1, au26, 1, 1
        rows.append(
            [f"http://a.example/x/N_000000000{i}_0000{i}.jpg", "http://b.example/y.jpg", *values]
        )
    for i in range(3):
        write(folder / f"images/N_000000000{i}_0000{i}.jpg", faces.face(i)["image"])
    if form == "table":
        header = ["'URL'", "'URL orig'", *(f" 'AU {k}'" for k in range(1, 61))]
        quoted = [[f" '{cell}'" for cell in row] for row in rows]
        write(folder / "EmotioNet_FACS_aws_2020_24600.csv", rows_of([header, *quoted]))
    else:
        place = folder / "emotionNet_challenge_files_server_challenge_1.2_aws"
        write(place / "dataFile_0001.txt", rows_of(rows[:2], delimiter="\t"))
        write(place / "dataFile_0002.txt", rows_of(rows[2:], delimiter="\t"))
