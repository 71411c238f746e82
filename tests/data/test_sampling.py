import numpy as np
import pytest

from aufer_jax.data import sampling as clips
from aufer_jax.data.sampling import Sampling

FORMER_DFER_TEST = {
    9: [0, 1] * 8,
    10: [0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9],
    12: [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 7, 8, 8, 9, 10, 11],
    16: list(range(16)),
    25: [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23],
    100: [6, 7, 18, 19, 30, 31, 43, 44, 55, 56, 68, 69, 80, 81, 92, 93],
}


@pytest.mark.parametrize("length", FORMER_DFER_TEST)
def test_pairs_of_former_dfer_in_evaluation(length):
    frames = clips.sample(length, Sampling(16, "pairs"), None)
    assert frames.tolist() == FORMER_DFER_TEST[length]


def test_pairs_in_training_start_inside_their_parts():
    for seed in range(20):
        frames = clips.sample(100, Sampling(16, "pairs"), np.random.default_rng(seed))
        starts = frames[::2]
        assert (starts // 12 == np.arange(8)).all() and (frames[1::2] == starts + 1).all()
    # A clip of 9 to 16 frames shows only its first nine.
    assert clips.sample(16, Sampling(16, "pairs"), np.random.default_rng(0)).tolist() == [
        *(0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8)
    ]


def test_segments():
    assert clips.sample(8, Sampling(4), None).tolist() == [1, 3, 5, 7]
    assert clips.sample(2, Sampling(4), None).tolist() == [0, 0, 1, 1]
    for seed in range(20):
        frames = clips.sample(40, Sampling(4), np.random.default_rng(seed))
        assert (frames // 10 == np.arange(4)).all()


def test_spread_is_m3dfel_s():
    assert clips.sample(40, Sampling(16, "spread"), None).tolist() == [
        int(40 * i / 16) for i in range(16)
    ]
    frames = clips.sample(40, Sampling(16, "spread"), np.random.default_rng(0))
    ahead = frames - clips.sample(40, Sampling(16, "spread"), None)
    assert ahead.min() >= 0 and ahead.max() <= 15 and frames.max() <= 39


def test_m3dfel_jitters_by_as_many_frames_whatever_the_clip_s_length():
    """int(16 U): up to 15 frames also in a clip of 20, where the order may break."""
    ahead = [
        clips.sample(length, Sampling(16, "spread"), np.random.default_rng(seed))[:1]
        for length in (20, 400)
        for seed in range(300)
    ]
    assert set(np.concatenate(ahead[:300]).tolist()) == set(range(16))
    assert set(np.concatenate(ahead[300:]).tolist()) == set(range(16))
    short = clips.sample(20, Sampling(16, "spread"), np.random.default_rng(0))
    assert (np.diff(short) < 0).any() and short.max() == 19
    assert clips.sample(5, Sampling(16, "spread"), None).tolist() == [
        5 * i // 16 for i in range(16)
    ]


class Fixed:
    """A generator that always draws the same."""

    def __init__(self, value):
        self.value = value

    def integers(self, low, high):
        assert low <= self.value < high
        return self.value


# Length, step -> the frames of MAE-DFER's code in training.
MAE_DFER_TRAINING = {
    (5, 1): [0, 1, 2, 3, *[4] * 12],
    (30, 4): [0, 5, 10, 15, 20, 25, *[29] * 10],
    (64, 4): [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63],
    (3, 4): [2] * 16,
    (1, 1): [0] * 16,
}


@pytest.mark.parametrize(("length", "step"), MAE_DFER_TRAINING)
def test_dense_of_mae_dfer_in_short_clips(length, step):
    frames = clips.sample(length, Sampling(16, "dense", step), np.random.default_rng(0))
    assert frames.tolist() == MAE_DFER_TRAINING[length, step]


def test_dense_of_mae_dfer_is_a_window_that_ends_before_the_last_frame():
    first = clips.sample(100, Sampling(16, "dense", 4), Fixed(64)).tolist()
    assert first == MAE_DFER_TRAINING[64, 4]
    # linspace(35, 99, 16), 99 being brought back to 98
    last = clips.sample(100, Sampling(16, "dense", 4), Fixed(99)).tolist()
    assert last == [35, 39, 43, 47, 52, 56, 60, 64, 69, 73, 77, 81, 86, 90, 94, 98]


@pytest.mark.parametrize(
    ("length", "views", "expected"),
    [
        (66, 2, [*range(0, 61, 4), *range(4, 65, 4)]),  # 17 frames kept
        (64, 2, [*range(0, 61, 4)] * 2),
        (10, 2, [0, 4, *[8] * 14] * 2),
        (66, 1, [*range(0, 61, 4)]),
    ],
)
def test_dense_of_mae_dfer_in_evaluation(length, views, expected):
    assert clips.sample(length, Sampling(16, "dense", 4, views), None).tolist() == expected


def test_only_evaluation_has_several_clips():
    sampling = Sampling(16, "dense", 4, 2)
    assert sampling.count(train=True) == 16 and sampling.count(train=False) == 32
    assert len(clips.sample(100, sampling, np.random.default_rng(0))) == 16


def test_random_frames_are_in_order_and_different_when_there_are_enough():
    frames = clips.sample(20, Sampling(16, "random"), np.random.default_rng(0))
    assert (np.diff(frames) > 0).all()
    frames = clips.sample(3, Sampling(16, "random"), np.random.default_rng(0))
    assert (np.diff(frames) >= 0).all() and set(frames) <= {0, 1, 2}
    assert clips.sample(31, Sampling(16, "random"), None).tolist() == list(range(0, 31, 2))


@pytest.mark.parametrize("rule", clips.RULES)
@pytest.mark.parametrize("length", [1, 2, 7, 16, 101])
def test_every_rule_gives_frames_of_the_clip(rule, length):
    for rng in (None, np.random.default_rng(length)):
        frames = clips.sample(length, Sampling(16, rule), rng)
        assert frames.shape == (16,) and frames.min() >= 0 and frames.max() < length


def test_errors():
    with pytest.raises(ValueError, match="empty clip"):
        clips.sample(0, Sampling(), None)
    with pytest.raises(ValueError, match="'segments'"):
        Sampling(rule="segment")
    with pytest.raises(ValueError, match="even"):
        Sampling(frames=5, rule="pairs")
    with pytest.raises(ValueError, match=r"data\.frame_step: got 4; .* data\.sampling 'dense'"):
        Sampling(rule="spread", step=4)
    with pytest.raises(ValueError, match=r"data\.test_clips: got 2"):
        Sampling(views=2)
