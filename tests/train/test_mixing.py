"""Mixup and CutMix of neighbouring rows, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aufer_jax.train import mixing
from aufer_jax.train.mixing import Mixing

ROWS = np.random.default_rng(0).random((4, 2, 8, 8, 3)).astype(np.float32)
ALL = np.ones(4, bool)
mix = jax.jit(mixing.mix, static_argnames="mixing")


def draws(mixing_, usable=ALL, count=20):
    for seed in range(count):
        x, share = mix(jax.random.key(seed), ROWS, usable, mixing=mixing_)
        yield np.asarray(x), np.asarray(share)


def test_neighbours_are_partners():
    assert mixing.partner(jnp.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
    with pytest.raises(ValueError, match=r"data\.batch_size: 3 rows .* even"):
        mixing.partner(jnp.arange(3))


def test_mixup_blends_pixels_by_one_share():
    shares = []
    for x, share in draws(Mixing(p=1.0, cutmix=0.0)):
        assert (share == share[0]).all() and 0 <= share[0] <= 1
        expected = share[0] * ROWS + (1 - share[0]) * ROWS[[1, 0, 3, 2]]
        np.testing.assert_allclose(x, expected, atol=1e-6)
        shares.append(share[0])
    assert np.std(shares) > 0.2  # Beta(0.8, 0.8) is flatter than flat


def test_cutmix_pastes_one_box_and_counts_its_pixels():
    sizes = []
    for x, share in draws(Mixing(p=1.0, mixup=0.0)):
        pasted = (x != ROWS).any(-1)  # [B, T, H, W]
        assert (pasted == pasted[0, 0]).all()
        np.testing.assert_array_equal(x, np.where(pasted[..., None], ROWS[[1, 0, 3, 2]], ROWS))
        np.testing.assert_allclose(share, 1 - pasted[0, 0].mean(), atol=1e-6)
        rows, columns = np.nonzero(pasted[0, 0])
        if len(rows):
            box = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert len(rows) == np.prod(box)
        sizes.append(len(rows))
    assert len(set(sizes)) > 5


def test_a_box_has_the_published_sides_and_is_cut_at_the_edge():
    """Sides int(8 sqrt(1 - share)), halved downwards to both sides of the middle."""
    seen = set()
    for seed in range(30):
        box, kept = mixing.cut_box(jax.random.key(seed), jnp.float32(0.6), 8, 8)  # int(5.06) = 5
        rows, columns = np.nonzero(np.asarray(box))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert {height, width} <= {2, 3, 4}  # 2 * (5 // 2), less what lies outside
        np.testing.assert_allclose(kept, 1 - height * width / 64, rtol=1e-6)
        seen.add((height, width))
    assert (4, 4) in seen


def test_switch_takes_either_kind_and_p_leaves_batches_alone():
    cuts = [np.isin(x, ROWS).all() for x, _ in draws(Mixing(p=1.0), count=60)]
    assert 0.3 < np.mean(cuts) < 0.7
    untouched = [(x == ROWS).all() for x, _ in draws(Mixing(p=0.5, cutmix=0.0), count=60)]
    assert 0.3 < np.mean(untouched) < 0.7
    for x, share in draws(Mixing(p=0.0), count=3):
        assert (x == ROWS).all() and (share == 1).all()


def test_a_pair_with_a_row_that_cannot_be_used_stays_as_it_is():
    usable = np.array([True, False, True, True])
    for x, share in draws(Mixing(p=1.0, cutmix=0.0), usable, 3):
        np.testing.assert_array_equal(x[:2], ROWS[:2])
        assert (share[:2] == 1).all() and (share[2:] < 1).all()
        assert (x[2:] != ROWS[2:]).any()


def test_labels_by_hand():
    share = jnp.array([0.7, 0.7, 1.0, 1.0])
    y = jnp.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    expected = [[0.7, 0.3], [0.3, 0.7], [1, 0], [0, 1]]
    np.testing.assert_allclose(mixing.labels(share, y), expected, rtol=1e-6)
