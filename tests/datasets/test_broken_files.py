"""A source as it comes: two hundred files, many of them broken, odd or oddly named, prepared in one go."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import zipfile

import cv2
import faces_source as faces
import numpy as np
import pytest
from PIL import Image, ImageOps

from aufer_jax.datasets import catalog, items, prepare
from aufer_jax.datasets.listing import Face
from aufer_jax.datasets.local import Local
from aufer_jax.sources import images
from aufer_jax.sources.files import Files

PLAIN = 120
SPOT = (41, 11)  # x, y of the bright spot in upright pictures of 64 x 48
ROTATED = tuple((kind, turn) for kind in ("jpg", "png", "webp", "tif") for turn in range(1, 9))
NAMES = (
    "with space.jpg",
    "größe 顔.jpg",
    "smile 😀👍🏽.jpg",
    "two\nlines.jpg",
    "tab\tand,comma;.jpg",
    "it's \"quoted\" | piped.jpg",
    "SHOUT.JPG",
    "Mixed.JpEg",
    "dots.in.name.jpg",
    "-rf.jpg",
    "%20.jpg",
    "x" * 240 + ".jpg",
)  # fmt: skip


def face_image(index=1, size=48):
    return Image.fromarray(np.ascontiguousarray(faces.pixels(index, size)[..., ::-1]))


def rotated(kind, turn):
    """A picture of 64 x 48 as a camera stores it; the camera's pixels are turned back by Pillow."""
    upright = np.full((48, 64, 3), 30, np.uint8)
    upright[SPOT[1] - 2 : SPOT[1] + 3, SPOT[0] - 2 : SPOT[0] + 3] = 255
    if kind == "jpg":
        return faces.turned(upright, turn)
    raw = Image.open(io.BytesIO(faces.turned(upright, turn)))
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"webp": {"lossless": True}, "png": {}, "tif": {}}[kind]
    return faces.saved(
        Image.fromarray(np.array(raw)), "TIFF" if kind == "tif" else kind, exif=exif, **options
    )


def spot_in_file(data):
    """Where the spot is in the pixels of a file, as they lie there (Pillow turns TIFF by itself)."""
    picture = Image.open(io.BytesIO(data))
    raw = np.array(picture.convert("L")).astype(float)
    if picture.format == "TIFF":  # tags say how the rows lie; the bytes are not turned by reading
        raw = tiff_rows(data).astype(float)
    y, x = np.nonzero(raw > 150)
    return x.mean(), y.mean()


def tiff_rows(data):
    """The red pixels of an uncompressed RGB TIFF of one strip, read by hand."""
    at = int.from_bytes(data[4:8], "little")
    tags = {}
    for i in range(int.from_bytes(data[at : at + 2], "little")):
        entry = data[at + 2 + 12 * i : at + 14 + 12 * i]
        width = {3: 2, 4: 4}.get(int.from_bytes(entry[2:4], "little"), 4)
        tags[int.from_bytes(entry[:2], "little")] = int.from_bytes(entry[8 : 8 + width], "little")
    size = (tags[257], tags[256], 3)
    pixels = np.frombuffer(data, np.uint8, int(np.prod(size)), tags[273])
    return pixels.reshape(size)[..., 0]


def frames():
    first = face_image()
    return first, {"save_all": True, "append_images": [ImageOps.mirror(first)] * 2, "duration": 90}


def odd():
    """File name -> bytes and what is done with it; all show `face_image()`."""
    first, more = frames()
    gray = np.array(first.convert("L"))
    half = first.convert("RGBA")
    half.putalpha(128)
    return {
        "moving.gif": (faces.saved(first, "GIF", **more), "GIF to JPEG, transparency on black"),
        "moving.webp": (
            faces.saved(first, "WEBP", lossless=True, **more),
            "WebP to JPEG, transparency on black",
        ),
        "moving.png": (faces.saved(first, "PNG", **more), ""),
        "pages.tif": (
            faces.saved(first, "TIFF", save_all=True, append_images=more["append_images"]),
            "TIFF to JPEG",
        ),
        "gray.png": (faces.saved(first.convert("L"), "PNG"), ""),
        "deep gray.png": (faces.encoded(gray.astype(np.uint16) * 257, ".png"), "16 bits to 8"),
        "gray and alpha.png": (faces.saved(first.convert("LA"), "PNG"), "transparency on black"),
        "half.png": (faces.saved(half, "PNG"), "transparency on black"),
        "progressive.jpg": (faces.saved(first, "JPEG", progressive=True, quality=95), ""),
        "png by content.jpg": (faces.saved(first, "PNG"), ""),
        "cmyk.tif": (
            faces.saved(first.convert("CMYK"), "TIFF"),
            "TIFF to JPEG, transparency on black",
        ),
    }


