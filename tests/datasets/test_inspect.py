"""What `aufer data inspect` counts and draws, on records made by hand and on drawn faces."""

import dataclasses

import cv2
import numpy as np
import pytest
import toydata

from aufer_jax import cli, facs
from aufer_jax.data import records
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.datasets import inspection, sheets

SPEC = HeatmapSpec(size=sheets.TILE)


def small_info(kind=records.IMAGE):
    return toydata.info("toy", kind, aus=(6, 12), splits={"train": 4, "test": 1})


def made(i, expression, au, known=(True, True), **changes):
    base = toydata.image_record(i) | {
        "expression": expression, "au": np.float32(au), "au_known": np.array(known), "subject": f"s{i % 2}",
    }  # fmt: skip
    return base | changes


NONE = np.full((68, 2), np.nan, np.float32)
FIVE = np.where(
    np.isin(np.arange(68), [30, *range(36, 48), 48, 54])[:, None], toydata.FACE_LANDMARKS, NONE
)
TRAIN = [
    made(0, 0, [0, 3]),
    made(1, 1, [2, 5], landmarks=NONE),
    made(2, 1, [0.5, 1], known=(False, True), landmarks=FIVE),
    made(3, -1, [4, 0], image=toydata.encode(toydata.picture(3, 48))),
]


def test_counts_worked_by_hand():
    split, chosen = inspection.count(records.MemorySource(small_info(), TRAIN), 1.0, 1)
    assert split.classes == {"neutral": 1, "happiness": 2, "unknown": 1}
    assert split.records == 4 and split.subjects == {"s0", "s1"}
    assert split.landmarks == {"all 68": 2, "five": 1, "none": 1}
    assert split.sizes == {(112, 112): 3, (48, 48): 1}
    np.testing.assert_array_equal(split.aus, [[3, 4], [2, 3]])
    np.testing.assert_array_equal(split.by_class["happiness"], [[1, 2], [1, 2]])
    assert chosen == {"neutral": [0], "happiness": [1], "unknown": [3]}


def test_the_table_says_the_same():
    split, _ = inspection.count(records.MemorySource(small_info(), TRAIN), 1.0)
    text = str(inspection.Inspection(small_info(), 1.0, {"train": split}))
    assert "| split | neutral | happiness | anger | unknown | all |" in text
    assert "| train | 1 | 2 | 0 | 1 | 4 |" in text
    assert (
        "| train | 50.0 % | 25.0 % | 2 | 48 x 48 to 112 x 112, median 112 x 112; 112 x 112 3 times |"
        in text
    )
    assert "| 6 | cheek raiser | 66.7 % | 75 % |" in text
    assert "| 12 | lip corner puller | 75.0 % | 100 % |" in text
    assert "| 12 | 100.0 % | 100.0 % | - | 0.0 % |" in text


def test_a_clip_s_au_is_present_if_it_is_in_any_frame():
    frames = np.zeros((3, 2), np.float32)
    frames[1, 0] = 2
    record = toydata.clip_record(0, 3, au=frames, au_known=np.array([True, False]))
    split, _ = inspection.count(records.MemorySource(small_info(records.CLIP), [record]))
    np.testing.assert_array_equal(split.aus, [[1, 0], [1, 0]])
    assert split.lengths == [3] and split.landmarks == {"none": 3}
    text = str(inspection.Inspection(small_info(records.CLIP), 1.0, {"train": split}))
    assert "3 to 3, median 3 |" in text and "Never known: AU 12." in text


def test_a_frame_in_which_an_au_is_unknown_hides_no_other():
    nan = np.nan
    frames = np.array([[3, nan, nan], [nan, 0, nan], [4, 2, nan]], np.float32)
    record = toydata.clip_record(0, 3, au=frames, au_known=np.array([True, True, False]))
    assert inspection.present(record, 1.0).tolist() == [True, True, False]
    info = toydata.info("toy", records.CLIP, aus=(6, 12, 25), splits={"train": 1})
    lines = sheets.clip_sample(record, info, 1.0, SPEC, False).lines
    assert lines[1] == "6 cheek raiser (4.0); 12 lip corner puller (2.0)"
    unknown = record | {"au": np.full((3, 3), nan, np.float32), "au_known": np.zeros(3, bool)}
    assert sheets.clip_sample(unknown, info, 1.0, SPEC, False).lines[1] == "AUs unknown"


def sample(aus, au, spec=SPEC, present_only=False, **changes):
    """A face with AUs of these intensities, as it is shown; NaN is unknown."""
    au = np.array(au, np.float32)
    record = toydata.image_record(0) | {"au": au, "au_known": ~np.isnan(au)} | changes
    return sheets.image_sample(record, toydata.info(aus=aus), 1.0, spec, present_only)


