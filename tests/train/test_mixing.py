"""Mixup and CutMix of neighbouring rows, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aufer_jax.train import mixing
from aufer_jax.train.mixing import Options

ROWS = np.random.default_rng(0).random((4, 2, 8, 8, 3)).astype(np.float32)
ALL = np.ones(4, bool)


@functools.partial(jax.jit, static_argnames=("options", "period"))
def mixed(key, rows, usable, options, period=1):
    mix = mixing.draw(key, usable, 8, options, period=period)
    return mixing.pixels(mix, rows), mix.kept


def draws(options, usable=ALL, count=20):
    for seed in range(count):
        x, kept = mixed(jax.random.key(seed), ROWS, usable, options)
        yield np.asarray(x), np.asarray(kept)


def test_neighbours_are_partners():
    assert mixing.partner(jnp.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
    with pytest.raises(ValueError, match=r"data\.batch_size: 3 rows .* a multiple of 2 can"):
        mixing.partner(jnp.arange(3))


def test_mixup_blends_pixels_by_one_share():
    shares = []
    for x, share in draws(Options(mix=1.0, cutmix=0.0)):
        assert (share == share[0]).all() and 0 <= share[0] <= 1
        expected = share[0] * ROWS + (1 - share[0]) * ROWS[[1, 0, 3, 2]]
        np.testing.assert_allclose(x, expected, atol=1e-6)
        shares.append(share[0])
    assert np.std(shares) > 0.2  # Beta(0.8, 0.8) is flatter than flat


def test_cutmix_pastes_one_box_and_counts_its_pixels():
    sizes = []
    for x, share in draws(Options(mix=1.0, mixup=0.0)):
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
        box = mixing._box(jax.random.key(seed), jnp.float32(0.6), 8)  # int(5.06) = 5
        rows, columns = np.nonzero(np.asarray(box))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert {height, width} <= {2, 3, 4}  # 2 * (5 // 2), less what lies outside
        seen.add((height, width))
    assert (4, 4) in seen


def test_switch_takes_either_kind_and_p_leaves_batches_alone():
    cuts = [np.isin(x, ROWS).all() for x, _ in draws(Options(mix=1.0), count=60)]
    assert 0.3 < np.mean(cuts) < 0.7
    untouched = [(x == ROWS).all() for x, _ in draws(Options(mix=0.5, cutmix=0.0), count=60)]
    assert 0.3 < np.mean(untouched) < 0.7
    for x, share in draws(Options(mix=0.0), count=3):
        assert (x == ROWS).all() and (share == 1).all()


def test_a_pair_with_a_row_that_cannot_be_used_stays_as_it_is():
    usable = np.array([True, False, True, True])
    for x, share in draws(Options(mix=1.0, cutmix=0.0), usable, 3):
        np.testing.assert_array_equal(x[:2], ROWS[:2])
        assert (share[:2] == 1).all() and (share[2:] < 1).all()
        assert (x[2:] != ROWS[2:]).any()


def by_hand(**changes):
    """Two pairs, of which the first is mixed by Mixup with a share of 0.7."""
    values = {
        "pair": jnp.array([True, True, False, False]), "kept": jnp.array([0.7, 0.7, 1.0, 1.0]),
        "cuts": jnp.array(False), "share": jnp.float32(0.7), "box": jnp.zeros((8, 8), bool),
        "period": 1,
    }  # fmt: skip
    return mixing.Mix(**{**values, **changes})


def test_labels_by_hand():
    y = jnp.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    expected = [[0.7, 0.3], [0.3, 0.7], [1, 0], [0, 1]]
    np.testing.assert_allclose(mixing.labels(by_hand(), y), expected, rtol=1e-6)


def test_of_a_mixed_row_is_known_what_is_known_of_both():
    mask = jnp.array([[True, True], [True, False], [True, True], [False, False]])
    expected = [[True, False], [True, False], [True, True], [False, False]]
    assert mixing.known(by_hand(), mask).tolist() == expected
    assert mixing.known(by_hand(), mask[:, 0]).tolist() == [True, True, True, False]
    assert mixing.known(None, mask) is mask


def test_a_mirrored_view_shows_the_same_of_its_partner():
    for seed in range(20):
        mix = mixing.draw(jax.random.key(seed), ALL, 8, Options(mix=1.0))
        mirror = mixing.pixels(mix, ROWS[..., ::-1, :], mirrored=True)
        np.testing.assert_array_equal(mirror[..., ::-1, :], mixing.pixels(mix, ROWS))


def test_maps_are_mixed_as_the_pixels_they_lie_over_are():
    rng = np.random.default_rng(1)
    coarse = rng.random((4, 4, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(
        mixing.maps(by_hand(), coarse)[0], 0.7 * coarse[0] + 0.3 * coarse[1], rtol=1e-5
    )
    box = np.zeros((8, 8), bool)
    box[2:6, :4] = True  # cells [1:3, :2] of four by four
    cut = mixing.maps(by_hand(cuts=jnp.array(True), box=jnp.asarray(box)), coarse)
    np.testing.assert_allclose(cut[0, 3], coarse[0, 3], rtol=1e-5, atol=0.15)
    same = mixing.maps(by_hand(cuts=jnp.array(True), box=jnp.asarray(box)), ROWS[:, 0])
    expected = np.where(box[..., None], ROWS[1, 0], ROWS[0, 0])
    np.testing.assert_allclose(same[0], expected, atol=1e-6)  # at the pixels' own resolution
    np.testing.assert_array_equal(same[2:], ROWS[2:, 0])


def test_partners_have_one_place_in_two_patterns():
    """Target and auxiliary rows t t a t t a ...: a target row meets a target row."""
    assert mixing.partner(jnp.arange(12), 3).tolist() == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
    with pytest.raises(ValueError, match=r"9 rows .* a multiple of 6 can"):
        mixing.partner(jnp.arange(9), 3)
    rows = np.concatenate([ROWS, ROWS[:2] + 1])
    x, kept = mixed(
        jax.random.key(0), rows, np.ones(6, bool), Options(mix=1.0, cutmix=0.0), period=3
    )
    np.testing.assert_allclose(x[0], kept[0] * rows[0] + (1 - kept[0]) * rows[3], atol=1e-6)
