"""Batches of clips: which frames and which AUs, and what becomes of clips that lack something."""

import dataclasses

import numpy as np
import pytest
import toydata

from aufer_jax.data import batches, loader, mixture, records, sampling, views
from aufer_jax.data.views import Augment, Erase, Spec

SPEC = Spec(size=16, aus=toydata.AUS, clip=sampling.Sampling(4), augment=Augment(flip=0))


def source(*rows):
    return records.MemorySource(toydata.info(kind=records.CLIP), list(rows))


def evaluate(spec, *rows):
    """The one batch of an evaluation, and the loader's report."""
    data = loader.eval_batches(source(*rows), spec, batch_size=len(rows), threads=0)
    return next(data), dict(data.report.problems)


def pixels(record, frame):
    out = np.empty((16, 16, 3), np.uint8)
    views.render(record["frames"][frame], None, views.UNCHANGED, out)
    return out


def shown(clip, record):
    """Which frame of the record each frame of a clip is."""
    found = [[(frame == pixels(record, t)).all() for t in readable(record)] for frame in clip]
    return [readable(record)[row.index(True)] for row in found]


def readable(record):
    return [t for t, data in enumerate(record["frames"]) if data != b"broken"]


def damaged(i, *broken, frames=6):
    record = toydata.clip_record(i, frames)
    record["frames"] = [b"broken" if t in broken else f for t, f in enumerate(record["frames"])]
    return record


def test_a_broken_frame_is_replaced_by_the_nearest_that_can_be_read():
    record = damaged(0, 2, 3, 5)
    batch, problems = evaluate(dataclasses.replace(SPEC, clip=sampling.Sampling(6)), record)
    assert shown(batch["clip"][0], record) == [0, 1, 1, 4, 4, 4]
    assert batch["mask"].all() and batch["au_known"].all() and batch["expression"][0] == 0
    assert problems == {"broken frame": {"clip0"}}


def test_a_broken_frame_that_nobody_asks_for_does_no_harm():
    record = damaged(0, 5)
    assert sampling.sample(6, SPEC.clip, None).tolist() == [0, 2, 3, 5]
    _, problems = evaluate(dataclasses.replace(SPEC, clip=sampling.Sampling(2)), record)
    assert not problems


def test_landmarks_are_those_of_the_frame_that_is_shown():
    points = np.arange(6, dtype=np.float32)[:, None, None] + np.ones((1, 68, 2), np.float32)
    record = damaged(0, 2) | {"landmarks": points}
    batch, _ = evaluate(dataclasses.replace(SPEC, size=32, clip=sampling.Sampling(6)), record)
    np.testing.assert_allclose(batch["landmarks"][0, :, 0, 0], [1, 2, 2, 4, 5, 6], atol=1e-5)


def test_a_frame_without_landmarks_is_aligned_as_the_nearest_that_has_some():
    points = toydata.FACE_LANDMARKS * 32 / 112
    landmarks = np.stack([points, points, points + 6, points + 6])
    landmarks[[0, 2]] = np.nan
    record = toydata.clip_record(0, 4, landmarks=landmarks)
    # The same picture four times (not one object: that would be one frame), so only the alignment differs.
    record["frames"] = [bytes(bytearray(record["frames"][0])) for _ in range(4)]
    batch, problems = evaluate(dataclasses.replace(SPEC, align="5pt"), record)
    first, second, third, fourth = batch["clip"][0]
    assert (first == second).all() and (third == second).all() and (fourth != second).any()
    assert np.isfinite(batch["landmarks"][0]).all((1, 2)).tolist() == [False, True, False, True]
    assert problems == {"no landmarks": {"clip0"}}


def test_a_clip_without_a_readable_frame_is_masked():
    batch, problems = evaluate(SPEC, damaged(0, *range(6)), toydata.clip_record(1))
    assert batch["mask"].tolist() == [False, True] and batch["expression"][0] == -1
    assert np.unique(batch["clip"][0]).size == 1
    assert problems == {"broken image": {"clip0"}}


def test_short_clips_repeat_frames_and_are_reported():
    short, single, long = (
        toydata.clip_record(0, 3),
        toydata.clip_record(1, 1),
        toydata.clip_record(2),
    )
    batch, problems = evaluate(SPEC, short, single, long)
    assert shown(batch["clip"][0], short) == [0, 1, 1, 2]
    assert shown(batch["clip"][1], single) == [0] * 4
    assert batch["mask"].all()
    assert problems == {"short clip": {"clip0"}, "clip of a single frame": {"clip1"}}


