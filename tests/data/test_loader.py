import dataclasses
import os
import signal

import numpy as np
import psutil
import pytest
import toydata

from aufer_jax import facs
from aufer_jax.data import heatmaps, loader, mixture, records, sampling, views
from aufer_jax.data.views import Augment, Erase, Spec
from aufer_jax.geometry import landmarks

ALL_VIEWS = ("original", "erased", "heatmap")
SPEC = Spec(
    size=24,
    aus=(2, 1, 25, 17),
    views=ALL_VIEWS,
    heatmap=heatmaps.HeatmapSpec(size=6),
    augment=Augment(shift=2, brightness=0.2, noise=0.5),
    align="5pt",
)


def take(count, spec=SPEC, data=None, **options):
    options = {"batch_size": 8, "seed": 3, "threads": 0} | options
    stream = loader.train_batches(toydata.images() if data is None else data, spec, **options)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# --- The stream ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream():
    return take(6)


@pytest.mark.parametrize("options", [{"threads": 2}, {"workers": 1}, {"workers": 2}])
def test_threads_and_workers_change_nothing(stream, options):
    same(take(6, **options), stream)


@pytest.mark.skipif(os.name != "posix", reason="signals of a terminal")
def test_workers_outlive_the_signals_that_stop_a_run(stream):
    others = set(psutil.Process().children(recursive=True))
    options = {"batch_size": 8, "seed": 3, "threads": 0, "workers": 1, "prefetch": 1}
    data = loader.train_batches(toydata.images(), SPEC, **options)
    same([next(data)], stream[:1])
    for number in (signal.SIGINT, signal.SIGTERM):
        for worker in set(psutil.Process().children(recursive=True)) - others:
            worker.send_signal(number)
    same([next(data) for _ in range(5)], stream[1:])
    data.close()


def test_processes_share_the_rows_of_each_batch(stream):
    shares = [take(6, process_index=p, process_count=4) for p in range(4)]
    joined = [
        {k: np.concatenate([s[k] for s in step]) for k in step[0]}
        for step in zip(*shares, strict=True)
    ]
    same(joined, stream)


def test_a_run_goes_on_at_any_step(stream):
    same(take(2, start=4), stream[4:])
    same(take(2, start=4, workers=1), stream[4:])


def test_every_epoch_shows_every_record_once_in_a_new_order():
    ids = np.concatenate([b["id"] for b in take(10, batch_size=4)]).reshape(2, 20)
    everyone = {records.key_id(f"face{i}") for i in range(20)}
    assert set(ids[0]) == set(ids[1]) == everyone
    assert ids[0].tolist() != ids[1].tolist()


