"""Detectors, landmark files, and photographs -> aligned crops -> a prepared dataset."""

import csv
import json
import zipfile

import cv2
import faces_source
import numpy as np
import PIL.Image
import pytest
import toydata

from aufer_jax.datasets.prepare import prepare
from aufer_jax.faces import crops, detect, find
from aufer_jax.geometry import align, landmarks

# MediaPipe 0.10.21's eye centres in scikit-image's portrait, as pixel indices.
EYES = np.array([[203.02, 101.00], [246.61, 103.28]])


@pytest.fixture(scope="module")
def portrait():
    data = pytest.importorskip("skimage.data")
    return data.astronaut()


def face_of(box, score=1.0, points="landmarks"):
    marks = np.tile(np.float32(box[:2]), (68, 1))
    return detect.Face(np.float32(box), score, marks, points)


def test_what_is_no_image_and_what_is_no_option_are_refused():
    with pytest.raises(ValueError, match=r"image: got float64 of shape \(4, 4, 3\)"):
        detect.as_rgb(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"image: got uint8 of shape \(4, 4, 4\)"):
        detect.as_rgb(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"detector: 'mash' is not known; .*'mesh'\?"):
        detect.create("mash")
    with pytest.raises(ValueError, match=r"option of mesh: 'leest' .*'least'\?"):
        detect.create("mesh", leest=2)
    with pytest.raises(ValueError, match="permitted are least above 0"):
        detect.create("mesh", least=0)


def test_which_face_is_meant():
    large, sure, central = (
        face_of([0, 0, 50, 40], 1),
        face_of([0, 0, 9, 9], 7),
        face_of([45, 45, 55, 56], 2),
    )
    faces = [sure, large, central]
    assert detect.choose(faces, (101, 101)) is large
    assert detect.choose(faces, (101, 101), "score") is sure
    assert detect.choose(faces, (101, 101), "centre") is central
    assert detect.choose([], (1, 1)) is None
    with pytest.raises(ValueError, match=r"choose: 'center' .*'centre'\?"):
        detect.choose(faces, (101, 101), "center")


# --- Files --------------------------------------------------------------------------------------

IMAGE = np.zeros((200, 100, 3), np.uint8)
POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).astype(np.float32).round(1)


def test_meshes_in_one_file_are_read(tmp_path):
    mesh = np.random.default_rng(1).uniform(10, 90, (1, 478, 3)).astype(np.float32)
    np.savez(tmp_path / "mesh.npz", files=np.array(["a/x.png"]), points=mesh)
    (face,) = detect.create("files", path=str(tmp_path / "mesh.npz"))(IMAGE, "a/x.png")
    np.testing.assert_allclose(face.landmarks, landmarks.from_mesh(mesh[0]), rtol=1e-5)


def openface(points, spaced=True, **columns):
    names = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    row = columns | dict(zip(names, points.T.ravel().tolist(), strict=True))
    join = ", " if spaced else ","
    return join.join(row) + "\n" + join.join(str(v) for v in row.values()) + "\n"


def write_points(kind, folder):
    """Writes POINTS as those of face.jpg; the path to read."""
    file = folder / f"face{kind}"
    if kind == ".csv":
        file.write_text(openface(POINTS, face=0, confidence=0.97))
    elif kind == ".pts":
        lines = "\n".join(f"{x + 1} {y + 1}" for x, y in POINTS)
        (folder / "face_det_0.pts").write_text("version: 1\nn_points: 68\n{\n" + lines + "\n}\n")
    elif kind == ".npy":
        np.save(file, POINTS)
    elif kind == ".json":
        shares = (POINTS + 0.5) / [100, 200]
        file.write_text(json.dumps([{"x": x, "y": y, "z": 0} for x, y in shares]))
    else:
        np.savez(folder / "all.npz", files=np.array(["sub/face.jpg"]), points=POINTS[None])
        return folder / "all.npz"
    return folder


