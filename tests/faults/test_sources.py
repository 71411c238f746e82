"""Tables, arrays, images, videos and archives that are damaged or made to fill the memory."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import cv2
import faces_source as faces
import numpy as np
import pytest
from PIL import Image

from aufer_jax import cli
from aufer_jax.errors import UserError
from aufer_jax.sources import files, images, landmark_files, limits, tables, tracks, videos

# --- Tables ---------------------------------------------------------------------------------------

ROWS = [["file", "expression"], ["Müller.jpg", "happiness"], ["b.jpg", "sadness"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_tables_in_any_encoding_and_with_any_line_ends(tmp_path, end, codec):
    text = "".join(";".join(row) + end for row in ROWS)
    (tmp_path / "labels.csv").write_bytes(text.encode(codec))
    table = tables.Table("labels.csv", files.Files(tmp_path).open_text("labels.csv"))
    assert [table.header, *table.rows] == ROWS


def test_a_file_that_is_no_text_is_named(tmp_path):
    for data in ("a,b\n1,2".encode("utf-16-le"), b"\x00\xff\x81\x8d", b"\xff\xfea"):
        if b"\xff" not in data:
            continue  # UTF-16 without its mark is UTF-8 with zeros: the columns are not found
        (tmp_path / "labels.csv").write_bytes(data)
        with pytest.raises(UserError, match=r"labels\.csv: text in no encoding"):
            files.Files(tmp_path).open_text("labels.csv")


def test_a_quote_that_is_not_closed_is_one_line():
    with pytest.raises(UserError, match=r"labels\.csv: line .*a quote not closed"):
        tables.Table("labels.csv", 'file,expression\na,"' + "x,y\n" * 50_000)


def test_one_bad_track_leaves_the_others(tmp_path):
    good = "frame,AU06_r\n1,2.5\n"
    (tmp_path / "good.csv").write_text(good)
    (tmp_path / "mac.csv").write_bytes(good.replace("\n", "\r").encode())
    (tmp_path / "wide.csv").write_text(good + '2,"' + "9" * 200_000)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "wide.csv.csv").write_bytes(b"\xff\xfe\x00")
    found, refused = tracks.folder(tmp_path)
    assert set(found) == {"good", "mac"}
    assert all(name in line for name, line in refused.items()) and len(refused) == 3


# --- Arrays ---------------------------------------------------------------------------------------


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


POINTS = np.random.default_rng(0).uniform(1, 90, (3, 68, 2)).astype(np.float32)


def header(text):
    text = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


ARRAYS = {
    "complex": npy(POINTS.astype(complex)),
    "structured": npy(np.zeros((3, 68), [("x", "f4"), ("y", "f4")])),
    "dates": npy(POINTS.astype("datetime64[s]")),
    "texts": npy(POINTS.astype(str)),
    "objects": b"\x93NUMPY\x01\x00v\x00" + npy(np.array([{}], object))[10:],
    "huge": header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 68, 2), }"),
    "no header": header("{'descr': '<f4', "),
    "tokens": header("{'descr': '<f4', (((("),
    "cut": npy(POINTS)[:-5],
    "begin": npy(POINTS)[:9],
    "zip cut": npz(points=POINTS)[:-30],
    "zip bytes": npz(points=POINTS)[:90] + bytes(20) + npz(points=POINTS)[110:],
    "zeros": npz(points=np.zeros((50_000, 68, 2))),
    "empty": b"",
    "text": b"PK, but no more",
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_landmarks_are_refused(name):
    with pytest.raises(UserError, match=r"^landmarks: a\.npz ") as error:
        tables.read_landmarks("a.npz", ARRAYS[name])
    assert "\n" not in str(error.value)


def test_a_refusal_does_not_repeat_what_was_read():
    """The name of an entry may be as long as the file says."""
    held = bytearray(npz(points=POINTS, more=POINTS))
    held[26:28] = struct.pack("<H", 2000)  # length of the first name
    with pytest.raises(UserError, match="damaged in its zip file") as error:
        tables.read_landmarks("a.npz", bytes(held))
    assert len(str(error.value)) < 400


def test_whole_arrays_are_read():
    for array in (POINTS, POINTS.astype(np.float64), POINTS.astype(np.int16), POINTS.astype(">f4")):
        got = tables.read_landmarks("a.npy", npy(array)).points
        np.testing.assert_array_equal(got, array.astype(np.float32))
    one = tables.read_landmarks("a.npy", npy(POINTS[0])).points
    np.testing.assert_array_equal(one, POINTS[:1])
    held = tables.read_landmarks("a.npz", npz(points=POINTS, files=np.array(["a", "b", "c"])))
    assert held.files == ("a", "b", "c")


def test_landmarks_far_outside_are_unknown():
    points = POINTS.astype(np.float64)
    points[0, 3], points[1, 4], points[2, 5] = 1e30, np.inf, 1e300
    got = tables.as_68(points)
    assert np.isnan(got[[0, 1, 2], [3, 4, 5]]).all() and np.isnan(got).sum() == 6


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"files": 3, "points": 4}', '{"a": [[1e999, 1]]}', '{"a": 5}', "\x00"]
)
def test_damaged_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError):
        for _ in landmark_files.read(str(tmp_path / "a.json")):
            pass


# --- Images and videos ----------------------------------------------------------------------------


def png(width, height, colour, bits, data):
    def chunk(kind, body):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def webp(kind, body):
    return (
        b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", 90) + body.ljust(90)
    )


def gif(width, height):
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x01\x00\x00;"


def tiff(width, height):
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 9)]
    held = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + held + bytes(4)


LARGE = {
    "gif": gif(30_000, 30_000),
    "png": png(16_384, 16_384, 6, 8, bytes(9)),
    "tiff": tiff(30_000, 30_000),
    "webp": webp(b"VP8X", bytes(4) + (16_382).to_bytes(3, "little") * 2),
    "lossless webp": webp(b"VP8L", b"\x2f" + (16_382 | 16_382 << 14).to_bytes(4, "little")),
    "lossy webp": webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383)),
}


@pytest.mark.parametrize("name", LARGE)
def test_pixels_are_counted_before_there_is_room_for_them(name):
    tracemalloc.start()
    found, new = images.check(LARGE[name])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert new is None and found.problem.startswith("too large: ") and most < 2**22


def test_floating_point_pixels_are_refused_by_the_header():
    data = cv2.imencode(".tiff", np.zeros((40, 40), np.float32))[1].tobytes()
    assert images.check(data)[0].problem == "pixels of type float32"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_room_for_colours_is_in_proportion_to_the_image(kind):
    image = np.random.default_rng(0).integers(0, 256, (1500, 1400, 4), kind)
    most_of_kind = np.iinfo(kind).max
    image[..., 3] = most_of_kind // 3
    tracemalloc.start()
    got, done = images._eight_bit_colour(image)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done[-1] == "transparency on black" and most < 4 * got.nbytes + 2**24
    eight = cv2.convertScaleAbs(image, alpha=1 / 257) if kind == np.uint16 else image
    whole = (eight[..., :3].astype(int) * eight[..., 3:] + 127) // 255
    np.testing.assert_array_equal(got, whole)


def test_the_limit_of_pixels_can_be_set(monkeypatch):
    stream = io.BytesIO()
    Image.new("RGB", (100, 100)).save(stream, "PNG")
    assert not images.check(stream.getvalue())[0].problem
    monkeypatch.setenv("AUFER_MOST_PIXELS", "9999")
    assert images.check(stream.getvalue())[0].problem == "too large: 100x100 pixels"
    monkeypatch.setenv("AUFER_MOST_PIXELS", "many")
    with pytest.raises(UserError, match="AUFER_MOST_PIXELS: 'many'"):
        limits.most("PIXELS")


def video(path, frames, size=64):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (size, size))
    rng = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(rng.integers(0, 256, (size, size, 3), np.uint8))
    writer.release()


def test_videos_end_at_their_limits(tmp_path, monkeypatch):
    video(tmp_path / "a.avi", 40)
    found = files.Files(tmp_path)
    whole, frames = videos.check(found, "a.avi", (), videos.Rules())
    assert not whole.problem and len(frames) == 40
    one = len(frames[0].data or b"")
    made = []
    monkeypatch.setattr(
        images, "encode", lambda image, of=images.encode: made.append(1) or of(image)
    )
    monkeypatch.setenv("AUFER_MOST_CLIP", str(5 * one))
    assert "too large" in videos.check(found, "a.avi", (), videos.Rules())[0].problem
    assert len(made) <= 7  # not all 40 first
    assert not videos.check(found, "a.avi", (), videos.Rules(most=4))[0].problem
    monkeypatch.setenv("AUFER_MOST_PIXELS", "4000")
    assert videos.check(found, "a.avi", (), videos.Rules())[0].problem == "too large: 64x64 pixels"


# --- Archives -------------------------------------------------------------------------------------


def test_an_entry_without_a_name_is_passed_over(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sub/labels.csv", "file\n")
    held = files.Files(path)
    nameless = zipfile.ZipInfo("x")
    nameless.filename = ""
    held._zip.filelist.append(nameless)
    assert dict(files._entries(held._zip)) == {"sub/labels.csv": "sub/labels.csv"}
    assert held.empty_folders() == []


def test_entries_are_in_proportion_and_whole(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.csv", bytes(2**25))
        archive.writestr("zeros.avi", bytes(2**25))
        archive.writestr("good.txt", b"good" * 9)
    found = files.Files(path)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"zeros\.csv: .*AUFER_MOST_RATIO"):
        found.read("zeros.csv")
    assert "AUFER_MOST_RATIO" in videos.check(found, "zeros.avi", (), videos.Rules())[0].problem
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    assert found.read("good.txt") == b"good" * 9


def test_damaged_archives_name_the_file(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", np.random.default_rng(0).bytes(300))
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"^a\.txt: damaged in its zip file"):
        files.Files(path).read("a.txt")
    data[data.index(b"PK\x01\x02") : data.index(b"PK\x05\x06")] = b""
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"source: .*a\.zip"):
        files.Files(path)


def test_the_size_of_a_file_has_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(bytes(100))
    monkeypatch.setenv("AUFER_MOST_BYTES", "99")
    with pytest.raises(UserError, match=r"a\.txt: 100 bytes; at most 99 are read"):
        files.Files(tmp_path).read("a.txt")


# --- Preparing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [1e30, -1e30])
def test_a_landmark_far_outside_does_not_end_a_preparation(tmp_path, far, capsys):
    faces.class_folders(tmp_path / "in", 4)
    names = sorted(str(p.relative_to(tmp_path / "in")) for p in (tmp_path / "in").rglob("*.jpg"))
    points = np.random.default_rng(0).uniform(5, 40, (len(names), 68, 2))
    points[0, 7] = far
    np.savez(tmp_path / "in" / "landmarks_68.npz", files=np.array(names), points=points)
    command = ["data", "prepare", "folder", "--source", str(tmp_path / "in"), "--name", "mine"]
    assert cli.main([*command, "--data-dir", str(tmp_path / "data"), "--workers", "1"]) == 0
    assert json.dumps(capsys.readouterr().out)