def test_a_record_looks_different_every_time():
    first, second = (np.concatenate([b["image"] for b in take(5, batch_size=4)]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    batches = take(10, batch_size=4)
    looks = {}
    for batch in batches:
        for key, image in zip(batch["id"], batch["image"], strict=True):
            looks.setdefault(int(key), []).append(image)
    assert all((a != b).any() for a, b in looks.values())


def test_the_seed_changes_order_and_views(stream):
    other = take(1, seed=4)[0]
    assert (other["id"] != stream[0]["id"]).any()


def test_neighbouring_seeds_share_no_epoch():
    orders = [
        tuple(np.concatenate([b["id"] for b in take(10, batch_size=4, seed=s)])) for s in range(3)
    ]
    epochs = {order[e * 20 : e * 20 + 20] for order in orders for e in range(2)}
    assert len(epochs) == 6


# --- Landmarks that are off ---------------------------------------------------------------------

NOISY = dataclasses.replace(SPEC, heatmap=dataclasses.replace(SPEC.heatmap, noise=0.1))


def test_noise_of_the_landmarks_moves_the_heatmap_alone(stream):
    for plain, off in zip(stream, take(6, NOISY), strict=True):
        assert (plain["heatmap"] != off["heatmap"]).any((1, 2, 3)).all()
        rest = [{k: v for k, v in b.items() if k != "heatmap"} for b in (plain, off)]
        same(rest[:1], rest[1:])


def test_a_record_is_off_in_the_same_way_whoever_reads_it_and_whenever():
    stream = take(4, NOISY)
    same(take(4, NOISY, threads=2), stream)
    same(take(2, NOISY, start=2), stream[2:])
    still = dataclasses.replace(NOISY, augment=Augment(flip=0))
    heat = {}
    for seed, size in ((3, 8), (4, 4)):
        for batch in take(5, still, seed=seed, batch_size=size):
            for key, drawn in zip(batch["id"], batch["heatmap"], strict=True):
                np.testing.assert_array_equal(heat.setdefault(int(key), drawn), drawn)
    (whole,) = evaluate(toydata.images(), NOISY, batch_size=20)
    assert len(heat) == 20  # of records that differ
    for key, drawn in zip(whole["id"], whole["heatmap"], strict=True):
        np.testing.assert_array_equal(heat[int(key)], drawn)


def test_each_record_is_off_in_a_way_of_its_own():
    alike = toydata.images(4, landmarks=toydata.FACE_LANDMARKS)
    for spec, kinds in ((SPEC, 1), (NOISY, 4)):
        (batch,) = evaluate(alike, spec, batch_size=4)
        assert len({drawn.tobytes() for drawn in batch["heatmap"]}) == kinds


def test_a_mirrored_face_errs_as_its_mirror_does():
    spec = dataclasses.replace(NOISY, size=112, augment=Augment(flip=1))
    source = toydata.images(4)
    (batch,) = take(1, spec, source, batch_size=4)
    (plain,) = take(1, dataclasses.replace(spec, augment=Augment(flip=0)), source, batch_size=4)
    np.testing.assert_allclose(batch["heatmap"][:, :, ::-1], plain["heatmap"], atol=1e-5)


# --- The rows -----------------------------------------------------------------------------------


def test_shapes_and_types(stream):
    found = {name: (array.dtype.name, array.shape) for name, array in stream[0].items()}
    assert found == {
        "image": ("uint8", (8, 24, 24, 3)),
        "image_erased": ("uint8", (8, 24, 24, 3)),
        "erased_box": ("int32", (8, 4)),
        "heatmap": ("float32", (8, 6, 6, 1)),
        "expression": ("int32", (8,)),
        "au": ("float32", (8, 4)),
        "au_known": ("bool", (8, 4)),
        "landmarks": ("float32", (8, 68, 2)),
        "landmarks_valid": ("bool", (8,)),
        "blendshapes": ("float32", (8, 52)),
        "mesh_features": ("float32", (8, 512)),
        "mask": ("bool", (8,)),
        "id": ("int64", (8,)),
    }


def evaluate(data, spec=SPEC, **options):
    options = {"batch_size": 8, "threads": 0} | options
    return list(loader.eval_batches(data, spec, **options))


def test_labels_follow_the_records():
    source = toydata.images(8)
    spec = dataclasses.replace(SPEC, au_threshold=2.0)
    (batch,) = evaluate(source, spec)
    places = [1, 0, 5]  # of AUs 2, 1 and 25 in the dataset; it has no AU17
    for i, record in enumerate(source.records):
        known = record["au_known"][places]
        assert batch["expression"][i] == record["expression"]
        assert batch["au_known"][i].tolist() == [*known, False]
        assert batch["au"][i].tolist() == [*((record["au"][places] >= 2) & known), 0]
        assert batch["id"][i] == records.key_id(record["key"])


def test_expressions_can_be_put_into_another_order():
    spec = dataclasses.replace(SPEC, expressions=("anger", "neutral"))
    (batch,) = evaluate(toydata.images(3), spec, batch_size=3)
    assert batch["expression"].tolist() == [1, -1, 0]  # neutral, happiness, anger


def test_heatmap_and_landmarks_belong_to_the_image(stream):
    for batch in stream:
        expected, _ = heatmaps.draw(batch["landmarks"], SPEC.heatmap, SPEC.size)
        np.testing.assert_array_equal(batch["heatmap"], expected)
        assert batch["landmarks_valid"].all()
    # A dot painted on a landmark is found where the batch says that landmark is.
    image = np.zeros((112, 112, 3), np.uint8)
    x, y = np.rint(toydata.FACE_LANDMARKS[30]).astype(int)
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    landmarks = toydata.FACE_LANDMARKS.copy()
    landmarks[30] = x, y
    source = toydata.images(4, image=toydata.encode(image), landmarks=landmarks)
    spec = Spec(size=56, augment=Augment(shift=5, rotate=10), align="5pt")
    (batch,) = take(1, spec, source, batch_size=4)
    for picture, points in zip(
        batch["image"][..., 0].astype(float), batch["landmarks"], strict=True
    ):
        row, column = (np.indices(picture.shape) * picture).sum((1, 2)) / picture.sum()
        np.testing.assert_allclose([column, row], points[30], atol=0.3)


def test_mirrored_rows_swap_the_sides_of_their_landmarks():
    source = toydata.images(4)
    spec = Spec(size=112, augment=Augment(flip=1))
    (batch,) = take(1, spec, source, batch_size=4)
    faces = {records.key_id(r["key"]): r["landmarks"] for r in source.records}
    for key, points in zip(batch["id"], batch["landmarks"], strict=True):
        np.testing.assert_allclose(points, landmarks.flip(faces[int(key)], 112), atol=1e-4)


def test_mesh_features_are_kept_where_a_record_has_them():
    known = np.arange(512, dtype=np.float32)
    source = toydata.images(3, mesh_features=known)
    source.records[1]["mesh_features"] = known[:0]
    del source.records[2]["mesh_features"]  # as records had it before
    (batch,) = take(1, Spec(size=32, augment=Augment(flip=1)), source, batch_size=3)
    whole = np.isfinite(batch["mesh_features"]).all(1)
    assert whole.sum() == 1 and np.isnan(batch["mesh_features"][~whole]).all()
    np.testing.assert_array_equal(batch["mesh_features"][whole][0], known)


def test_mirrored_rows_swap_the_sides_of_their_blendshapes():
    names = list(facs.BLENDSHAPES)
    shapes = np.arange(len(names), dtype=np.float32)
    source = toydata.images(2, blendshapes=shapes)
    del source.records[1]["blendshapes"]  # as records had it before
    spec = Spec(size=32, augment=Augment(flip=1))
    (batch,) = take(1, spec, source, batch_size=2)
    (told,) = batch["blendshapes"][np.isfinite(batch["blendshapes"]).all(1)]
    assert told[names.index("mouthSmileLeft")] == names.index("mouthSmileRight")
    assert told[names.index("jawOpen")] == names.index("jawOpen")
    assert np.isnan(batch["blendshapes"]).all(1).sum() == 1


def test_intensities_teach_in_training_and_presence_is_evaluated():
    source = toydata.images(4, au=[0, 1, 2.5, 5, 7, 3], au_known=[1, 1, 1, 1, 1, 0])
    spec = Spec(size=32, aus=toydata.AUS, au_labels="intensity")
    (batch,) = take(1, spec, source, batch_size=4)
    np.testing.assert_allclose(batch["au"], [[0, 0.2, 0.5, 1, 1, 0]] * 4)
    batch = next(
        iter(loader.eval_batches(source, dataclasses.replace(spec, train=False), batch_size=4))
    )
    np.testing.assert_array_equal(batch["au"], [[0, 1, 1, 1, 1, 0]] * 4)
    with pytest.raises(ValueError, match="au_labels"):
        Spec(au_labels="presense")


def test_the_erased_box_is_where_it_says(stream):
    image, box = stream[0]["image_erased"][0], stream[0]["erased_box"][0]
    top, left, height, width = box
    assert height and width
    assert (image[top : top + height, left : left + width] == views.FILL).all()


def test_a_view_mirrored_twice_is_the_original():
    spec = Spec(size=112, views=ALL_VIEWS, augment=Augment(flip=1), erase=Erase(p=0))
    source = toydata.images(4)
    (batch,) = take(1, spec, source, batch_size=4)
    (plain,) = take(1, dataclasses.replace(spec, augment=Augment(flip=0)), source, batch_size=4)
    assert (batch["image"] != plain["image"]).any()
    np.testing.assert_array_equal(batch["image_erased"], plain["image"])
    np.testing.assert_array_equal(batch["image"], plain["image_erased"])
    np.testing.assert_allclose(batch["heatmap"][:, :, ::-1], plain["heatmap"], atol=1e-5)
    back = landmarks.flip(batch["landmarks"], 112)
    np.testing.assert_allclose(back, plain["landmarks"], atol=1e-4)


def test_plain_erasing_is_seen_in_every_view_and_frame():
    augment, erase = Augment(flip=0, erase=1), Erase(p=0)
    source = toydata.images(4)
    spec = Spec(size=112, views=("original", "erased"), augment=augment, erase=erase)
    (batch,) = take(1, spec, source, batch_size=4)
    (plain,) = take(1, dataclasses.replace(spec, augment=Augment(flip=0)), source, batch_size=4)
    changed = (batch["image"] != plain["image"]).any(-1)
    assert (batch["image"][changed] == views.FILL).all() and changed.any((1, 2)).all()
    assert (changed.mean((1, 2)) > 0.01).all() and (changed.mean((1, 2)) < 0.26).all()
    np.testing.assert_array_equal(batch["image_erased"], batch["image"][:, :, ::-1])
    clip = Spec(size=32, clip=sampling.Sampling(4), augment=augment, erase=erase)
    (batch,) = take(1, clip, toydata.clip_source(4), batch_size=4)
    filled = (batch["clip"] == views.FILL).all(-1)
    assert filled.any((2, 3)).all()
    np.testing.assert_array_equal(filled, np.broadcast_to(filled[:, :1], filled.shape))


def test_evaluation_is_plain():
    (batch,) = evaluate(toydata.images(2), Spec(size=112, views=ALL_VIEWS), batch_size=2)
    np.testing.assert_array_equal(batch["image"][1], toydata.picture(1)[..., ::-1])
    np.testing.assert_array_equal(batch["image_erased"], batch["image"][:, :, ::-1])


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_covers_all_records_once_and_pads_with_valid_rows(workers):
    source = toydata.images(11)
    shares = [
        evaluate(source, batch_size=4, process_index=p, process_count=2, workers=workers)
        for p in range(2)
    ]
    assert [len(share) for share in shares] == [3, 3]
    rows = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*shares, strict=True)]
    ids = np.concatenate([b["id"] for b in rows])
    mask = np.concatenate([b["mask"] for b in rows])
    assert mask.tolist() == [True] * 11 + [False]
    assert ids.tolist() == [records.key_id(f"face{min(i, 10)}") for i in range(12)]
    np.testing.assert_array_equal(rows[-1]["image"][3], rows[-1]["image"][2])