@pytest.mark.parametrize("kind", [".csv", ".pts", ".npy", ".json", ".npz"])
def test_every_kind_of_file_gives_the_same_points(kind, tmp_path):
    find = detect.create("files", path=str(write_points(kind, tmp_path)))
    (face,) = find(IMAGE, "sub/face.jpg")
    np.testing.assert_allclose(face.landmarks, POINTS, atol=2e-4)
    assert face.points == "landmarks"
    np.testing.assert_allclose(face.box, [*POINTS.min(0), *POINTS.max(0)], atol=2e-4)
    assert find(IMAGE, "other.jpg") == []


def test_files_of_single_images_are_found_by_their_folders(tmp_path):
    for place, name in enumerate(("happy/1", "sad/x.1", "top", "sad/a.PNG")):
        path = tmp_path / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, POINTS + place)
    find = detect.create("files", path=str(tmp_path))

    def found(image):
        return [round(float((face.landmarks - POINTS).mean())) for face in find(IMAGE, image)]

    assert found("happy/1.jpg") == found("photographs/Happy/1.JPG") == found("1.png") == [0]
    assert found("sad/1.jpg") == []  # happy/1.npy is of another image
    assert found("sad/x.1.jpg") == [1] and found("sad/a.PNG.jpg") == found("a.png") == [3]
    assert found("sad/top.jpg") == [2]
    np.save(tmp_path / "sad/1.npy", POINTS + 9)
    find = detect.create("files", path=str(tmp_path))
    assert found("happy/1.jpg") == [0] and found("sad/1.jpg") == [9] and found("1.jpg") == []


def test_a_dataset_s_own_landmarks_in_the_order_of_its_labels(tmp_path):
    (tmp_path / "labels.csv").write_text("file,expression\na/x.jpg,fear\nb/x.jpg,anger\n")
    np.save(tmp_path / "landmarks_68.npy", np.stack([POINTS, POINTS + 1]))
    find = detect.create("files", path=str(tmp_path))
    np.testing.assert_allclose(find(IMAGE, "b/x.jpg")[0].landmarks, POINTS + 1)
    assert find(IMAGE, "c/x.jpg") == []  # two files of that name: neither is meant


def test_failed_and_doubtful_faces_of_openface_are_none(tmp_path):
    (tmp_path / "a.csv").write_text(openface(POINTS, success=0, confidence=0.1))
    (tmp_path / "b.csv").write_text(openface(POINTS, success=1, confidence=0.6))
    assert [len(detect.create("files", path=str(tmp_path))(IMAGE, n)) for n in "ab"] == [0, 1]
    assert detect.create("files", path=str(tmp_path), confidence=0.7)(IMAGE, "b") == []


def test_files_that_do_not_say_whose_faces_they_hold_are_refused(tmp_path):
    np.save(tmp_path / "points.npy", POINTS[None])
    with pytest.raises(ValueError, match=r"points.npy does not say whose faces"):
        detect.create("files", path=str(tmp_path / "points.npy"))
    rows = openface(POINTS, frame=1)
    (tmp_path / "v.csv").write_text(rows + rows.split("\n")[1] + "\n")
    with pytest.raises(ValueError, match=r"v.csv has the frames of a video"):
        detect.create("files", path=str(tmp_path / "v.csv"))
    (tmp_path / "bad.pts").write_text("nothing")
    with pytest.raises(ValueError, match=r"bad.pts is not a .pts file"):
        detect.create("files", path=str(tmp_path / "bad.pts"))
    for path, message in (("", "path: name the file"), ("none.npz", "'none.npz' does not exist")):
        with pytest.raises(ValueError, match=message):
            detect.create("files", path=path)


# --- Alignment ----------------------------------------------------------------------------------


def test_the_worked_example_is_aligned_as_stated():
    face = detect.Face(np.zeros(4), 1.0, toydata.PHOTO_LANDMARKS, "landmarks")
    image = np.zeros((350, 350, 3), np.uint8)
    crop, matrix = crops.aligned(image, face, 112)
    np.testing.assert_allclose(matrix, toydata.EXAMPLE["matrix"], atol=3e-5)
    assert crop.shape == (112, 112, 3)


