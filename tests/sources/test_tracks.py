"""AU tracks from files as OpenFace and py-feat write them, and labels of whole videos."""

import os
import zipfile

import clips_source as sources
import numpy as np
import pytest

from aufer_jax import facs
from aufer_jax.data.video_labels import video_labels
from aufer_jax.sources import tracks

NAN = np.nan


def csv(header, *rows, separator=","):
    return "\n".join([separator.join(header.split()), *(separator.join(r.split()) for r in rows)])


def values(track, frames, au, **options):
    return tracks.aligned(track, frames, **options)[:, track.aus.index(au)].tolist()


# --- OpenFace -----------------------------------------------------------------------------------


def test_a_sequence():
    text = csv(
        "frame face_id timestamp confidence success p_rx p_0 AU06_r AU12_r AU06_c AU12_c AU28_c AU06_d",
        "1 0 0.000 0.98 1 0.1 3 0.52 2.31 0.00 1.00 0.00 9",
        "2 0 0.040 0.30 0 0.1 3 0.20 0.77 0.00 1.00 1.00 9",
        "4 0 0.120 0.93 1 0.1 3 0.00 5.00 1.00 1.00 1.00 9",
    )
    track = tracks.read("a.csv", text)
    assert track.aus == (6, 12, 28) and track.other_faces == 0
    assert track.frames.tolist() == [1, 2, 4] and track.success.tolist() == [True, False, True]
    np.testing.assert_allclose(track.confidence, [0.98, 0, 0.93])  # of a failure: none
    # There is no AU28_r.
    assert track.intensity is not None
    np.testing.assert_allclose(track.intensity, [[0.52, 2.31, NAN], [0.2, 0.77, NAN], [0, 5, NAN]])
    np.testing.assert_array_equal(track.presence, [[0, 1, 0], [0, 1, 1], [1, 1, 1]])

    np.testing.assert_array_equal(
        tracks.aligned(track, 5, prefer="presence", confidence=0.8),
        [[0, 1, 0], [NAN] * 3, [NAN] * 3, [1, 1, 1], [NAN] * 3],
    )
    np.testing.assert_allclose(
        tracks.aligned(track, 2, prefer="intensity", confidence=0.8), [[0.52, 2.31, 0], [NAN] * 3]
    )
    assert np.isnan(tracks.aligned(track, 5, confidence=0.95)[3]).all()


def test_spaces_spelling_and_order_of_columns_do_not_matter():
    plain = csv("AU12_c confidence success frame x_0 X_0 AU06_r", "1.0 0.9 1 1 7 8 2.5")
    spaced = (
        " AU12_c,  confidence, success, frame, x_0, X_0, AU06_r \r\n 1.0, 0.9, 1, 1, 7, 8, 2.5\r\n"
    )
    for text in (plain, spaced, plain.replace(",", ";")):
        track = tracks.read("a.csv", text)
        assert track.aus == (6, 12)
        assert values(track, 1, 6) == [2.5] and values(track, 1, 12) == [1]


def test_an_image_has_a_row_a_face_and_the_largest_sure_one_counts():
    box = " ".join(f"{axis}_{i}" for axis in "xy" for i in range(68))

    def row(face, confidence, side, value):
        points = " ".join(str(side * (i == 67)) for axis in "xy" for i in range(68))
        return f"{face} {confidence} {points} {value}"

    text = csv(
        f"face confidence {box} AU06_r",
        row(0, 0.99, 20, 1), row(1, 0.75, 60, 2), row(2, 0.6, 90, 3),
    )  # fmt: skip
    track = tracks.read("a.csv", text)
    assert track.frames.tolist() == [1] and track.other_faces == 2
    assert values(track, 1, 6, confidence=0.7) == [2]
    # None is sure: the surest.
    text = csv(f"face confidence {box} AU06_r", row(0, 0.4, 20, 1), row(1, 0.3, 60, 2))
    assert values(tracks.read("a.csv", text), 1, 6, confidence=0.1) == [1]
    # No face was found.
    empty = tracks.read("a.csv", f"face, confidence, {', '.join(box.split())}, AU06_r\n")
    assert len(empty.frames) == 0 and np.isnan(tracks.aligned(empty, 2)).all()