def test_no_records_make_no_batches():
    assert evaluate(toydata.images(0)) == []


# --- Clips --------------------------------------------------------------------------------------


def test_clips():
    spec = Spec(size=16, aus=toydata.AUS, clip=sampling.Sampling(4), augment=Augment(flip=1))
    source = toydata.clip_source(2)
    (batch,) = evaluate(source, spec, batch_size=2)
    assert batch["clip"].shape == (2, 4, 16, 16, 3) and batch["landmarks"].shape == (2, 4, 68, 2)
    record = source[1]
    frames = sampling.sample(6, spec.clip, None)
    for t, frame in enumerate(frames):
        out = np.empty((16, 16, 3), np.uint8)
        views.render(record["frames"][frame], None, views.UNCHANGED, out)
        np.testing.assert_array_equal(batch["clip"][1, t], out)
    present = (record["au"] >= 1).sum(0) * 2 >= 6
    np.testing.assert_array_equal(batch["au"][1], present)
    (trained,) = take(1, dataclasses.replace(spec, train=True), source, batch_size=2)
    assert trained["clip"].shape == (2, 4, 16, 16, 3)


# --- Bad records --------------------------------------------------------------------------------


def test_a_broken_image_is_masked_and_reported():
    source = toydata.images(4)
    source.records[2]["image"] = b"broken"
    data = loader.eval_batches(source, SPEC, batch_size=4, threads=0)
    batch = next(data)
    assert batch["mask"].tolist() == [True, True, False, True]
    assert batch["expression"][2] == -1 and not batch["au_known"][2].any()
    assert not batch["landmarks_valid"][2] and not batch["heatmap"][2].any()
    assert np.unique(batch["image"][2]).size == np.unique(batch["image_erased"][2]).size == 1
    assert data.report.problems == {"broken image": {"face2"}}
    assert data.report.counts() == {"broken image": 1}


