"""AUs told from landmarks: the drawn faces' true AUs, hand-moved points, and the way into `prepare`."""

import dataclasses

import numpy as np
import pytest
import toydata

from aufer_jax import synth
from aufer_jax.faces import au_files, geometric
from aufer_jax.sources import tables

PERSON = synth.sample_identity(np.random.default_rng(0))
FRONT = synth.Camera()


def drawn(aus, **view):
    camera = dataclasses.replace(FRONT, view=synth.View(**view))
    return synth.render(PERSON, aus, camera, size=64, oversample=1).landmarks


NEUTRAL = drawn({})


def of(found, au):
    return found[..., geometric.AUS.index(au)]


@pytest.mark.parametrize("au", [1, 2, 4, 5, 7, 10, 12, 15, 17, 25, 26, 45])
def test_a_stronger_action_gives_a_higher_value(au):
    faces = np.stack([drawn({au: level}) for level in range(6)])
    rise = np.diff(of(geometric.intensities(faces, NEUTRAL), au))
    assert (rise >= 0).all() and rise[:3].min() > 0.2


def test_the_smile_is_told_from_other_actions_of_the_mouth():
    smile = geometric.intensities(drawn({12: 5}), NEUTRAL)
    assert geometric.AUS[int(smile.argmax())] == 12 and of(smile, 12) > 4
    for au in (15, 17, 25):
        assert of(geometric.intensities(drawn({au: 4}), NEUTRAL), 12) < 0.5


def test_without_a_neutral_face_a_smile_and_closed_eyes_are_seen_too():
    assert of(geometric.intensities(drawn({12: 5})), 12) > 2.5
    assert of(geometric.intensities(drawn({45: 5})), 45) > 4
    assert of(geometric.intensities(NEUTRAL), 12) < 1


@pytest.mark.parametrize("turn", [{"yaw": 20}, {"yaw": -20}, {"roll": 25}, {"pitch": 10}])
def test_a_turned_head_changes_little(turn):
    smile = of(geometric.intensities(drawn({12: 4}, **turn), NEUTRAL), 12)
    assert abs(smile - of(geometric.intensities(drawn({12: 4}), NEUTRAL), 12)) < 0.5


def test_size_place_and_rotation_do_not_count():
    rotated = NEUTRAL.astype(float) @ [[0.6, 0.8], [-0.8, 0.6]] * 7 + [100, -40]
    np.testing.assert_allclose(geometric.values(rotated), geometric.values(NEUTRAL), atol=1e-5)


def test_points_moved_by_hand():
    """Eyes 2 apart (to 0.4 %): a lower lip 0.12 lower is a gap 0.06 wider; 0.3 are intensity 5."""
    face = np.array(geometric.frontal(NEUTRAL)) * 2
    opened = face.copy()
    opened[[65, 66, 67], 1] += 0.12
    change = geometric.values(opened) - geometric.values(face)
    np.testing.assert_allclose(of(change, 25), 0.06, rtol=0.01)
    np.testing.assert_allclose(of(geometric.intensities(opened, face), 25), 1.0, rtol=0.01)
    wider = face.copy()
    wider[54, 0] += 0.2  # AU12 counts the whole width, of 0.5 that are intensity 5
    np.testing.assert_allclose(of(geometric.intensities(wider, face), 12), 1.0, rtol=0.01)
    raised = face.copy()
    raised[[21, 22], 1] -= 0.16  # AU1: 0.08 of 0.2
    np.testing.assert_allclose(of(geometric.intensities(raised, face), 1), 2.0, rtol=0.01)


def test_many_faces_are_told_as_one_by_one_and_unknown_ones_stay_unknown():
    faces = toydata.PHOTO_LANDMARKS + np.random.default_rng(0).normal(0, 3, (4, 68, 2))
    faces[2, 5] = np.nan
    found = geometric.intensities(faces.reshape(2, 2, 68, 2)).reshape(4, -1)
    assert found.dtype == np.float32 and found.shape == (4, len(geometric.AUS))
    assert np.isnan(found).all(1).tolist() == [False, False, True, False]
    for i in (0, 1, 3):
        np.testing.assert_allclose(found[i], geometric.intensities(faces[i]), atol=1e-5)
        assert found[i].min() >= 0 and found[i].max() <= 5
    assert np.isnan(geometric.intensities(np.zeros((68, 2)))).all()


def test_the_own_neutral_is_the_median_of_several_and_must_be_known():
    away = NEUTRAL + np.float32([0, 0])
    away[48, 0] -= 30
    one, several = NEUTRAL, np.stack([NEUTRAL, away, NEUTRAL])
    np.testing.assert_array_equal(
        geometric.intensities(drawn({12: 3}), one), geometric.intensities(drawn({12: 3}), several)
    )
    with pytest.raises(ValueError, match="neutral: all 68 points"):
        geometric.intensities(NEUTRAL, np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match=r"landmarks: got shape \(5, 2\)"):
        geometric.intensities(np.zeros((5, 2)))


def test_the_csv_is_read_like_openface_s(tmp_path):
    faces = np.stack([drawn({12: 5, 25: 4}), NEUTRAL * np.nan])
    path = tmp_path / "aus.csv"
    found = geometric.intensities(faces, NEUTRAL)
    assert au_files.write(path, ["a/smile.jpg", "b.jpg"], geometric.AUS, found, [0.9, 0.9]) == 1
    table = tables.Table("aus.csv", path.read_text())
    units = tables.action_units(table, confidence=0.5)
    assert units.aus == geometric.AUS
    assert units.known.all(1).tolist() == [True, False]
    np.testing.assert_allclose(units.values[0], geometric.intensities(faces[0], NEUTRAL), atol=6e-4)
    presence = tables.action_units(table, prefer="presence").values[0]
    np.testing.assert_array_equal(presence, units.values[0] >= 1)


def test_landmark_files_become_aus_against_the_person_s_own_neutral(tmp_path):
    names = np.array(["n.jpg", "smile.jpg"])
    np.savez(tmp_path / "points.npz", files=names, points=np.stack([NEUTRAL, drawn({12: 4})]))
    out = tmp_path / "aus.csv"
    assert geometric.from_files(tmp_path / "points.npz", out, ["n.jpg"]) == (2, 0)
    units = tables.action_units(tables.Table("aus.csv", out.read_text()))
    assert units.values[0].max() < 1e-3 and 3 < of(units.values[1], 12) < 5
    with pytest.raises(ValueError, match=r"neutral: 'm.jpg' is not known; .*'n.jpg'\?"):
        geometric.from_files(tmp_path / "points.npz", out, ["m.jpg"])
    np.savez(tmp_path / "shares.npz", files=names[:1], points=NEUTRAL[None] / 64)
    with pytest.raises(ValueError, match="fractions of an image"):
        geometric.from_files(tmp_path / "shares.npz", out)
