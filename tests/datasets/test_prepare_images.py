"""What becomes of single images: left out, made plain, told as copies, dealt to splits."""

import io

import cv2
import faces_source as faces
import numpy as np
import prepare_source
import pytest
from PIL import Image, ImageOps, TiffImagePlugin
from prepare_source import all_records, run, stored

from aufer_jax.datasets import duplicates, splits
from aufer_jax.sources import images


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return prepare_source.mixed(tmp_path_factory.mktemp("mixed"))


# --- Images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", faces.broken())
def test_broken_images_are_left_out_and_named(mixed, name):
    report, folder = mixed
    assert report.unreadable[f"happy/{name}"] == faces.broken()[name][1]
    assert f"happy/{name}" not in all_records(folder / "data")
    assert f"- happy/{name}: {faces.broken()[name][1]}" in (
        folder / "data" / "mine" / "report.md"
    ).read_text("utf-8")


def test_nothing_else_is_left_out(mixed):
    report, _ = mixed
    assert len(report.unreadable) == len(faces.broken())
    assert len(report.changed) == len(faces.unusual())
    assert report.written == 7 + len(faces.unusual())


@pytest.mark.parametrize("name", faces.unusual())
def test_unusual_images_are_made_plain(mixed, name):
    report, folder = mixed
    record = all_records(folder / "data")[f"happy/{name}"]
    assert report.changed[f"happy/{name}"] == faces.unusual()[name][1]
    assert record["image"].startswith(b"\xff\xd8")
    image, expected = stored(record), faces.pixels(1)
    if name == "wide.jpg":
        assert image.shape == (51, 1024, 3)
        assert image[:, 100].mean() < 10 and image[:, -100].mean() > 190
        return
    rows = slice(12, None) if name == "alpha.png" else slice(None)
    assert np.abs(image[rows].astype(int) - expected[rows]).mean() < 14
    if name == "alpha.png":
        assert image[:9].max() < 40