def test_problems_are_reported_from_workers_too():
    source = toydata.images(4, image=b"")
    data = loader.eval_batches(source, SPEC, batch_size=2, workers=1)
    assert not any(batch["mask"].any() for batch in data)
    assert data.report.counts() == {"broken image": 4}


def test_faces_without_landmarks_are_resized_and_reported():
    source = toydata.images(2)
    source.records[1]["landmarks"][40] = np.nan
    data = loader.eval_batches(source, SPEC, batch_size=2, threads=0)
    batch = next(data)
    assert batch["mask"].all() and batch["landmarks_valid"].tolist() == [True, False]
    plain = dataclasses.replace(SPEC, align=None, views=("original",))
    np.testing.assert_array_equal(batch["image"][1], evaluate(source, plain)[0]["image"][1])
    assert data.report.counts() == {"no landmarks": 1}


def test_five_landmarks_are_enough():
    source = toydata.images(2)
    source.records[1]["landmarks"] = landmarks.from_five(
        landmarks.five_points(source.records[1]["landmarks"])
    )
    data = loader.eval_batches(source, SPEC, batch_size=2, threads=0)
    batch, whole = next(data), evaluate(toydata.images(2), batch_size=2)[0]
    assert batch["landmarks_valid"].all() and not data.report.counts()
    assert [known.tolist() for known in landmarks.known(batch["landmarks"])] == [
        [True, False],
        [True] * 2,
    ]
    np.testing.assert_array_equal(batch["image"], whole["image"])
    np.testing.assert_array_equal(batch["heatmap"][0], whole["heatmap"][0])
    assert batch["heatmap"][1].max() > 0.5 and (batch["heatmap"][1] != whole["heatmap"][1]).any()