def test_names_are_of_the_present_aus_strongest_first():
    assert sample((6, 12, 25), [1.0, 4.0, 0.9]).lines == [
        "12 lip corner puller (4.0)",
        "6 cheek raiser (1.0)",
    ]
    assert sample((6,), [np.nan]).lines == ["AUs unknown"]
    assert sample((6,), [0.0]).lines == ["no AU"]
    many = sample(tuple(range(1, 3)) * 4, np.full(8, 2.0)).lines
    assert len(many) == 6 and many[-1] == "and 3 more"


def test_landmarks_and_heat_lie_where_they_belong_in_an_oblong_image():
    grey = toydata.encode(np.full((60, 120, 3), 100, np.uint8))
    points = toydata.FACE_LANDMARKS * (60 / 112) + [30, 0]
    ((dotted, heated),) = sample((6,), [1.0], image=grey, landmarks=points).tiles
    scale = sheets.TILE / 120
    place = (points[30] + 0.5) * scale - 0.5 + [0, (sheets.TILE - 64) / 2]
    x, y = np.round(place).astype(int)
    assert dotted[y, x, 1] > 140 and dotted[y, x, 0] < 90
    assert heated[:30].min() == 255  # paper above the image
    heat = np.ptp(heated[32:96].astype(int), axis=-1)
    assert heat[:, 40:88].max() > 60 and heat[:, :8].max() < 25
    ((_, flat),) = sample((6,), [1.0], image=grey, landmarks=NONE).tiles
    assert np.ptp(flat.astype(int), axis=-1).max() == 0
    ((blank, _),) = sample((6,), [1.0], image=b"no picture", landmarks=NONE).tiles
    assert (blank == 225).all()


def test_heatmaps_of_the_present_aus_only():
    def heated(au, aus=facs.HEATMAP_23, present_only=False):
        spec = dataclasses.replace(SPEC, aus=aus)
        return sample((6, 12), au, spec, present_only).tiles[0][1]

    smile = heated([0.5, 3.0], present_only=True)
    np.testing.assert_array_equal(smile, heated([0.5, 3.0], aus=(12,)))
    assert (smile != heated([0.5, 3.0])).any()
    plain = sample((6, 12), [np.nan, 0.0], SPEC, True, landmarks=NONE).tiles[0][1]
    np.testing.assert_array_equal(heated([np.nan, 0.0], present_only=True), plain)


@pytest.mark.parametrize("present", [True, False])
def test_sheets_of_images_and_clips_are_as_large_as_their_content(tmp_path, present):
    rows = {"neutral": TRAIN[:1], "happiness": TRAIN[1:3]}
    sheets.save(tmp_path / "a.png", small_info(), rows, "toy", 1.0, SPEC, present)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    width = 104 + 2 * (2 * 128 + 4 + 18) + 10
    assert sheet.shape[1] == width and sheet.min() < 40
    info = toydata.info("toyclips", records.CLIP)
    clips = {"neutral": [toydata.clip_record(0, 5), toydata.clip_record(1, 12)], "anger": []}
    sheets.save(
        tmp_path / "c.png", info, {k: v for k, v in clips.items() if v}, "c", 1.0, SPEC, present
    )
    sheet = cv2.imread(str(tmp_path / "c.png"))
    assert sheet.shape[1] == 104 + 8 * 132 - 4 + 18 + 10
    assert sheet.shape[0] == 48 + 2 * (2 * 132 + 2 * 13 + 18) + 10


def test_the_command_writes_table_and_pictures(tmp_path, memory_catalog, capsys):
    train, test = (records.MemorySource(small_info(), rows) for rows in (TRAIN, TRAIN[:1]))
    memory_catalog("toy", train, {"train": train, "test": test})
    assert cli.main(["data", "inspect", "toy", "--out", str(tmp_path), "--samples", "2"]) == 0
    text = (tmp_path / "inspect.md").read_text()
    assert text in capsys.readouterr().out and "![samples](train.png)" in text
    assert {p.name for p in tmp_path.iterdir()} == {"inspect.md", "train.png", "test.png"}
    assert "Subjects: 2, 1 of them in more than one split." in text


def test_an_unknown_dataset_is_named(tmp_path, capsys):
    assert cli.main(["data", "inspect", "synth_aa", "--out", str(tmp_path / "x")]) == 2
    assert "Did you mean 'synth_a'?" in capsys.readouterr().err