def test_clips_without_aus_teach_their_expression_only():
    rows = [toydata.clip_record(i) for i in range(3)]
    rows[0]["au"] = np.full((6, 6), np.nan, np.float32)
    rows[1]["au_known"] = np.zeros(6, bool)
    batch, problems = evaluate(SPEC, *rows)
    assert batch["au_known"].any(1).tolist() == [False, False, True]
    assert not batch["au"][:2].any() and (batch["expression"] == [0, 1, 2]).all()
    assert problems == {"no AU labels": {"clip0", "clip1"}}


def test_nobody_misses_aus_that_are_not_asked_for():
    record = toydata.clip_record(0, au_known=np.zeros(6, bool))
    part = mixture.Part(source(record), SPEC, aus=False)
    data = loader.eval_batches(part, batch_size=1, threads=0)
    next(data)
    assert not data.report.problems


def test_aus_are_those_of_most_frames_where_they_are_known():
    au = np.zeros((6, 6), np.float32)
    au[:3, 0] = 2  # in half of the frames: present
    au[:2, 1] = 2  # in a third: absent
    au[:2, 2], au[2:, 2] = 2, np.nan  # wherever it is known
    au[:, 3] = np.nan
    batch, _ = evaluate(SPEC, toydata.clip_record(0, au=au))
    assert batch["au"][0].tolist() == [1, 0, 1, 0, 0, 0]
    assert batch["au_known"][0].tolist() == [True, True, True, False, True, True]


def test_aus_of_the_sampled_frames():
    au = np.zeros((6, 6), np.float32)
    au[[1, 4], 0] = 2  # frames 0, 2, 3, 5 are sampled
    au[[0, 2], 1] = 2
    sampled = dataclasses.replace(SPEC, au_frames="sampled")
    batch, _ = evaluate(sampled, toydata.clip_record(0, au=au))
    assert batch["au"][0, :2].tolist() == [0, 1]
    batch, _ = evaluate(SPEC, toydata.clip_record(0, au=au))
    assert batch["au"][0, :2].tolist() == [0, 0]


def test_evaluation_takes_several_clips_of_a_record():
    spec = dataclasses.replace(SPEC, clip=sampling.Sampling(2, "dense", 2, views=2))
    record = toydata.clip_record(0, 8)
    batch, problems = evaluate(spec, record)
    assert batch["clip"].shape == (1, 4, 16, 16, 3) and batch["landmarks"].shape == (1, 4, 68, 2)
    assert shown(batch["clip"][0], record) == [0, 2, 4, 6]
    assert not problems
    trained = next(loader.train_batches(source(record), spec, batch_size=1, seed=0, threads=0))
    assert trained["clip"].shape == (1, 2, 16, 16, 3)


def test_a_repeated_frame_is_drawn_once_unless_it_has_noise_of_its_own(monkeypatch):
    drawn, render = [], views.render
    monkeypatch.setattr(views, "render", lambda *args: drawn.append(1) or render(*args))
    noisy = Erase(noise=True, area=(0.3, 0.33))
    spec = dataclasses.replace(SPEC, erase=noisy, augment=Augment(erase=1.0))
    record = toydata.clip_record(0, 1)
    for train, times in ((False, 1), (True, spec.clip.frames)):
        spec, part = dataclasses.replace(spec, train=train), source(record)
        rng = np.random.default_rng(0) if train else None
        batches.assemble([batches.Row(mixture.Part(part, spec), 0, rng)], spec)
        assert len(drawn) == times
        drawn.clear()


@pytest.mark.parametrize("rule", sampling.RULES)
def test_an_image_among_clips_is_a_clip_of_one_frame(rule):
    rows = [toydata.image_record(i) for i in range(3)]
    rows[1]["image"] = b"broken"
    rows[2]["au_known"][:] = False
    spec = dataclasses.replace(SPEC, clip=sampling.Sampling(4, rule))
    part = mixture.Part(records.MemorySource(toydata.info(), rows), spec)
    for train in (False, True):
        made = [batches.Row(part, i, np.random.default_rng(i) if train else None) for i in range(3)]
        batch, problems = batches.assemble(made, spec)
        assert batch["clip"].shape == (3, 4, 16, 16, 3) and batch["landmarks"].shape == (
            3,
            4,
            68,
            2,
        )
        alone = dataclasses.replace(spec, clip=None)
        made = [dataclasses.replace(row, part=mixture.Part(part.source, alone)) for row in made]
        image, _ = batches.assemble(made, alone)
        for name, frames in (("clip", "image"), ("landmarks", "landmarks")):
            np.testing.assert_array_equal(batch[name], np.repeat(image[frames][:, None], 4, 1))
        for name in ("expression", "au", "au_known", "mask", "id"):
            np.testing.assert_array_equal(batch[name], image[name])
        assert problems == [("broken image", "face1")]
        assert batch["mask"].tolist() == [True, False, True]