def test_gray_and_plain_images_keep_their_bytes(mixed):
    found = all_records(mixed[1] / "data")
    assert found["happy/gray.jpg"]["image"] == (mixed[1] / "in/happy/gray.jpg").read_bytes()
    assert found["happy/face2.jpg"]["image"] == faces.face(2)["image"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_images_stand_upright_and_points_follow(orientation):
    upright = np.full((48, 64, 3), 30, np.uint8)
    upright[10:13, 40:43] = 255
    data = faces.turned(upright, orientation)
    raw = np.array(Image.open(io.BytesIO(data)).convert("L")).astype(float)
    y, x = np.unravel_index(cv2.blur(raw, (3, 3)).argmax(), raw.shape)
    found, new = images.check(data)
    np.testing.assert_allclose(found.move(np.array([[x, y]])), [[41, 11]], atol=0.01)
    assert (new is None) == (orientation == 1)
    if new is not None:
        shown = cv2.imdecode(np.frombuffer(new, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shown.shape == upright.shape and np.abs(shown.astype(int) - upright).mean() < 3
        assert found.changes == ("rotated upright",)
        oracle = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert oracle.size == (64, 48)


@pytest.mark.parametrize(("kind", "value"), [(2, "6"), (7, b"6"), (12, 2.5), (5, 6)])
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_an_orientation_that_is_no_whole_number_is_none(form, kind, value):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[274], tags[274] = kind, value
    written = io.BytesIO()
    tags.save(written)
    exif = {"exif": b"Exif\0\0" + written.getvalue()} if form == "JPEG" else {"tiffinfo": tags}
    data = io.BytesIO()
    Image.fromarray(faces.pixels(1)[:20]).save(data, form, **exif)
    found, _ = images.check(data.getvalue())
    assert not found.problem and "rotated upright" not in found.changes
    assert (found.width, found.height) == (40, 20)


@pytest.mark.parametrize("width", [1100, 2500, 5000])
def test_points_follow_when_images_shrink(width):
    large = np.zeros((width // 2, width, 3), np.uint8)
    x, y = round(width * 0.7), round(width * 0.2)
    cv2.circle(large, (x, y), width // 50, (255, 255, 255), cv2.FILLED)
    found, new = images.check(faces.encoded(large, ".jpg"))
    gray = cv2.imdecode(np.frombuffer(new, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
    assert max(gray.shape) == images.MAX_SIDE == found.width
    rows, columns = np.indices(gray.shape)
    seen = [(gray * columns).sum() / gray.sum(), (gray * rows).sum() / gray.sum()]
    np.testing.assert_allclose(found.move(np.array([[x, y]])), [seen], atol=0.15)


# --- Duplicates and splits ----------------------------------------------------------------------


def test_conflicts_and_copies_across_splits_are_told(tmp_path):
    for split, expression, index in (
        ("train", "happy", 0), ("train", "happy", 1), ("train", "sad", 0), ("test", "happy", 2),
    ):  # fmt: skip
        place = tmp_path / "in" / split / expression
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.jpg").write_bytes(faces.face(index, 64)["image"])
    again = cv2.resize(faces.pixels(1, 64), (50, 50), interpolation=cv2.INTER_AREA)
    copy = faces.encoded(again, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 80)
    (tmp_path / "in" / "test" / "happy" / "copy.jpg").write_bytes(copy)
    report = run(tmp_path / "in", tmp_path / "data", validation=0)
    assert report.conflicts == (("train/happy/0.jpg (happiness)", "train/sad/0.jpg (sadness)"),)
    ((*pair, bits),) = report.duplicates
    assert pair == ["test/happy/copy.jpg", "test", "train/happy/1.jpg", "train"] and bits <= 8


def test_near_pairs_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (300, 2), np.uint64)
    words[200:] = words[1:101] ^ (np.uint64(1) << rng.integers(0, 64, (100, 2), np.uint64))
    words[250:] ^= np.uint64(0b11111)
    words[200:230, 1] ^= np.uint64(0b1111100)
    chosen = ["train" if i % 2 else "test" for i in range(300)]
    expected = set()
    for a in range(300):
        for b in range(300):
            bits = [int(x ^ y).bit_count() for x, y in zip(words[a], words[b], strict=True)]
            if max(bits) <= 4 and chosen[a] == "test" and chosen[b] == "train":
                expected.add((a, b, sum(bits)))
    found = duplicates.across_splits([tuple(map(int, w)) for w in words], chosen)
    assert set(found) == expected and len(found) == len(expected) == 20


def test_splits_keep_groups_whole_and_classes_in_proportion():
    rng = np.random.default_rng(3)
    groups = [f"p{i}" for i in rng.integers(0, 150, 3000)]
    labels = rng.choice(4, 3000, p=(0.6, 0.3, 0.08, 0.02))
    chosen = np.array(splits.assign(labels, groups, {"validation": 0.1, "test": 0.2}, seed=0))
    for group in set(groups):
        assert len(set(chosen[np.array(groups) == group])) == 1
    for label in range(4):
        mine = chosen[labels == label]
        assert abs((mine == "validation").mean() - 0.1) < 0.02
        assert abs((mine == "test").mean() - 0.2) < 0.02


def test_no_split_goes_empty_for_lack_of_small_groups():
    chosen = splits.assign(
        np.arange(40) % 7, [f"p{i % 4}" for i in range(40)], {"validation": 0.01, "test": 0.02}, 0
    )
    assert set(chosen) == set(splits.SPLITS)


def test_splits_depend_on_the_seed_and_not_on_the_order():
    labels, groups = np.arange(200) % 3, [f"g{i}" for i in range(200)]
    shares = {"validation": 0.1, "test": 0.2}
    chosen = splits.assign(labels, groups, shares, seed=0)
    assert [chosen.count(s) for s in splits.SPLITS] == [140, 20, 40]
    order = np.random.default_rng(1).permutation(200)
    moved = splits.assign(labels[order], [groups[i] for i in order], shares, seed=0)
    assert moved == [chosen[i] for i in order]
    assert splits.assign(labels, groups, shares, seed=1) != chosen
