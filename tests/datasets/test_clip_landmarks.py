"""Landmarks of prepared clips: of which frame, in which pixels, and what alignment makes of them."""

import clips_source as sources
import faces_source as faces
import numpy as np
import pytest
from clips_source import records, run

from aufer_jax.data import loader, sampling, views
from aufer_jax.datasets import catalog
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points
from aufer_jax.sources import videos


def face(right, down=0.0, scale=0.4):
    """A face of 45 x 45 pixels whose eyes, nose and mouth lie as in the template, so far from the corner."""
    eye_left, eye_right, nose, *mouth = align.TEMPLATE * scale + (right, down)
    points = np.tile(nose, (68, 1))
    points[36:42], points[42:48], points[[48, 54]] = eye_left, eye_right, mouth
    return points


def picture(points=(), size=(64, 48)):
    """A black frame of that width and height with white squares around points."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in np.round(points).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def one_clip(folder, kind, frames=5):
    """A clip of upright frames of 64 x 48 pixels."""
    image = picture()
    data = {"png": faces.encoded(image, ".png"), "turned": faces.turned(image, 6)}
    if kind == "video":
        sources.video(folder / "in/happy/a.avi", frames)
    else:
        for i in range(frames):
            sources.write(folder / f"in/happy/a/{i}.jpg", data[kind])


@pytest.mark.parametrize("kind", ["png", "turned", "video"])
@pytest.mark.parametrize("size", [0, 32])
def test_landmarks_follow_their_frames(tmp_path, kind, size):
    one_clip(tmp_path, kind)
    rows = [(5, 0.9, {12}), (1, 0.9, {12}), (2, 0.9, set()), (4, 0.7, {12})]  # none of frame 3
    points = [np.tile([10.0 * row[0], 21.0], (68, 1)) for row in rows]
    points[1][8] = 40, 48  # on the edge
    sources.write(tmp_path / "au/a.csv", sources.openface(rows, points=points))
    options = {"au": str(tmp_path / "au"), "validation": 0, "test": 0, "size": size}
    report = run(tmp_path / "in", tmp_path / "data", **options)
    (record,) = records(tmp_path / "data").values()
    assert sources.pixels(record["frames"][0]).shape == ((24, 32, 3) if size else (48, 64, 3))
    found, nan = record["landmarks"], np.nan
    # Half the size: pixel centre 10 lies 10.5 from the edge, then 5.25, which is 4.75 in pixels.
    across = [4.75, 9.75, nan, nan, 24.75] if size else [10, 20, nan, nan, 50]
    down = [10.25, 10.25, nan, nan, 10.25] if size else [21, 21, nan, nan, 21]
    for i in (0, 30, 67):
        np.testing.assert_array_equal(found[:, i, 0], across)
        np.testing.assert_array_equal(found[:, i, 1], down)
    np.testing.assert_array_equal(found[0, 8], [19.75, 23.75] if size else [40, 48])
    assert report.clips["frames_with_landmarks"] == 3 and not report.findings
    assert "AUs are known of 3, landmarks of 3." in str(report)


def test_landmarks_of_frames_of_another_size_are_told(tmp_path):
    one_clip(tmp_path, "png", frames=3)
    points = [np.tile(place, (68, 1)) for place in ([63, 47], [64, 20], [20, -1])]
    rows = [(i + 1, 1, {12}) for i in range(3)]
    sources.write(tmp_path / "au/a.csv", sources.openface(rows, points=points))
    report = run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au"))
    (record,) = records(tmp_path / "data").values()
    assert np.isfinite(record["landmarks"]).all((1, 2)).tolist() == [True, False, False]
    assert report.findings == {videos.OUTSIDE: ("happy/a: 2 frames",)}
    assert report.clips["frames_with_landmarks"] == 1 and report.clips["frames_with_aus"] == 3


def test_clips_are_aligned_by_their_landmarks(tmp_path):
    points = [face(2), face(15, 3), face(9, 1), face(30, 0, scale=0.2)]
    for i, mine in enumerate(points):
        image = picture(mine[[36, 42]], size=(128, 96) if i == 1 else (64, 48))
        sources.write(tmp_path / f"in/happy/a/{i}.png", faces.encoded(image, ".png"))
    rows = [(i + 1, 1 if i < 3 else 0.4, {12}) for i in range(4)]
    sources.write(tmp_path / "au/a.csv", sources.openface(rows, points=points))
    run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au"), size=64)
    spec = views.Spec(size=112, align="5pt", train=False, clip=sampling.Sampling(4))
    source = catalog.source("mine", "train", tmp_path / "data")
    data = loader.eval_batches(source, spec, batch_size=1, threads=0)
    batch = next(data)
    eyes = five_points(batch["landmarks"][0])[:, :2]
    places = np.round(align.TEMPLATE[:2]).astype(int)
    for t in range(3):
        np.testing.assert_allclose(eyes[t], align.TEMPLATE[:2], atol=1e-3)
        assert all(batch["clip"][0, t, y, x].min() > 200 for x, y in places)
    assert batch["landmarks_valid"].tolist() == [[True, True, True, False]]
    # The frame without landmarks is shown whole.
    assert not any(batch["clip"][0, 3, y, x].any() for x, y in places)
    assert dict(data.report.problems) == {"no landmarks": {"happy/a"}}
