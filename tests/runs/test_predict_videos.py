"""Videos: true times, faces followed, turned and damaged files, windows of clip networks."""

import csv
import os
import struct
import types

import cv2
import finished
import numpy as np
import pytest
import skimage.data

from aufer_jax import cli, errors
from aufer_jax.faces import crops, detect
from aufer_jax.runs import Predictor, drawing, pictures, prediction, tracking, video

NEAR = np.ascontiguousarray(skimage.data.astronaut()[20:276, 100:356])
GREY = np.full_like(NEAR, 99)


def film(path, images, fps=10, code="MJPG"):
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (width, height))
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()
    return path


def moving(count):
    return [np.roll(NEAR, 2 * i, 1) for i in range(count)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        finished.memory_catalog(patch)
        finished.save(folder / "images", finished.images("auvit-vit"))
        finished.save(folder / "clips", finished.clips("r3d18"))
    return folder


@pytest.fixture(scope="module")
def network(saved):
    return Predictor.load(saved / "images")


def told(path):
    """The numbers and times of the frames, and what is said."""
    said = []
    found = list(pictures.stream([(str(path), None)], said.append))
    return [one.frame for one in found], [one.time for one in found], said


def test_frames_have_their_times_and_faces_their_number(network, tmp_path):
    shown = [*moving(4), GREY, *moving(2)]
    found = network.predict(film(tmp_path / "a.avi", shown))
    assert found["frame"].tolist() == list(range(7)) and found.problems == []
    np.testing.assert_allclose(found["time"], np.arange(7) / 10, atol=1e-3)
    assert found["face"].tolist() == [0, 0, 0, 0, -1, 0, 0]
    assert found["x_30"][3] - found["x_30"][0] == pytest.approx(6, abs=2)
    alone = network.predict(shown[0])
    np.testing.assert_allclose(found["x_30"][0], alone["x_30"][0], atol=1)


def test_a_turned_video_is_seen_upright(tmp_path):
    data = bytearray(film(tmp_path / "a.mp4", [NEAR] * 2, code="mp4v").read_bytes())
    # Behind "tkhd": version 0, times, number and duration of the track, then the matrix, of which this
    # is a quarter turn.
    start = data.find(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 8
    data[start : start + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 2**30)
    (tmp_path / "turned.mp4").write_bytes(data)
    frames = video.frames(str(tmp_path / "turned.mp4"), print)
    expected = cv2.rotate(NEAR, cv2.ROTATE_90_CLOCKWISE).astype(int)
    assert np.abs(next(frames)[2] - expected).mean() < 8


def test_a_variable_rate_is_followed(tmp_path):
    """Six frames of which the first three last half as long: a second entry in the table of durations."""
    data = film(tmp_path / "a.mp4", moving(6), code="mp4v").read_bytes()
    at = data.find(b"stts") - 4
    entries, count, lasts = struct.unpack_from(">3I", data, at + 12)
    assert (entries, count) == (1, 6)
    table = struct.pack(">I4sI5I", 32, b"stts", 0, 2, 3, lasts // 2, 3, lasts)
    grown = bytearray(data[:at] + table + data[at + 24 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):  # around it, behind the pictures
        size = data.find(box) - 4
        struct.pack_into(">I", grown, size, struct.unpack_from(">I", data, size)[0] + 8)
    (tmp_path / "variable.mp4").write_bytes(grown)
    frames, times, said = told(tmp_path / "variable.mp4")
    assert frames == list(range(6)) and said == []
    np.testing.assert_allclose(times, [0, 0.05, 0.1, 0.15, 0.25, 0.35], atol=2e-3)


def test_a_broken_frame_is_skipped_and_counted(tmp_path):
    path = film(tmp_path / "a.avi", moving(12))
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]
    data[starts[5] : starts[6] - 16] = bytes(starts[6] - 16 - starts[5])
    path.write_bytes(data)
    frames, times, said = told(path)
    assert frames == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    np.testing.assert_allclose(times, np.array(frames) / 10, atol=1e-3)
    assert said == [f"{path}: broken frames, skipped: 1"]


def test_a_video_that_was_cut_off_ends_with_a_line(saved, tmp_path, capfd):
    path = film(tmp_path / "a.avi", moving(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, times, said = told(path)
    assert 5 < len(frames) < 15 and frames == list(range(len(frames)))
    assert said == [f"{path}: ends early, at {times[-1]:.2f} s: {len(frames)} of 20 frames"]
    lost = film(tmp_path / "lost.mp4", moving(3), code="mp4v")
    lost.write_bytes(lost.read_bytes()[:2000])
    assert told(lost)[2] == [f"{lost}: not usable, cannot be opened as a video"]
    words = ["predict", str(path), str(lost), "--model", str(saved / "images")]
    words += ["--draw", str(tmp_path / "d")]
    assert cli.main(words) == 0
    printed = capfd.readouterr()
    assert said[0] in printed.err and f"{len(frames)} frames, 0 without a face" in printed.out
    assert video.length(str(tmp_path / "d" / "a.mp4")) == len(frames)
    assert len(list((tmp_path / "d").iterdir())) == 1


def test_a_video_that_does_not_say_how_long_it_is(tmp_path):
    path = film(tmp_path / "a.webm", moving(5), code="VP80")
    data = path.read_bytes()
    at = data.find(b"\x44\x89\x88")  # the duration, 8 bytes; what is void has the same length
    path.write_bytes(data[:at] + b"\xec\x89" + bytes(9) + data[at + 11 :])
    said = []
    assert len(list(video.frames(str(path), said.append, 3))) == 3
    assert said == ["only the first 3 frames are read"]


def test_a_video_whose_name_is_not_utf_8(tmp_path):
    path = film(tmp_path / "a.avi", moving(2))
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.avi")
    try:
        path.rename(name)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    assert told(name)[0] == [0, 1]


def test_drawn_frames_stand_as_long_as_they_did(tmp_path):
    with drawing.Drawings(str(tmp_path), ()) as drawings:
        for time, shade in ((0.5, 10), (0.9, 120), (1.5, 240), (1e6, 10)):
            image = np.full((480, 480, 3), shade, np.uint8)
            seen = prediction.Seen("webcam:0", 0, time, [], image)
            drawings.add([seen], {"face": np.array([-1])})
    shades = [pixels[9, 9].mean() for *_, pixels in video.frames(f"{tmp_path}/webcam-0.mp4", print)]
    assert len(shades) == 1 + 25 + 250  # 25 a second; no frame for more than 10 seconds
    np.testing.assert_allclose(shades[:26], [10] * 10 + [120] * 15 + [240], atol=15)


class Camera:
    """Gives the frames of a film, then CTRL-C is pressed."""

    def __init__(self, path):
        self._film = capture(str(path), cv2.CAP_FFMPEG)

    def read(self):
        whole, image = self._film.read()
        if not whole:
            raise KeyboardInterrupt
        return whole, image

    def __getattr__(self, name):
        return getattr(self._film, name)


capture = cv2.VideoCapture


def test_a_camera_is_seen_until_it_is_ended_by_hand(saved, tmp_path, capfd, monkeypatch):
    path = film(tmp_path / "a.avi", moving(8))
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda number, *_: {0: Camera}[number](path))
    words = [
        "predict",
        "--model",
        str(saved / "images"),
        "--webcam",
        "--out",
        str(tmp_path / "t.csv"),
    ]
    assert cli.main([*words, "--draw", str(tmp_path / "drawn")]) == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["file"], row["face"]) for row in rows] == [("webcam:0", "0")] * 8
    times = [float(row["time"]) for row in rows]
    assert times == sorted(set(times)) and times[-1] < 60
    assert "1 files, 8 pictures and frames" in capfd.readouterr().out
    assert [file.name for file in (tmp_path / "drawn").iterdir()] == ["webcam-0.mp4"]
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda *_: capture())
    assert cli.main(words) == 2
    assert "webcam:0: not usable, no camera" in capfd.readouterr().err
    assert cli.main(words[:3]) == 2
    assert "predict: name at least one of PATHS, or --webcam" in capfd.readouterr().err


def test_smoothing_averages_over_the_past_of_each_face(network, tmp_path):
    smoother = tracking.Smoother(0.5)
    rows = [("a.mp4", 0, 0.0, 0), ("a.mp4", 1, 0.5, 0), ("a.mp4", 1, 0.5, 1), ("a.mp4", 3, 1.5, 0)]
    found = smoother(rows, {"p": np.array([[0, 1], [1, 0], [0.5, 0.5], [1, 0]])})["p"]
    first, second = 1 - np.exp(-1), np.exp(-2) * (1 - np.exp(-1)) + 1 - np.exp(-2)
    np.testing.assert_allclose(found[:, 0], [0, first, 0.5, second], rtol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    # A second later nothing is left, nor in another file.
    later = [("a.mp4", 90, 9.0, 0), ("b.mp4", 0, 9.1, 0)]
    np.testing.assert_array_equal(smoother(later, {"p": np.eye(2)})["p"], np.eye(2))

    path = film(tmp_path / "a.avi", [*moving(3), *[np.roll(NEAR, -20, 0)] * 3])
    plain, smooth = network.predict(path), network.predict(path, smooth=0.2)
    for name in network.expressions:
        assert smooth[name][0] == plain[name][0]
        wanted = plain[name][0] + (1 - np.exp(-0.5)) * (plain[name][1] - plain[name][0])
        np.testing.assert_allclose(smooth[name][1], wanted, rtol=1e-5)
    np.testing.assert_array_equal(smooth["x_30"], plain["x_30"])
    with pytest.raises(errors.UserError, match="smooth: got -1"):
        network.predict(path, smooth=-1)


def middles(boxes):
    return [np.reshape(box, (2, 2)).mean(0, keepdims=True) for box in boxes]


def test_faces_keep_their_numbers_by_overlap():
    tracks = tracking.Tracks()

    def follow(boxes, time):
        return tracks.follow(boxes, middles(boxes), time)

    left, right = np.array([0, 0, 10, 10.0]), np.array([20, 0, 30, 10.0])
    assert follow([left, right], 0.0) == [0, 1]
    assert follow([right + 2, left + 1], 0.1) == [1, 0]
    assert follow([], 0.2) == []
    assert follow([left + 2], 0.9) == [0]
    assert follow([right, left + 50], 1.5) == [2, 3]  # forgotten after a second, too far


def test_where_boxes_are_alike_the_points_tell_faces_apart():
    near, far = np.array([[2.0, 3], [6, 3]]), np.array([[5.0, 3], [9, 3]])
    for points in ((near, far), (far, near)):
        tracks = tracking.Tracks()
        assert tracks.follow([np.array([0, 0, 10, 10.0])], [near], 0.0) == [0]
        same = np.array([1, 0, 11, 10.0])
        found = tracks.follow([same, same], points, 0.1)
        assert found == ([0, 1] if points[0] is near else [1, 0])


def test_a_clip_network_judges_windows_of_one_face(saved, tmp_path):
    network = Predictor.load(saved / "clips")
    shown = [*moving(5), GREY, *moving(6), *[np.roll(NEAR, -20, 0)] * 7]
    path = film(tmp_path / "a.avi", shown)
    found = network.predict(path, window=0.8)
    assert found["frame"].tolist() == list(range(19))
    column = found[network.expressions[0]]
    ends = np.flatnonzero(np.diff(np.nan_to_num(column[found["face"] >= 0]))) + 1
    assert ends.tolist() == [7]  # 8 frames, one without a face; the end joins the second window
    window = [image for _, _, image in video.frames(str(path), print)][:8]
    faces = [detect.create("mesh")(image) for image in window]
    cut = [
        crops.aligned(image, face[0], network.size)[0]
        for image, face in zip(window, faces, strict=True)
        if face
    ]
    chosen = network.inference.spec.clip.choose(len(cut), None, "")
    expected = network(np.stack([np.stack([cut[t] for t in chosen])]))["expression_probability"][0]
    given = [found[name][0] for name in network.expressions]
    np.testing.assert_allclose(given, expected, rtol=1e-3)
    assert network.predict(NEAR).rows == 1  # a clip that stands still


def test_a_clip_network_is_given_the_landmarks_of_its_frames():
    given = []

    def network(pixels, landmarks):
        given.append((pixels, landmarks))
        return {"au": np.zeros((len(pixels), 1))}

    network.inference = types.SimpleNamespace(spec=finished.spec(4, clip=2))

    def seen(t):
        face = prediction.Face(0, None, np.full((4, 4, 3), t, np.uint8), np.full((68, 2), float(t)))
        return prediction.Seen("a", t, t / 10, [face], None)

    assert prediction._of_clips(network, [seen(t) for t in range(5)])["au"].shape == (5, 1)
    ((pixels, landmarks),) = given
    assert pixels.shape == (1, 2, 4, 4, 3) and landmarks.shape == (1, 2, 68, 2)
    np.testing.assert_array_equal(pixels[..., 0, 0, 0], landmarks[..., 0, 0])


def test_windows_do_not_join_files():
    def seen(file, frame):
        return prediction.Seen(file, frame, frame / 10, [], None)

    stream = [*(seen("a", i) for i in range(23)), *(seen("b", i) for i in range(3)), seen("c", 0)]
    parts = [[(one.file, one.frame) for one in part] for part in prediction._windows(stream, 1.0)]
    assert [(part[0], part[-1]) for part in parts] == [
        (("a", 0), ("a", 9)), (("a", 10), ("a", 22)), (("b", 0), ("b", 2)), (("c", 0), ("c", 0)),
    ]  # fmt: skip
