"""Bias between datasets: hand-worked means and distances, faces whose mean is known, the command."""

import json

import cv2
import numpy as np
import pytest
import toydata

from aufer_jax import bias, cli, facs
from aufer_jax.bias import drawings
from aufer_jax.data import records

NAN = np.nan


def profile(name, expressions, labels, au, known=None):
    au = np.array(au, np.float64)
    known = np.ones(au.shape, bool) if known is None else np.array(known, bool)
    return bias.profile(name, expressions, (1, 2, 4), np.array(labels), au, known)


ONE = profile(
    "one",
    ("happiness", "fear"),
    [0, 0, 0, 1, -1],
    [[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 4]],
    [[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 1]],
)
# The same expressions in another order, and one more; AU 4 is not annotated.
TWO = profile(
    "two",
    ("Fear", "anger", "happy"),
    [2, 0, 1],
    [[0, 1, 0], [1, 1, 0], [1, 0, 0]],
    [[1, 1, 0]] * 3,
)
UNLABELLED = profile("three", (), [-1, -1], [[0, 0, 2], [0, 1, 1]])


def test_means_are_over_the_samples_that_know_the_au():
    assert ONE.rows == ("happiness", "fear", "all samples")
    np.testing.assert_allclose(ONE.mean, [[2 / 3, 1 / 2, NAN], [1, 1, 0], [3 / 4, 2 / 3, 2]])
    np.testing.assert_array_equal(ONE.known, [[3, 2, 0], [1, 1, 1], [4, 3, 2]])
    np.testing.assert_array_equal(ONE.samples, [3, 1, 5])
    assert UNLABELLED.rows == ("all samples",)
    np.testing.assert_allclose(UNLABELLED.mean, [[0, 0.5, 1.5]])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([3, 4], [4, 3], 1 - 24 / 25),
        ([1, 0], [0, 2], 1),
        ([1, 2], [2, 4], 0),
        ([3, 4, NAN, 7], [4, 3, 9, NAN], 1 - 24 / 25),  # over what both know
        ([0, 0], [1, 1], NAN),
        ([1, NAN], [NAN, 1], NAN),
    ],
)
def test_cosine_distance(a, b, expected):
    np.testing.assert_allclose(
        bias.cosine_distance(np.array(a), np.array(b)), expected, atol=1e-12, equal_nan=True
    )


def test_expressions_are_matched_by_name():
    found = [ONE, TWO, UNLABELLED]
    assert bias.shared_expressions(found) == ("happiness", "fear")
    happiness = bias.distances(found, "happiness")
    # (2/3, 1/2) with (0, 1): the cosine is 1/2 / (5/6)
    np.testing.assert_allclose(happiness[0, 1], 1 - 3 / 5)
    np.testing.assert_allclose(happiness, happiness.T)
    assert np.isnan(happiness[2]).all()
    fear = bias.distances(found, "fear")
    np.testing.assert_allclose(fear[:2, :2], 0, atol=1e-12)
    overall = bias.overall(found)
    np.testing.assert_allclose(overall[0, 1], 0.2)
    assert np.isnan(overall[2]).all()
    # all samples: (3/4, 2/3, 2) with (0, 1/2, 3/2)
    expected = 1 - (1 / 3 + 3) / (np.hypot(np.hypot(3 / 4, 2 / 3), 2) * np.hypot(0.5, 1.5))
    np.testing.assert_allclose(bias.distances(found, "all samples")[0, 2], expected)


def test_without_a_shared_expression_nothing_is_overall():
    assert np.isnan(bias.overall([ONE, UNLABELLED])).all()


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (0.29, "similar"),
        (0.3, "between"),
        (0.5, "between"),
        (0.51, "different"),
        (NAN, "unknown"),
    ],
)
def test_reading(distance, words):
    assert bias.reading(distance) == words


def source(rows, name="toy", aus=(12, 4), kind=records.IMAGE):
    info = toydata.info(name, kind, expressions=("fear", "neutral"), aus=aus)
    return records.MemorySource(info, [records.complete(row, kind) for row in rows])