def unusable():
    """File name -> bytes and why it cannot be used; the kinds `faces_source.broken` does not have."""
    first, more = frames()
    gif, whole = faces.saved(first, "GIF", **more), faces.saved(first, "JPEG")
    end = b"\0\0\0\0IEND\xaeB`\x82"
    heic = b"\0\0\0\x18ftypheic" + bytes(400)
    return {
        "half.gif": (gif[: len(gif) // 2], "cannot be decoded"),
        "half.bmp": (faces.saved(first, "BMP")[:3000], "cannot be decoded"),
        "half.tif": (faces.saved(first, "TIFF")[:3000], "cannot be decoded"),
        "no header.png": (b"\x89PNG\r\n\x1a\n" + end, "truncated or damaged PNG"),
        "two bytes.jpg": (whole[:2], "truncated: JPEG ends too early"),
        "page.jpg": (b"<!DOCTYPE html><title>404</title>", "not an image file"),
        "phone.jpg": (heic, "not an image file"),
        "floats.tif": (faces.saved(first.convert("F"), "TIFF"), "pixels of type float32"),
        "thread.png": (
            faces.encoded(np.zeros((9, 20_000, 3), np.uint8), ".png"),
            "too narrow: 20000x9 pixels",
        ),
        "bomb.jpg": (bomb(whole), "too large: 65500x65500 pixels"),
        "bomb.gif": (gif_bomb(), "too large: 30000x30000 pixels"),
    }


def bomb(whole):
    """A small JPEG whose header says it is 65,500 x 65,500."""
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + (65_500).to_bytes(2, "big") * 2 + whole[at + 4 :]


def gif_bomb():
    """A GIF of 35 bytes that says it is 30,000 x 30,000, and holds one pixel."""
    size = (30_000).to_bytes(2, "little") * 2
    pixel = b"," + bytes(4) + b"\1\0\1\0\0" + b"\2\2L\1\0;"
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + pixel


LINKED = {
    "link.jpg": "",
    "lost.jpg": "cannot be read: No such file or directory",
    "pipe.jpg": "cannot be read: is not a regular file",
}


def build(root):
    """Writes the source and the spots of the rotated pictures; returns the images' paths."""
    happy, sad = root / "happy", root / "sad"
    faces.write_images(happy, PLAIN // 2, "face{}.jpg")
    faces.write_images(sad, PLAIN // 2, "face{}.jpg")  # the same names again
    for place, files in ((happy, odd()), (sad, unusable()), (sad, faces.broken())):
        for name, (data, _) in files.items():
            (place / name).write_bytes(data)
    for number, name in enumerate(NAMES):
        (happy / name).write_bytes(faces.face(number)["image"])
    spots = {}
    for kind, turn in ROTATED:
        data = rotated(kind, turn)
        name = f"turned{turn}.{kind}"
        (happy / name).write_bytes(data)
        spots[f"happy/{name}"] = spot_in_file(data)
    points = np.tile(np.array(list(spots.values()), np.float32)[:, None], (1, 68, 1))
    np.savez(root / "landmarks_68.npz", points=points, files=list(spots))
    (sad / "link.jpg").symlink_to(happy / "face0.jpg")
    (sad / "lost.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(sad / "pipe.jpg")
    (sad / "folder.jpg").mkdir()
    (sad / "up").symlink_to(root)  # leads around
    for name in (".DS_Store", ".hidden.jpg", "Thumbs.db"):
        (sad / name).write_bytes(b"\0\1\2")
    (root / ".thumbnails").mkdir()
    (root / ".thumbnails" / "small.jpg").write_bytes(faces.face(0)["image"])
    (root / "notes.heic").write_bytes(b"\0")
    return spots


@dataclasses.dataclass
class Run:
    report: object
    folder: pathlib.Path
    source: pathlib.Path
    records: dict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    build(folder / "in")
    report = prepare.prepare("folder", folder / "in", name="mine", data_dir=folder / "data")
    found = {}
    for split in catalog.info("mine", folder / "data").splits:
        source = catalog.source("mine", split, folder / "data")
        found |= {record["key"]: record for record in map(source.__getitem__, range(len(source)))}
    return Run(report, folder / "data" / "mine", folder / "in", found)


def shown(record):
    return cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)


def unreadable():
    reasons = {f"sad/{name}": why for name, (_, why) in (unusable() | faces.broken()).items()}
    return reasons | {f"sad/{name}": why for name, why in LINKED.items() if why}


def test_every_file_is_a_record_or_told_of(run):
    kept = {f"{label}/face{i}.jpg" for label in ("happy", "sad") for i in range(PLAIN // 2)}
    kept |= {f"happy/{name}" for name in (*NAMES, *odd())} | {"sad/link.jpg"}
    kept |= {f"happy/turned{turn}.{kind}" for kind, turn in ROTATED}
    assert set(run.records) == kept
    assert run.report.unreadable == unreadable()
    assert run.report.images == len(kept) + len(unreadable()) >= 195
    assert run.report.findings == {
        "No image by its name, not read": ("notes.heic", "sad/Thumbs.db")
    }


def test_the_written_reports_list_every_file_on_a_line_of_its_own(run):
    told = json.loads((run.folder / "report.json").read_text("utf-8"))
    assert told["unreadable"] == unreadable()
    lines = (run.folder / "report.md").read_text("utf-8").splitlines()
    for name, why in unreadable().items():
        assert f"- {name}: {why}" in lines
    at = lines.index(f"## Without landmarks: {len(run.records) - len(ROTATED)}")
    assert "- happy/two\\nlines.jpg" in lines[at:]
    assert "- happy/tab\\tand,comma;.jpg" in lines[at:]
    assert '- happy/it\'s "quoted" \\| piped.jpg' in lines[at:]
    with (run.folder / "splits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {name for name, _ in rows[1:]} == set(run.records)


def test_plain_files_keep_their_bytes_and_labels(run):
    names = catalog.info("mine", run.folder.parent).expressions
    for key, record in run.records.items():
        assert (
            names[record["expression"]]
            == {"happy": "happiness", "sad": "sadness"}[key[:-1].split("/")[0]]
        )
    for i in range(PLAIN // 2):
        for label in ("happy", "sad"):
            assert run.records[f"{label}/face{i}.jpg"]["image"] == faces.face(i)["image"]
    for number, name in enumerate(NAMES):
        assert run.records[f"happy/{name}"]["image"] == faces.face(number)["image"]
    assert run.records["sad/link.jpg"]["image"] == faces.face(0)["image"]


@pytest.mark.parametrize("name", odd())
def test_odd_pictures_show_what_pillow_shows(run, name):
    data, change = odd()[name]
    record = run.records[f"happy/{name}"]
    assert run.report.changed.get(f"happy/{name}", "") == change
    assert (record["image"] == data) == (not change)
    expected = np.array(face_image()).astype(float)
    if name == "half.png":  # half of the light is left on black
        expected = expected * 128 / 255
    if "gray" in name:
        expected = np.repeat(np.array(face_image().convert("L"))[..., None], 3, 2).astype(float)
    # A GIF has 256 colours, CMYK rounds.
    assert np.abs(shown(record)[..., ::-1] - expected).mean() < (5 if "gif" in name else 3)


@pytest.mark.parametrize(("kind", "turn"), ROTATED)
def test_turned_pictures_stand_upright_with_their_points(run, kind, turn):
    record = run.records[f"happy/turned{turn}.{kind}"]
    picture = shown(record)
    assert picture.shape == (48, 64, 3)
    y, x = np.nonzero(picture[..., 0] > 150)
    np.testing.assert_allclose((x.mean(), y.mean()), SPOT, atol=0.2)
    np.testing.assert_allclose(record["landmarks"], np.tile(SPOT, (68, 1)), atol=0.3)
    told = "rotated upright" in run.report.changed.get(f"happy/turned{turn}.{kind}", "")
    assert told == (turn > 1)


def test_a_prepared_copy_has_the_same_again_without_checking(run):
    again = prepare.prepare("folder", run.source, name="mine", data_dir=run.folder.parent)
    assert again.already_prepared and again.written == len(run.records)


# --- Names --------------------------------------------------------------------------------------


def test_names_that_become_the_same_are_numbered(tmp_path):
    place = tmp_path / "happy"
    place.mkdir()
    for name in ("mu\u0308ller.jpg", "m\u00fcller.jpg", "a.jpg", "a.jpg "):
        (place / name).write_bytes(name.encode())
    files = Files(tmp_path)
    assert files.names == [
        "happy/a (2).jpg", "happy/a.jpg", "happy/m\u00fcller (2).jpg", "happy/m\u00fcller.jpg",
    ]  # fmt: skip
    assert {files.read(name).decode() for name in files.names} == {
        "mu\u0308ller.jpg", "m\u00fcller.jpg", "a.jpg", "a.jpg ",
    }  # fmt: skip


def test_names_that_are_no_utf8_are_spelled_out(tmp_path):
    place = tmp_path / "in" / "happy"
    place.mkdir(parents=True)
    with open(os.path.join(os.fsencode(place), b"\xff\xe9.jpg"), "wb") as file:
        file.write(faces.face(0)["image"])
    (place / "empty.jpg").write_bytes(b"")
    report = prepare.prepare(
        "folder", tmp_path / "in", name="mine", data_dir=tmp_path / "data", test=0, validation=0
    )
    assert catalog.source("mine", "train", tmp_path / "data")[0]["key"] == "happy/%FF%E9.jpg"
    assert report.unreadable == {"happy/empty.jpg": "empty file"}


def test_archives_leave_shadows_out_and_tell_of_damage(tmp_path):
    whole = faces.face(0)["image"]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in ("happy/a.jpg", "happy/damaged.jpg", "happy/😀\n.jpg"):
            archive.writestr(name, whole)
        for name in ("__MACOSX/happy/._a.jpg", "happy/.DS_Store", "happy/._a.jpg"):
            archive.writestr(name, b"shadow")
    data = bytearray((tmp_path / "in.zip").read_bytes())
    second = data.index(whole, data.index(whole) + 1)
    data[second + 300] ^= 255
    (tmp_path / "in.zip").write_bytes(bytes(data))
    report = prepare.prepare(
        "folder", tmp_path / "in.zip", name="mine", data_dir=tmp_path / "data", test=0, validation=0
    )
    assert list(report.unreadable) == ["happy/damaged.jpg"]
    assert "CRC" in report.unreadable["happy/damaged.jpg"]
    source = catalog.source("mine", "train", tmp_path / "data")
    assert {source[i]["key"] for i in range(len(source))} == {"happy/a.jpg", "happy/😀\n.jpg"}


def test_files_and_folders_without_permission_are_told(tmp_path, monkeypatch):
    """Permissions do not bind the superuser, so the system's answer is given by hand."""
    faces.write_images(tmp_path / "happy", 3)
    files = Files(tmp_path)
    whole = pathlib.Path.read_bytes

    def read(path):
        if path.name == "face1.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", read)
    local = Local(items.ImageItems(files), "image", tmp_path, workers=1)
    listed = [Face(name) for name in files.names]
    found, _ = local.check(listed)
    local.close()
    assert [found[name].problem for name in files.names] == [
        "", "cannot be read: Permission denied", "",
    ]  # fmt: skip
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("happy"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"the folder '.*happy' cannot be read: Permission denied"):
        Files(tmp_path)


# --- Whatever the bytes are ---------------------------------------------------------------------


def test_no_bytes_raise(capfd):
    rng = np.random.default_rng(0)
    whole = [data for data, _ in (odd() | faces.unusual()).values() if len(data) < 20_000]
    whole += [rotated(kind, 6) for kind in ("jpg", "png", "webp", "tif")]
    for number in range(400):
        data = bytearray(whole[number % len(whole)])
        if number % 3 == 0:
            data = data[: rng.integers(len(data))]
        for place in rng.integers(0, min(len(data) or 1, 300), 8 if data else 0):
            data[place] = rng.integers(256)
        found, new = images.check(bytes(data))
        assert bool(found.problem) or found.width >= images.MIN_SIDE
        assert new is None or not found.problem
    capfd.readouterr()  # what the decoders say of it


# --- Whose faces --------------------------------------------------------------------------------


def test_no_subject_is_named_in_what_is_told(tmp_path):
    faces.write_images(tmp_path / "in" / "images", 12)
    who = [f"Erika Mustermann {i % 4}" for i in range(12)]
    rows = [
        {"file": f"face{i}.jpg", "expression": faces.word(i), "subject": who[i]} for i in range(12)
    ]
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    (tmp_path / "in" / "images" / "face3.jpg").write_bytes(b"")
    report = prepare.prepare("folder", tmp_path / "in", name="mine", data_dir=tmp_path / "data")
    assert report.subjects == 4 and "face3.jpg" in str(report)
    told = [path for path in (tmp_path / "data" / "mine").iterdir() if path.is_file()]
    assert {path.name for path in told} >= {
        "report.md", "report.json", "splits.csv", "dataset.json", "NOTICE",
    }  # fmt: skip
    for path in told:
        assert b"Mustermann" not in path.read_bytes(), path.name
    assert "Mustermann" not in str(report)


def test_a_notice_of_the_licence_lies_with_the_data(tmp_path):
    faces.class_folders(tmp_path / "in", 6)
    prepare.prepare("folder", tmp_path / "in", name="mine", data_dir=tmp_path / "data")
    notice = (tmp_path / "data" / "mine" / "NOTICE").read_text("utf-8")
    assert "mine" in notice and "do not redistribute" in notice
    assert json.loads((tmp_path / "data" / "mine" / "dataset.json").read_text())["redistribution"]