def test_a_margin_shows_more_around_the_middle():
    # With half the side more on each side the face is half as large: (38.2946 - 56) / 2 + 56.
    np.testing.assert_allclose(align.template(112, 0.5)[0], [47.1473, 53.84815])
    np.testing.assert_allclose(align.template(224, 0.5)[0], [94.2946, 107.6963])
    with pytest.raises(ValueError, match=r"size, margin: got 0, 0.0"):
        align.template(0)


def test_colours_stay_in_order_and_pixels_are_bilinear():
    """Half a pixel to the side: the mean of two neighbours; 10 and 13 become 12 (11.5 is rounded up)."""
    image = np.zeros((112, 112, 3), np.uint8)
    image[:, 50] = (10, 100, 0)
    image[:, 51] = (13, 200, 0)
    points = landmarks.from_five(align.TEMPLATE + [0.5, 0])
    crop, matrix = crops.aligned(image, detect.Face(np.zeros(4), 1.0, points, "five"), 112)
    np.testing.assert_allclose(matrix, [[1, 0, -0.5], [0, 1, 0]], atol=1e-5)
    assert crop[60, 50].tolist() == [12, 150, 0]
    assert crop[60, 49].tolist() == [5, 50, 0]
    same = detect.Face(np.zeros(4), 1.0, landmarks.from_five(align.TEMPLATE), "five")
    np.testing.assert_array_equal(crops.aligned(image, same, 112)[0], image)
    one = detect.Face(np.zeros(4), 1.0, np.ones((68, 2), np.float32), "landmarks")
    assert crops.aligned(image, one, 112) is None


@pytest.fixture
def source(tmp_path):
    """Drawn faces in class folders with their landmarks, one broken file, one without a face."""
    folder, names = tmp_path / "photos", []
    for index in range(4):
        name = f"{faces_source.word(index)}/face{index}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(faces_source.face(index, 64)["image"])
        names.append(name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / names[0]).with_name("empty.webp").write_bytes(
        faces_source.encoded(np.zeros((40, 40, 3), np.uint8), ".webp")
    )
    points = np.stack([faces_source.face(index, 64)["landmarks"] for index in range(4)])
    np.savez(tmp_path / "points.npz", files=np.array(names), points=points)
    rows = [{"file": name, "expression": name.split("/")[0], "x_0": 1} for name in names]
    lost = {"file": "broken.jpg", "expression": "anger", "x_0": 1}
    faces_source.write_csv(folder / "labels.csv", [*rows, lost])
    return folder, tmp_path / "points.npz", names