def face(label, au=(0, 0), known=(True, True), grey=0, **more):
    image = np.full((40, 40, 3), grey, np.uint8)
    return {
        "key": f"{label}{au}{grey}",
        "image": toydata.encode(image),
        "expression": label,
        "au": au,
        "au_known": known,
        **more,
    }


def test_au_labels_become_presence_or_stay_intensities():
    rows = [face(0, (2, 0.5)), face(0, (0.5, 3)), face(1, (5, 1), (False, True))]
    found = bias.read_profile(source(rows), (4, 6, 12))
    np.testing.assert_allclose(found.mean, [[0.5, NAN, 0.5], [1, NAN, NAN], [2 / 3, NAN, 0.5]])
    np.testing.assert_array_equal(found.samples, [2, 1, 3])
    found = bias.read_profile(source(rows), (4, 6, 12), threshold=None)
    np.testing.assert_allclose(found.mean[0], [1.75, NAN, 1.25])
    found = bias.read_profile(source(rows), (4,), threshold=3.0)
    np.testing.assert_allclose(found.mean, [[0.5], [0], [1 / 3]])


def test_clips_count_as_their_video_labels():
    frames = [toydata.encode(np.full((8, 8, 3), grey, np.uint8)) for grey in (10, 60, 200)]
    row = {"key": "c", "frames": frames, "expression": 0, "au_known": (True, True)}
    row["au"] = np.array([[2, 0], [2, 0], [0, 3]])
    clips = source([row], kind=records.CLIP)
    np.testing.assert_array_equal(bias.read_profile(clips, (12, 4)).mean[0], [1, 0])
    np.testing.assert_allclose(bias.read_profile(clips, (12, 4), None).mean[0], [4 / 3, 1])
    faces = bias.mean_faces(clips, size=8, threads=0)
    np.testing.assert_array_equal(faces.images[0], 60)  # the middle frame


def test_mean_faces_average_what_can_be_read():
    rows = [face(0, grey=10), face(0, grey=31), face(-1, grey=100), face(1, image=b"torn", grey=1)]
    faces = bias.mean_faces(source(rows), size=16, threads=0)
    assert faces.rows == ("fear", "neutral", "all samples")
    np.testing.assert_array_equal(faces.samples, [2, 0, 3])
    np.testing.assert_array_equal(faces.images[:, 3, 5, 0], [20, 255, 47])
    assert faces.resized == 3
    assert faces.broken == ("1(0, 0)1",)


def test_mean_faces_are_aligned():
    """The same face, drawn small in one corner and large in another, comes to one place."""
    rows = []
    for scale, shift in ((0.5, 3), (0.9, 20)):
        points = toydata.FACE_LANDMARKS * scale + shift
        image = np.zeros((130, 130, 3), np.uint8)
        for x, y in points[[36, 45, 30, 48, 54]]:
            cv2.circle(image, (round(x), round(y)), 5, (255, 255, 255), cv2.FILLED)
        rows.append(face(0, image=toydata.encode(image), landmarks=points, grey=int(shift)))
    faces = bias.mean_faces(source(rows), size=112, threads=0)
    assert faces.resized == 0
    x, y = toydata.FACE_LANDMARKS[30]
    assert faces.images[0][round(y), round(x)].min() > 230


def test_measure_writes_what_it_returns(tmp_path):
    first = source([face(0, (2, 0)), face(0, (0, 2)), face(1, (0, 0))], "first")
    second = source([face(0, (2, 0)), face(1, (0, 0))], "second")
    values = bias.measure([first, second], out=tmp_path, aus="common_13", size=16)
    # (1, 1) / 2 with (1, 0): 1 - 1 / sqrt 2; of all samples (1, 1) / 3 with (1, 0) / 2: the same
    expected = pytest.approx(1 - 0.5**0.5, abs=1e-6)
    for row in ("fear", "overall", "all samples"):
        assert values["distance"][row]["first"]["second"] == expected
    assert values["distance"]["neutral"]["first"]["second"] is None
    assert values["datasets"]["first"]["samples_with_aus"]["fear"] == 2
    assert values["datasets"]["first"]["mean"]["fear"]["AU12"] == 0.5
    assert values["datasets"]["first"]["mean"]["fear"]["AU01"] is None
    assert json.loads((tmp_path / "bias.json").read_text()) == values
    assert {path.name for path in tmp_path.iterdir()} >= {
        "bias.md", "mean_faces.png", "au_faces.png", "au_profiles.png", "distances.png",
    }  # fmt: skip
    text = (tmp_path / "bias.md").read_text()
    assert "- first, second: 0.293 overall, similar" in text
    assert "| first, second | - | 0.293 | 0.293 | 0.293 |" in text