def test_several_faces_in_a_video():
    text = csv(
        "frame face_id confidence success p_scale AU04_r",
        "3 1 0.9 1 2.0 5", "1 0 0.9 1 1.0 1", "1 1 0.9 1 2.0 2", "3 0 0.9 0 9.0 3", "2 0 0.9 1 1.0 4",
    )  # fmt: skip
    track = tracks.read("a.csv", text)
    assert track.frames.tolist() == [1, 2, 3] and track.other_faces == 2
    assert values(track, 3, 4) == [2, 4, 5]


def landmark_columns(x, y):
    """Header and cells of landmarks that lie at one place, and of 3-D landmarks, which are no pixels."""
    names = [f"{axis}_{i}" for axis in "xyXY" for i in range(68)]
    return " ".join(names), " ".join([str(x)] * 68 + [str(y)] * 68 + ["900"] * 136)


def test_landmarks():
    names, _ = landmark_columns(0, 0)
    rows = [
        f"{frame} {face} {confidence} {success} {landmark_columns(x, y)[1]} 2.5 1"
        for frame, face, confidence, success, x, y in [
            (5, 0, 0.7, 1, 10, 20), (1, 0, 0.98, 1, 30.5, 40.5), (2, 0, 0.2, 0, 5, 6),
            (5, 1, 0.95, 1, 50, 60), (7, 0, 0.95, 1, 0, 0),
        ]
    ]  # fmt: skip
    text = csv(f"frame face_id confidence success {names} AU06_r AU06_c", *rows)
    track = tracks.read("a.csv", text)
    assert track.frames.tolist() == [1, 2, 5, 7] and track.other_faces == 1
    assert track.landmarks is not None
    assert track.landmarks.shape == (4, 68, 2) and track.landmarks.dtype == np.float32
    # Of a failure none; the surer face of frame 5; all 0 is no face.
    expected = [[30.5, 40.5], [NAN, NAN], [50, 60], [NAN, NAN]]
    for point in (0, 33, 67):
        np.testing.assert_array_equal(track.landmarks[:, point], expected)
    found = tracks.aligned_landmarks(track, [5, 1, 3, 1], confidence=0.96)
    assert found is not None
    np.testing.assert_array_equal(found[:, 8, 1], [NAN, 40.5, NAN, 40.5])
    whole = tracks.aligned_landmarks(track, 6)
    assert whole is not None
    np.testing.assert_array_equal(whole[:, 8, 0], [30.5, NAN, NAN, NAN, 50, NAN])
    assert values(track, [7, 2, 10**15], 6)[0] == 2.5 and len(tracks.aligned(track, [])) == 0
    for other in (
        tracks.read("a.csv", text, landmarks=False),
        tracks.read("a.csv", text.replace("y_67", "y_68")),
    ):
        assert other.landmarks is None and tracks.aligned_landmarks(other, 3) is None


@pytest.mark.parametrize(
    "header, row, message",
    [
        ("frame x_0 p_rx", "1 2 3", "no column such as AU06_r.*it has frame, x_0, p_rx"),
        ("frame AU06_r AU12_r", "1 0 431", "up to 431 instead of 5.*decimal points were lost"),
        ("frame AU06_c AU12_c", "1 0 100", "up to 100 instead of 1.*decimal points were lost"),
        ("frame AU06_r", "1 5.3", "5.3 in row 2, column AU06_r; it must be 0..5"),
        ("frame confidence AU06_r", "1 98 2", "98 in column confidence"),
        ("frame AU06_r", "0 2", "0 in row 2, column frame; it must be a whole number, at least 1"),
        ("frame AU06_r", "1.5 2", "1.5 in row 2, column frame"),
        ("frame AU06_r", "1 x", "'x' in row 2, column AU06_r, is not a number"),
        ("frame AU06_r", "1", "row 2 has 1 cells, the header has 2"),
        ("frame FaceRectX AU06", "1 5 1.4", "up to 1.4, they must be 0..1"),
    ],
)
def test_files_that_cannot_be_used(header, row, message):
    with pytest.raises(ValueError, match=f"a.csv: .*{message}"):
        tracks.read("a.csv", csv(header, row))


def test_options_are_checked():
    track = tracks.read("a.csv", csv("frame AU06_r", "1 2"))
    with pytest.raises(ValueError, match="Did you mean 'presence'"):
        tracks.aligned(track, 1, prefer="presense")
    with pytest.raises(ValueError, match="confidence: 80"):
        tracks.aligned(track, 1, confidence=80)