def test_a_folder_is_aligned_and_then_prepared(source, tmp_path):
    folder, points, names = source
    out = tmp_path / "crops"
    found = crops.align_folder(folder, out, detector="files", path=str(points), size=48, aus=True)
    text = str(found)
    assert "4 of 6 photographs have a face: 4 by landmarks." in text
    assert "no face found: 1: " in text and "not usable, not an image file: 1: broken.jpg" in text
    assert "labels.csv: 4 rows carried over, 1 left out" in text
    with (out / crops.FACES).open(newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert len(rows) == 6 and rows["broken.jpg"]["file"] == ""
    assert "aus.csv has AUs of 4 of 4 faces." in text
    sheet = cv2.imread(str(tmp_path / "crops_contact_sheet.png"))
    assert sheet is not None and f"{tmp_path / 'crops_contact_sheet.png'} shows them" in text
    assert (out / "labels.csv").read_text().splitlines()[0] == "file,expression"
    held = np.load(out / crops.LANDMARKS)
    assert held["files"].tolist() == sorted(names)
    five = landmarks.five_points(held["points"])
    assert np.abs(five - align.template(48)).max() < 6  # on the template, as far as faces are alike
    assert cv2.imread(str(out / names[0])).shape == (48, 48, 3)
    report = prepare(
        "folder", out, name="mine", data_dir=tmp_path / "data", test=0.25, validation=0.0,
        au=str(out / crops.AUS),
    )  # fmt: skip
    assert report.written == 4 and not report.without_landmarks and report.without_aus == 0


def test_supposed_points_are_not_written_as_landmarks(tmp_path, portrait):
    five = np.array([*EYES, [222.9, 129.5], [201.3, 138.7], [244.5, 140.5]])
    whole = detect.Face(np.zeros(4), 1.0, landmarks.from_five(five), "eyes")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "p.png"), portrait[..., ::-1])

    def find(image, name=""):
        return [whole]

    photo = tmp_path / "in" / "p.png"
    found = crops.align_folder(photo, tmp_path / "out", detector=find, size=64, aus=True)
    assert "1 of 1 photographs have a face: 1 by eyes." in str(found)
    assert "No aus.csv: AUs are estimated from all 68 landmarks, and no face has them" in str(found)
    assert not (tmp_path / "out" / crops.AUS).exists()
    assert not (tmp_path / "out" / crops.LANDMARKS).exists()
    crop = cv2.cvtColor(cv2.imread(str(tmp_path / "out" / "p.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(crop, crops.aligned(portrait, whole, 64)[0])


def test_a_folder_that_is_not_empty_is_left_alone(source, tmp_path):
    folder, points, _ = source
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        crops.align_folder(folder, folder, detector="files", path=str(points))
    with pytest.raises(ValueError, match="neither a folder nor"):
        crops.align_folder(folder / "labels.csv", tmp_path / "out")
    with pytest.raises(ValueError, match="has no images"):
        (tmp_path / "void").mkdir()
        crops.align_folder(tmp_path / "void", tmp_path / "out")


WIDE = 40 * np.ones((20, 1500, 4), np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        faces_source.encoded(WIDE, ".png"),  # with transparency
        faces_source.encoded(WIDE[..., :3].astype(np.uint16), ".png"),
        faces_source.encoded(WIDE[..., :3], ".webp"),
        faces_source.encoded(WIDE[..., :3], ".bmp"),
        faces_source.encoded(WIDE[..., :3], ".tiff"),
        faces_source.saved(PIL.Image.fromarray(WIDE[..., 0]).convert("P"), "PNG"),
        faces_source.saved(PIL.Image.fromarray(WIDE[..., 0]), "GIF"),
        faces_source.saved(PIL.Image.fromarray(WIDE).convert("CMYK"), "JPEG"),
        faces_source.encoded(WIDE[..., :3], ".jpg"),
    ],
    ids=["alpha", "16 bits", "webp", "bmp", "tiff", "palette", "gif", "cmyk", "jpeg"],
)
def test_every_kind_of_picture_is_read_in_full_size(data):
    assert crops.read_image(data).shape == (20, 1500, 3)


def test_pictures_that_cannot_be_read_are_named_and_the_others_aligned(tmp_path, portrait):
    folder, packed = tmp_path / "in", tmp_path / "in.zip"
    folder.mkdir()
    cv2.imwrite(str(folder / "p.png"), portrait[..., ::-1])
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("gone.png", b"x" * 100)
        archive.write(folder / "p.png", "p.png")
    packed.write_bytes(packed.read_bytes().replace(b"x" * 100, b"y" * 100))
    said = {folder: "No such file or directory", packed: "damaged in its zip file: Bad CRC"}
    for source, why in said.items():
        found = crops.align_folder(source, tmp_path / f"out{source.suffix}", size=64)
        assert [bool(crop.face) for crop in found.crops] == [False, True]
        assert found.crops[0].problem.startswith(f"not usable, cannot be read: {why}")
        count, without = find.landmarks(source, tmp_path / "points.npz")
        assert count == 1 and without == [f"gone.png: {found.crops[0].problem}"]
