"""The synthetic faces: records, landmarks, action units, dialects, occlusion, clips."""

import subprocess
import sys
import warnings
from collections import Counter

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aufer_jax import synth

# The thirteen units on which datasets are compared, written out: not taken from the package.
COMPARED = [synth.AUS.index(a) for a in (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 20, 25, 26)]
SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
ORDERS = {
    "synth_a": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "synth_b": (
        *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    ),
    "synth_c": SEVEN,
}


def decode(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[..., ::-1]


def scenes(dialect: str, split: str, count: int) -> list[synth.Scene]:
    return [synth.image_scene(dialect, split, i) for i in range(count)]


# --- Records ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", synth.DIALECTS)
def test_record_schema(dialect):
    record = synth.image_record(dialect, "test", 3, size=56)
    assert decode(record["image"]).shape == (56, 56, 3)
    assert (record["au"].dtype, record["au"].shape) == (np.float32, (24,))
    assert (record["au_known"].dtype, record["au_known"].shape) == (bool, (24,))
    assert (record["landmarks"].dtype, record["landmarks"].shape) == (np.float32, (68, 2))
    assert (record["visible"].dtype, record["visible"].shape) == (bool, (68,))
    assert (record["box"].dtype, record["box"].shape) == (np.float32, (4,))
    assert np.all((record["au"] >= 0) & (record["au"] <= 5))
    assert not record["au"][~record["au_known"]].any()
    assert record["au_known"][COMPARED].all()
    assert set(record) == {
        *("image", "expression", "au", "au_known", "landmarks", "visible", "box"),
        *("subject", "key", "occlusion", "true_expression"),
    }


def test_records_depend_on_their_arguments_alone():
    first = synth.image_record("synth_c", "train", 11, size=48)
    synth.image_record("synth_c", "train", 12, size=48)
    again = synth.image_record("synth_c", "train", 11, size=48)
    assert first["image"] == again["image"]
    np.testing.assert_array_equal(first["landmarks"], again["landmarks"])
    others = [
        synth.image_record("synth_c", "train", 12, size=48),
        synth.image_record("synth_c", "test", 11, size=48),
        synth.image_record("synth_c", "train", 11, size=48, seed=1),
        synth.image_record("synth_a", "train", 11, size=48),
    ]
    assert all(other["image"] != first["image"] for other in others)


@pytest.mark.parametrize(
    ("dialect", "label", "points", "brightness"),
    [
        ("synth_a", 1, [[53.54, 101.63], [35.89, 46.73], [69.58, 84.92]], 169.06),
        ("synth_c", 0, [[66.04, 93.69], [33.16, 53.00], [71.92, 72.68]], 82.83),
    ],
)
def test_what_is_drawn_belongs_to_this_version(dialect, label, points, brightness):
    """If this fails on purpose, raise synth.VERSION, so that prepared sets are drawn anew."""
    assert synth.VERSION == "1.0.0"
    record = synth.image_record(dialect, "train", 3)
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
    assert record["expression"] == label
    np.testing.assert_allclose(record["landmarks"][[8, 36, 54]], points, atol=0.01)
    np.testing.assert_allclose(image.mean(), brightness, atol=0.3)


def test_another_size_is_the_same_face():
    small = synth.image_record("synth_a", "test", 5, size=56)
    large = synth.image_record("synth_a", "test", 5, size=112)
    np.testing.assert_array_equal(small["au"], large["au"])
    # Pixel centres are integers: x of the large picture is 2 x + 0.5.
    np.testing.assert_allclose(large["landmarks"], 2 * small["landmarks"] + 0.5, atol=1e-3)


@pytest.mark.parametrize(("dialect", "order"), ORDERS.items())
def test_label_order(dialect, order):
    assert synth.DIALECTS[dialect].expressions == order


def test_wrong_names_are_errors_with_the_nearest_spelling():
    with pytest.raises(ValueError, match=r"synth_x.*synth_a.*Did you mean 'synth_"):
        synth.image_record("synth_x", "train", 0)
    with pytest.raises(ValueError, match=r"valid'.*Did you mean 'validation'"):
        synth.image_record("synth_a", "valid", 0)
    with pytest.raises(ValueError, match="negative"):
        synth.image_record("synth_a", "train", -1)
    with pytest.raises(ValueError, match=r"synth_clip'.*Did you mean 'synth_clips'"):
        synth.clip_record("synth_clip", "train", 0)
    with pytest.raises(ValueError, match="synth_q"):
        synth.split_sizes("synth_q")
    with pytest.raises(ValueError, match="au: 3 "):
        synth.render(synth.Identity(), {3: 1.0})
    with pytest.raises(ValueError, match=r"glove.*choose one of"):
        synth.render(synth.Identity(), {}, occlusion="glove")


def test_splits():
    assert synth.split_sizes("synth_a") == {
        "train": 6000, "validation": 700, "test": 1400, "occluded": 700,
    }  # fmt: skip
    people = {
        split: {scene.subject for scene in scenes("synth_a", split, 60)} for split in synth.SPLITS
    }
    faces = {split: {scene.who for scene in scenes("synth_a", split, 60)} for split in synth.SPLITS}
    for one in synth.SPLITS:
        assert len(faces[one]) == len(people[one]) > 20
        for other in synth.SPLITS:
            assert one == other or not people[one] & people[other]
            assert one == other or not faces[one] & faces[other]


def test_labels_are_noisy_in_train_only():
    for name, dialect in synth.DIALECTS.items():
        train = scenes(name, "train", 600)
        wrong = np.mean([s.label != s.expression for s in train])
        assert abs(wrong - dialect.label_noise) < 0.045
        for split in ("validation", "test", "occluded"):
            assert all(s.label == s.expression for s in scenes(name, split, 50))
    assert synth.image_record("synth_au", "train", 0, size=32)["expression"] == -1
    assert synth.image_record("synth_au", "train", 0, size=32)["true_expression"] >= 0


def test_class_shares_hold_in_any_run_of_records():
    dialect = synth.DIALECTS["synth_a"]
    for start in (0, 137):
        seen = Counter(
            synth.image_scene("synth_a", "train", i).expression for i in range(start, start + 100)
        )
        shares = [seen[e] / 100 for e in dialect.expressions]
        np.testing.assert_allclose(shares, dialect.shares, atol=0.03)
    balanced = Counter(s.expression for s in scenes("synth_c", "test", 140))
    assert min(balanced.values()) >= 17


def test_some_faces_are_turned():
    yaws = np.abs([s.camera.view.yaw for s in scenes("synth_c", "test", 300)])
    assert 0.08 < np.mean(yaws >= 28) < 0.4
    assert yaws.max() <= 50


def test_the_pose_split_has_turned_faces_of_its_own():
    turned = scenes("synth_c", "pose", 140)
    yaws = np.abs([s.camera.view.yaw for s in turned])
    assert yaws.min() >= 28 and yaws.max() <= 50
    assert all(s.label == s.expression for s in turned)
    assert min(Counter(s.expression for s in turned).values()) >= 17  # classes as those of test
    assert np.mean([s.occlusion != "none" for s in turned]) < 0.12
    others = {s.who for split in synth.SPLITS for s in scenes("synth_c", split, 60)}
    assert not {s.who for s in turned} & others
    assert synth.split_sizes("synth_c")["pose"] == 700
    with pytest.raises(ValueError, match="split: 'pose'"):
        synth.image_record("synth_a", "pose", 0)


# --- Landmarks ----------------------------------------------------------------------------------

PLAIN = synth.Camera(contrast=0.0, background="plain")
BALD = synth.Identity(hair_style="bald", iris=(20.0, 20.0, 20.0))


def test_landmarks_are_a_mirror_image():
    p = synth.render(BALD, {1: 3, 12: 4, 25: 3}, PLAIN).landmarks
    left = [0, 4, 17, 21, 31, 36, 39, 41, 48, 50, 60]
    right = [16, 12, 26, 22, 35, 45, 42, 46, 54, 52, 64]
    np.testing.assert_allclose(p[left, 0] + p[right, 0], 111, atol=1e-3)
    np.testing.assert_allclose(p[left, 1], p[right, 1], atol=1e-3)


def test_irises_lie_between_the_eye_landmarks():
    picture = synth.render(BALD, {5: 4}, PLAIN, size=224)
    grey = picture.image.mean(-1)
    for eye in (slice(36, 42), slice(42, 48)):
        corners = picture.landmarks[eye]
        x0, y0 = np.ceil(corners.min(0) + 4).astype(int)
        x1, y1 = np.floor(corners.max(0) - 4).astype(int)
        dark = np.argwhere(grey[y0:y1, x0:x1] < 60) + (y0, x0)
        assert len(dark) > 20
        assert abs(dark[:, 1].mean() - corners[:, 0].mean()) < 1.5


def test_jaw_landmarks_lie_on_the_edge_of_the_skin():
    camera = synth.Camera(contrast=0.0, background="plain", view=synth.View(yaw=20))
    picture = synth.render(BALD, {}, camera, size=224, seed=4)
    image = picture.image.astype(float)
    for i in (3, 4, 12, 13, 14):
        x, y = picture.landmarks[i].round().astype(int)
        out = -1 if i < 8 else 1
        row = image[y]
        steps = range(-6, 7)  # from inside the face to outside
        unlike = [np.abs(row[x + out * d] - row[2 if i < 8 else -3]).max() > 12 for d in steps]
        assert unlike[0] and not unlike[-1]
        assert abs(sum(unlike) - 6.5) <= 1


def test_roll_turns_the_landmarks():
    flat = synth.render(BALD, {}, synth.Camera(view=synth.View())).landmarks
    rolled = synth.render(BALD, {}, synth.Camera(view=synth.View(roll=20))).landmarks
    u, v = flat[45] - flat[36], rolled[45] - rolled[36]
    angle = np.degrees(np.arctan2(v[1], v[0]) - np.arctan2(u[1], u[0]))
    assert abs(angle - 20) < 1e-3
    np.testing.assert_allclose(np.linalg.norm(v), np.linalg.norm(u), rtol=1e-5)


def test_yaw_turns_the_nose():
    def nose(yaw):
        p = synth.render(BALD, {}, synth.Camera(view=synth.View(yaw=yaw))).landmarks
        return (p[30, 0] - p[36, 0]) / (p[45, 0] - p[36, 0])

    assert nose(-30) < 0.35 < 0.49 < nose(0) < 0.51 < 0.65 < nose(30)


# --- Action units -------------------------------------------------------------------------------

# (unit, other units that must be there, landmark pair or point, axis, sign): what it must move.
MOVES = [
    (1, {}, (21, 22), 1, -1), (2, {}, (18, 25), 1, -1), (4, {}, (20, 23), 1, 1),
    (5, {}, (37, 44), 1, -1), (6, {}, (41, 46), 1, -1), (7, {}, (41, 46), 1, -1),
    (9, {}, (31, 35), 1, -1), (10, {}, (50, 52), 1, -1), (12, {}, (48, 54), 1, -1),
    (14, {}, (48, 54), 0, 1), (15, {}, (48, 54), 1, 1), (16, {25: 2}, (57,), 1, 1),
    (17, {}, (57,), 1, -1), (18, {}, (48, 54), 0, -1), (20, {}, (48, 54), 0, 1),
    (22, {}, (48, 54), 0, -1), (23, {}, (51,), 1, 1), (24, {}, (57,), 1, -1),
    (25, {}, (66,), 1, 1), (26, {25: 2}, (8,), 1, 1), (27, {25: 2}, (8,), 1, 1),
    (28, {}, (57,), 1, -1), (43, {}, (37, 44), 1, 1), (45, {}, (38, 43), 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("au", "others", "points", "axis", "sign"), MOVES, ids=lambda v: str(v))
def test_each_unit_moves_its_landmarks_and_shows_there(au, others, points, axis, sign):
    rest = synth.render(BALD, others, PLAIN)
    full = synth.render(BALD, {**others, au: 5}, PLAIN)
    half = synth.render(BALD, {**others, au: 2.5}, PLAIN)
    for point in points:
        # Along x, positive is away from the midline.
        out = np.sign(rest.landmarks[point, 0] - 55.5) if axis == 0 else 1
        moved = (full.landmarks - rest.landmarks)[point, axis] * sign * out
        partly = (half.landmarks - rest.landmarks)[point, axis] * sign * out
        assert moved > 0.4
        assert 0.05 < partly < moved
    change = np.abs(full.image.astype(float) - rest.image).mean(-1)
    where = np.mean([rest.landmarks[p] for p in points], axis=0)
    y = round(float(where[1]))
    band = change[max(y - 14, 0) : y + 14, 20:92].mean()
    assert band > 1.0
    assert band > 4 * change[:6].mean()


def test_the_units_are_exactly_those_tested():
    assert tuple(m[0] for m in MOVES) == synth.AUS


def test_closed_lips_and_eyes_close():
    p = synth.render(BALD, {12: 5, 10: 3}, PLAIN).landmarks
    assert np.all(p[[67, 66, 65], 1] - p[[61, 62, 63], 1] < 0.5)
    p = synth.render(BALD, {43: 5, 5: 5}, PLAIN).landmarks
    assert np.abs(p[[41, 40, 47, 46], 1] - p[[37, 38, 43, 44], 1]).max() < 0.1


def test_balance_weakens_one_side():
    balance = np.zeros(24)
    balance[synth.AUS.index(12)] = 1.0
    rest = synth.render(BALD, {}, PLAIN).landmarks
    smirk = synth.render(BALD, {12: 5}, PLAIN, balance=balance).landmarks
    assert rest[48, 1] - smirk[48, 1] > 3
    assert abs(rest[54, 1] - smirk[54, 1]) < 0.1


def test_skin_is_red_not_blue():
    record = next(
        r for r in (synth.image_record("synth_a", "test", i) for i in range(9))
        if r["occlusion"] == "none"
    )  # fmt: skip
    x, y = record["landmarks"][30].round().astype(int)
    red, _, blue = decode(record["image"])[y - 4 : y + 1, x - 2 : x + 3].mean((0, 1))
    assert red > blue + 10


# --- Occlusion ----------------------------------------------------------------------------------

MOUTH, EYES = slice(48, 68), [37, 38, 40, 41, 43, 44, 46, 47]


def test_occluders_hide_what_they_cover():
    free = synth.render(BALD, {}, PLAIN)
    assert free.visible.all()
    mask = synth.render(BALD, {}, PLAIN, occlusion="mask")
    assert not mask.visible[MOUTH].any() and mask.visible[17:27].all()
    dark = synth.render(BALD, {}, PLAIN, occlusion="sunglasses")
    assert not dark.visible[EYES].any() and dark.visible[MOUTH].all()
    for kind in ("hand", "hair"):
        seen = synth.render(BALD, {}, PLAIN, occlusion=kind, seed=2).visible
        assert 3 <= (~seen).sum() <= 45
    np.testing.assert_array_equal(free.landmarks, mask.landmarks)


def test_every_face_of_the_occluded_split_is_occluded():
    records = [synth.image_record("synth_c", "occluded", i, size=56) for i in range(40)]
    assert {r["occlusion"] for r in records} == {"mask", "hand", "hair", "sunglasses", "crop"}
    hidden = [(~r["visible"]).sum() for r in records]
    assert np.mean(np.array(hidden) >= 3) > 0.9
    for r in records:
        outside = ((r["landmarks"] < -0.5) | (r["landmarks"] > 55.5)).any(1)
        assert not r["visible"][outside].any()
    assert np.mean([s.occlusion != "none" for s in scenes("synth_c", "test", 200)]) < 0.1


# --- Expressions and dialects -------------------------------------------------------------------


def profile(dialect: str) -> dict[str, np.ndarray]:
    """Mean intensities of the thirteen compared units for each expression."""
    found: dict[str, list[np.ndarray]] = {e: [] for e in SEVEN}
    for scene in scenes(dialect, "train", 400):
        if scene.expression in found:
            found[scene.expression].append(scene.au[COMPARED])
    return {e: np.mean(v, axis=0) for e, v in found.items()}


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_dialects_are_biased_as_real_datasets_are():
    names = ["synth_a", "synth_b", "synth_c", "synth_d", "synth_au"]
    profiles = {d: profile(d) for d in names}
    distance = {
        (a, b): {e: cosine_distance(profiles[a][e], profiles[b][e]) for e in SEVEN}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    overall = {pair: np.mean(list(d.values())) for pair, d in distance.items()}
    for pair in (("synth_a", "synth_b"), ("synth_a", "synth_c"), ("synth_b", "synth_c")):
        assert 0.03 < overall[pair] < 0.3
    assert overall["synth_a", "synth_d"] > 0.5 and overall["synth_c", "synth_d"] > 0.5
    average = {e: np.mean([d[e] for d in distance.values()]) for e in SEVEN}
    assert min(average, key=average.__getitem__) == "happiness"
    assert max(average, key=average.__getitem__) == "fear"
    assert average["happiness"] < 0.2 and average["fear"] > 0.3


def test_the_ladder_goes_from_the_habit_of_synth_a_to_that_of_synth_d():
    assert list(synth.LADDER) == [f"synth_mix{n}" for n in (0, 25, 50, 75, 100)]
    model, home = synth.DIALECTS["synth_a"], profile("synth_a")
    far, people = [], {scene.who for scene in scenes("synth_a", "train", 60)}
    for name, share in synth.LADDER.items():
        made, found = synth.DIALECTS[name], profile(name)
        assert (made.shares, made.camera, made.label_noise) == (
            model.shares, model.camera, model.label_noise,
        )  # fmt: skip
        assert not people & {scene.who for scene in scenes(name, "train", 60)}
        far.append(np.mean([cosine_distance(home[e], found[e]) for e in SEVEN]))
        # Surprise with the outer brow up, always or never: in 1 - share of the faces.
        surprised = [s for s in scenes(name, "train", 600) if s.expression == "surprise"]
        brows = np.mean([s.au[synth.AUS.index(2)] > 1.5 for s in surprised])
        assert abs(brows - 0.85 * (1 - share)) < 0.15
    assert np.all(np.diff(far) > 0.01)
    assert far[0] < 0.05 and far[-1] > 0.4


def test_teachers_out_of_the_studio_are_occluded_and_turned():
    studio, wild = (scenes(name, "train", 300) for name in ("synth_au", "synth_au_wild"))
    for found, hidden, turned in ((studio, 0.04, 0.0), (wild, 0.3, 0.18)):
        assert abs(np.mean([s.occlusion != "none" for s in found]) - hidden) < 0.06
        yaws = np.abs([s.camera.view.yaw for s in found])
        assert abs(np.mean(yaws >= 25) - turned) < 0.12
    assert synth.DIALECTS["synth_au_wild"].habit is synth.DIALECTS["synth_au"].habit


def test_units_tell_expressions_and_coarse_pixels_do_not():
    train, test = scenes("synth_a", "train", 1200), scenes("synth_a", "test", 400)
    model = LogisticRegression(max_iter=500)
    model.fit([s.au for s in train], [s.expression for s in train])
    by_units = model.score([s.au for s in test], [s.expression for s in test])
    assert by_units > 0.9

    def pixels(split, count):
        pictures = [synth.render_scene(s, 32).image for s in scenes("synth_a", split, count)]
        return [p.mean(-1).ravel() / 255 for p in pictures]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence in so few steps
        model = LogisticRegression(max_iter=30, C=0.01)
        model.fit(pixels("train", 400), [s.expression for s in train[:400]])
    assert model.score(pixels("test", 200), [s.expression for s in test[:200]]) < by_units - 0.25


# --- Clips --------------------------------------------------------------------------------------


def test_clip_record():
    clips = synth.CLIP_SETS["synth_clips"]
    assert clips.expressions == (
        "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear",
    )  # fmt: skip
    assert clips.shares == (0.209, 0.162, 0.228, 0.186, 0.126, 0.012, 0.077)
    records = [synth.clip_record("synth_clips", "test", i, size=32) for i in range(6)]
    lengths = {len(r["frames"]) for r in records}
    assert len(lengths) > 2 and min(lengths) >= 16 and max(lengths) <= 40
    for r in records:
        frames = len(r["frames"])
        assert decode(r["frames"][0]).shape == (32, 32, 3)
        assert r["au"].shape == (frames, 24) and r["au"].dtype == np.float32
        assert r["landmarks"].shape == (frames, 68, 2) and r["landmarks"].dtype == np.float32
        assert r["au_known"].shape == (24,)
        steps = np.linalg.norm(np.diff(r["landmarks"][:, [27, 36, 45]], axis=0), axis=-1)
        assert steps.max() < 0.05 * 32  # the head moves smoothly
    again = synth.clip_record("synth_clips", "test", 2, size=32)
    assert again["frames"] == records[2]["frames"]


def test_clips_rise_and_fall():
    order = synth.CLIP_SETS["synth_clips"].expressions
    smile, still = [], []
    for i in range(24):
        clip = synth.clip_record("synth_clips", "test", i, size=16)
        if order[clip["expression"]] == "happiness":
            smile.append(clip["au"][:, synth.AUS.index(12)])
        if order[clip["expression"]] == "neutral":
            still.append(clip["au"][:, synth.AUS.index(12)])
    assert len(smile) >= 3 and len(still) >= 3
    assert np.mean([s.max() for s in smile]) > 2
    assert np.mean([min(s[0], s[-1]) for s in smile]) < 0.5 * np.mean([s.max() for s in smile])
    assert np.median([np.median(s) for s in still]) < 0.5


# --- Contact sheets -----------------------------------------------------------------------------


def test_contact_sheet_lays_out_rows():
    red, blue = (np.full((10, 8, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    sheet = synth.contact_sheet([[red, blue], [blue]], gap=2)
    assert sheet.shape == (22, 18, 3)
    np.testing.assert_array_equal(sheet[:10, :8], red)
    np.testing.assert_array_equal(sheet[:10, 10:], blue)
    np.testing.assert_array_equal(sheet[12:, :8], blue)
    assert (sheet[12:, 10:] == 255).all()


def test_module_writes_the_sheet(tmp_path):
    path = tmp_path / "sheet.png"
    subprocess.run([sys.executable, "-m", "aufer_jax.synth", str(path)], check=True)
    written = decode(path.read_bytes())
    np.testing.assert_array_equal(written, synth.expression_sheet())
    assert path.stat().st_size < 400_000
    usage = subprocess.run([sys.executable, "-m", "aufer_jax.synth"], capture_output=True)
    assert usage.returncode == 1 and b"usage" in usage.stderr