def test_empty_and_broken_clips_are_masked_and_reported():
    points = np.tile(toydata.FACE_LANDMARKS, (6, 1, 1))
    good, broken = (toydata.clip_record(i, landmarks=points) for i in (0, 2))
    empty = toydata.clip_record(1, frames=0)
    broken["frames"] = [b"broken"] * 6
    source = records.MemorySource(toydata.info(kind="clip"), [good, empty, broken])
    spec = Spec(size=16, aus=toydata.AUS, clip=sampling.Sampling(6))
    data = loader.eval_batches(source, spec, batch_size=3, threads=0)
    batch = next(data)
    assert batch["mask"].tolist() == [True, False, False]
    assert batch["au_known"].any(1).tolist() == [True, False, False]
    assert batch["landmarks_valid"].all(1).tolist() == [True, False, False]
    assert np.isnan(batch["landmarks"][1:]).all() and np.unique(batch["clip"][1:]).size == 1
    assert data.report.problems == {"empty clip": {"clip1"}, "broken image": {"clip2"}}


# --- State --------------------------------------------------------------------------------------


def state(spec=SPEC, data=None, batch_size=8, seed=3):
    known = loader.describe(data or toydata.images(), spec, batch_size=batch_size)
    return loader.State(5, seed, known)


def test_a_state_goes_through_a_checkpoint():
    saved = state().to_dict()
    assert loader.State.from_dict(saved) == state()
    state().check(loader.State.from_dict(saved))
    assert saved["fingerprint"] == state().fingerprint


def test_a_state_of_an_earlier_version_is_known_by_what_both_know():
    saved = state().to_dict()
    old = saved["description"]
    del old["spec 0.augment.flip"], old["parts"]
    old["spec 0.clip.gone_since"] = "True"
    old["spec 0.erase"] = "Erase(p=1.0, fill=(124, 116, 104))"
    state().check(loader.State.from_dict(saved))
    old["spec 0.augment.shift"] = "3"
    with pytest.raises(ValueError, match=r"spec 0\.augment\.shift: was 3, is 2"):
        state().check(loader.State.from_dict(saved))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (state(batch_size=4), "batch_size: was 4, is 8"),
        (state(dataclasses.replace(SPEC, size=32)), r"spec 0\.size: was 32, is 24"),
        (state(data=toydata.images(7)), "7 records"),
        (state(data=toydata.images(name="other")), "was other"),
        (state(seed=9), "seed: was 9, is 3"),
    ],
)
def test_a_state_of_other_data_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        state().check(other)
    assert other.seed == 9 or other.fingerprint != state().fingerprint


def test_the_iterator_knows_its_step():
    stream = loader.train_batches(toydata.images(), SPEC, batch_size=4, seed=0, start=7, threads=0)
    next(stream)
    assert stream.step == 8


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="batch_size: got 6, must be a multiple of 4"):
        take(1, batch_size=6, process_count=4)
    with pytest.raises(ValueError, match="process_index: got 2"):
        take(1, process_index=2, process_count=2)
    pair = (toydata.images(), SPEC)
    with pytest.raises(ValueError, match="a mixture is for training"):
        loader.eval_batches(mixture.Mixed(pair, [pair]), batch_size=5)
    with pytest.raises(ValueError, match="spec"):
        loader.train_batches(toydata.images(), batch_size=4, seed=0)


def test_a_real_stream_through_to_device():
    stream = loader.train_batches(toydata.images(), SPEC, batch_size=4, seed=0)
    with loader.to_device(stream, lambda batch: batch["id"]) as data:
        found = [next(data) for _ in range(3)]
    expected = take(3, batch_size=4, seed=0)
    np.testing.assert_array_equal(found, [b["id"] for b in expected])