def test_aus_are_drawn_on_a_face():
    rest, smile, frown = (drawings.au_face(aus, 48) for aus in ({}, {12: 1.0}, {4: 1.0}))

    def moved(face):
        change = np.abs(face.astype(int) - rest).mean(-1)
        return change[:24].sum(), change[24:].sum()

    (above, mouth), (brows, below) = moved(smile), moved(frown)
    assert mouth > 2 * above and brows > 2 * below and min(mouth, brows) > 100
    assert moved(drawings.au_face({12: 0.4}, 48))[1] < mouth
    unknown = drawings.au_face({12: NAN, 11: 1.0}, 48)  # and one that cannot be drawn
    np.testing.assert_array_equal(unknown, rest)


def test_the_mean_aus_of_each_expression_are_drawn():
    cells = drawings.au_faces([ONE, UNLABELLED], 1.0, size=48).axes
    assert [cell.get_title() for cell in cells[:3]] == ["happiness", "fear", "all samples"]
    drawn = [cell.images[0].get_array() if cell.images else None for cell in cells]
    np.testing.assert_array_equal(drawn[0], drawings.au_face({1: 2 / 3, 2: 1 / 2}, 48))
    np.testing.assert_array_equal(drawn[1], drawings.au_face({1: 1, 2: 1, 4: 0}, 48))
    assert drawn[3] is drawn[4] is None and drawn[5] is not None  # it has no expressions
    assert [cells[i].get_xlabel() for i in (0, 1, 5)] == ["1 + 2", "1 + 2", "4 + 2"]


def test_one_dataset_alone_has_no_distances(tmp_path):
    values = bias.measure([source([face(0, (2, 0))])], out=tmp_path, size=16)
    assert values["datasets"]["toy"]["faces"] == 1
    assert "Cosine distance" not in (tmp_path / "bias.md").read_text()


def test_a_dataset_is_named_once():
    with pytest.raises(ValueError, match="each may be named once"):
        bias.measure([source([face(0)]), source([face(1)])])


def test_command_names_the_nearest_dataset(tmp_path, capsys):
    assert (
        cli.main(["data", "bias", "synth_a", "synth_x", "--data-dir", str(tmp_path / "data")]) == 2
    )
    assert "Did you mean 'synth_" in capsys.readouterr().err
    assert cli.main(["data", "bias", "synth_a", "--aus", "comon_13"]) == 2
    assert "Did you mean 'common_13'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_the_paper_compares_thirteen_aus():
    assert facs.au_order("common_13") == (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 20, 25, 26)


def test_datasets_without_aus_are_named(tmp_path):
    """One has no AU: it is named. None has any: nothing is compared."""

    def source(name, aus):
        info = toydata.info(name, aus=aus, splits={"train": 4})
        rows = [toydata.image_record(i) | {"expression": i % 2} for i in range(4)]
        known = {"au": np.ones(len(aus), np.float32), "au_known": np.ones(len(aus), bool)}
        return records.MemorySource(info, [row | known for row in rows])

    with_aus, bare = source("full", (6, 12)), source("bare", ())
    found = bias.measure([with_aus, bare], out=tmp_path, size=16)
    assert found["without_aus"] == ["bare"]
    assert "no distance is known: bare." in (tmp_path / "bias.md").read_text()
    with pytest.raises(ValueError, match=r"bare have none of the AUs 1, 2, .*data prepare --au"):
        bias.measure([bare], out=tmp_path, size=16)