@pytest.mark.skipif(
    "AUFER_OPENFACE" not in os.environ, reason="needs a folder of OpenFace's own files"
)
def test_files_of_the_tool_itself():
    found, refused = tracks.folder(os.environ["AUFER_OPENFACE"])
    assert not refused and found
    for track in found.values():
        assert track.aus == tuple(sorted(facs.OPENFACE_18))
        for kind, most in ((track.intensity, 5), (track.presence, 1)):
            assert kind is not None and kind.shape == (len(track.frames), len(track.aus))
            assert np.nanmin(kind) >= 0 and np.nanmax(kind) <= most
        assert (np.diff(track.frames) > 0).all() and (
            (track.confidence >= 0) & (track.confidence <= 1)
        ).all()


# --- py-feat ------------------------------------------------------------------------------------


def test_py_feat():
    text = csv(
        "FaceRectX FaceRectY FaceRectWidth FaceRectHeight FaceScore AU06 AU12 AU43 happiness input frame",
        "1 1 20 20 0.9 0.5 0.49 0.9 0.1 film.mp4 0",
        "1 1 50 50 0.8 0.1 0.70 0.2 0.1 film.mp4 0",
        "2 1 50 50 0.8 0.6 0.2 nan 0.1 film.mp4 2",
    )
    text += "\n" + ",".join([""] * 9 + ["film.mp4", "1"])  # no face
    track = tracks.read("a.csv", text)
    assert track.aus == (6, 12, 43) and track.intensity is None and track.other_faces == 1
    assert track.frames.tolist() == [1, 2, 3] and track.success.tolist() == [True, False, True]
    np.testing.assert_array_equal(track.presence, [[0, 1, 0], [NAN] * 3, [1, 0, NAN]])
    assert track.probability is not None
    np.testing.assert_allclose(track.probability[0], [0.1, 0.7, 0.2])
    for prefer in ("presence", "intensity"):
        found = tracks.aligned(track, 3, prefer=prefer)
        np.testing.assert_array_equal(found, [[0, 1, 0], [NAN] * 3, [1, 0, NAN]])
    assert track.landmarks is None
    names, cells = landmark_columns(12.5, 30)
    marked = csv(f"FaceRectX AU06 {names} frame", f"1 0.5 {cells} 0")
    marked += "\n" + "," * 274 + "1"  # no face
    points = tracks.read("a.csv", marked).landmarks
    assert points is not None
    np.testing.assert_array_equal(points[:, 67], [[12.5, 30], [NAN, NAN]])
    blink = tracks.read("a.csv", text, closed_as_blink=True)
    assert blink.aus == (6, 12, 45)
    np.testing.assert_array_equal(blink.presence, track.presence)


def test_plain_columns_of_other_files_may_be_intensities():
    track = tracks.read("a.csv", csv("frame AU06 AU12", "1 0 3", "2 1 0.5"))
    assert track.presence is None and track.probability is None
    np.testing.assert_array_equal(tracks.aligned(track, 2), [[0, 3], [1, 0.5]])


# --- Folders ------------------------------------------------------------------------------------


def test_folder_and_zip(tmp_path):
    for name in ("a", "deep/b"):
        sources.write(tmp_path / f"in/{name}.csv", sources.openface([(1, 0.9, {6})]))
    sources.write(tmp_path / "in/broken.csv", "frame,x_0\n1,2\n")
    sources.write(tmp_path / "in/labels.csv", "file,expression\na,happy\n")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in (tmp_path / "in").rglob("*.csv"):
            archive.write(path, path.relative_to(tmp_path / "in").as_posix())
    for place in ("in", "in.zip"):
        found, refused = tracks.folder(tmp_path / place)
        assert sorted(found) == ["a", "deep/b"] and found["a"].aus == facs.OPENFACE_18[:16] + (
            28,
            45,
        )
        assert list(refused) == ["broken.csv"] and "no column such as" in refused["broken.csv"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.csv files"):
        tracks.folder(tmp_path / "empty")


# --- Labels of a video --------------------------------------------------------------------------


def test_a_video_has_an_au_that_half_of_its_known_frames_have():
    presence = np.array([[1, 1, 0, NAN], [0, NAN, NAN, NAN], [0, 0, 0, NAN], [1, NAN, 0, NAN]])
    labels, known = video_labels(presence)
    assert labels.tolist() == [True, True, False, False]  # ties count
    assert known.tolist() == [True, True, True, False]
    # Without any row nothing is known; the published loaders called every AU present.
    labels, known = video_labels(np.empty((0, 3)))
    assert not labels.any() and not known.any()
    labels, known = video_labels(np.array([[True, False]]))
    assert labels.tolist() == [True, False] and known.all()
