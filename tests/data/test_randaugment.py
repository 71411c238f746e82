"""RandAugment and the colour jitter against Pillow, and what a clip's frames have in common."""

import dataclasses

import cv2
import numpy as np
import pytest
import toydata

from aufer_jax.data import batches, colour, mixture, randaugment, records, sampling, views
from aufer_jax.data.randaugment import Operation
from aufer_jax.data.views import Augment, Erase, Spec

Image = pytest.importorskip("PIL.Image", reason="Pillow is the oracle")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")
ImageOps = pytest.importorskip("PIL.ImageOps")

NOISE = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
PICTURE = cv2.GaussianBlur(NOISE, (0, 0), 1.2)
PICTURE[:, :10] //= 2
PILLOW = Image.fromarray(PICTURE)
GRAY = (128, 128, 128)


def affine(*coefficients):
    return PILLOW.transform(
        PILLOW.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC, fillcolor=GRAY
    )


def solarize_add(level):
    return PILLOW.point([min(255, i + int(11 * level)) if i < 128 else i for i in range(256)] * 3)


def enhance(kind):
    return lambda level: kind(PILLOW).enhance(1 + 0.09 * level)


# Operation -> what Pillow makes of it at a level, as MAE-DFER's code asks it to.
ORACLE = {
    "auto_contrast": lambda level: ImageOps.autocontrast(PILLOW),
    "equalize": lambda level: ImageOps.equalize(PILLOW),
    "invert": lambda level: ImageOps.invert(PILLOW),
    "rotate": lambda level: PILLOW.rotate(3 * level, Image.Resampling.BICUBIC, fillcolor=GRAY),
    "posterize": lambda level: ImageOps.posterize(PILLOW, 4 - int(0.4 * level)),
    "solarize": lambda level: ImageOps.solarize(PILLOW, 256 - int(25.6 * level)),
    "solarize_add": solarize_add,
    "color": enhance(ImageEnhance.Color),
    "contrast": enhance(ImageEnhance.Contrast),
    "brightness": enhance(ImageEnhance.Brightness),
    "sharpness": enhance(ImageEnhance.Sharpness),
    "shear_x": lambda level: affine(1, 0.03 * level, 0, 0, 1, 0),
    "shear_y": lambda level: affine(1, 0, 0, 0.03 * level, 1, 0),
    "translate_x": lambda level: affine(1, 0, 0.045 * level * 48, 0, 1, 0),
    "translate_y": lambda level: affine(1, 0, 0, 0, 1, 0.045 * level * 40),
}


def test_there_are_fifteen_operations():
    assert len(randaugment.OPERATIONS) == 15 and set(ORACLE) == set(randaugment.OPERATIONS)


@pytest.mark.parametrize("level", [6.7, -6.7, 9.4])
@pytest.mark.parametrize("name", ORACLE)
def test_operations_are_pillow_s(name, level):
    signed = name in (*randaugment.GEOMETRIC, "color", "contrast", "brightness", "sharpness")
    level = level if signed else abs(level)
    ours = PICTURE.copy()
    randaugment.apply(ours, Operation(name, level))
    theirs = np.asarray(ORACLE[name](level)).astype(int)
    moved = np.abs(theirs - PICTURE).mean()
    difference = np.abs(ours - theirs)
    assert moved > 1
    if name in randaugment.GEOMETRIC:  # OpenCV's cubic curve is steeper than Pillow's
        assert difference.mean() < 0.1 * moved and np.median(difference) <= 1
    else:  # Pillow cuts where we round
        assert difference.max() <= 1


def test_an_image_of_one_colour_survives_everything():
    for name in randaugment.OPERATIONS:
        flat = np.full((8, 8, 3), 90, np.uint8)
        randaugment.apply(flat, Operation(name, 10.0))
        assert flat.shape == (8, 8, 3)


def test_half_of_the_draws_are_applied_at_levels_round_the_magnitude():
    rng = np.random.default_rng(0)
    drawn = [operation for _ in range(500) for operation in randaugment.draw(4, 7.0, 0.5, rng)]
    assert abs(len(drawn) / 2000 - 0.5) < 0.04
    levels = np.array([abs(operation.level) for operation in drawn])
    assert abs(levels.mean() - 7) < 0.1 and abs(levels.std() - 0.5) < 0.05
    assert {operation.name for operation in drawn} == set(randaugment.OPERATIONS)
    signs = [o.level > 0 for o in drawn if o.name == "rotate"]
    assert 0.3 < np.mean(signs) < 0.7
    assert all(o.level > 0 for o in drawn if o.name == "posterize")


def test_levels_end_at_ten():
    rng = np.random.default_rng(0)
    drawn = [o for _ in range(50) for o in randaugment.draw(4, 9.9, 2.0, rng)]
    assert max(abs(o.level) for o in drawn) == 10


@pytest.mark.parametrize("name", randaugment.GEOMETRIC)
def test_matrices_say_where_pixels_go(name):
    dot = np.zeros((41, 41, 3), np.uint8)
    cv2.circle(dot, (24, 17), 3, (255, 255, 255), cv2.FILLED)
    operation = Operation(name, 4.0)
    where = randaugment.matrix(operation, 41, 41) @ [24, 17, 1]
    randaugment.apply(dot, operation)
    weight = np.where(dot[..., 0] > 200, dot[..., 0], 0).astype(float)
    rows, columns = np.mgrid[:41, :41]
    found = [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
    np.testing.assert_allclose(found, where, atol=0.35)


# --- In a clip ----------------------------------------------------------------------------------


def row_of(record, spec, seed):
    source = records.MemorySource(toydata.info(kind="clip"), [record])
    part = mixture.Part(source, spec)
    (row, problems) = batches.assemble([batches.Row(part, 0, np.random.default_rng(seed))], spec)
    assert not problems
    return row


def same_frames(frames=4):
    image = toydata.encode(toydata.picture(5, 32))
    points = np.tile(np.random.default_rng(0).uniform(8, 24, (68, 2)), (frames, 1, 1))
    return toydata.clip_record(0, frames, landmarks=points) | {"frames": [image] * frames}


def test_all_frames_of_a_clip_get_the_same_changes():
    augment = Augment(
        crop=(0.3, 1), rand_ops=4, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4,
        shuffle_colour=True, erase=1.0,
    )  # fmt: skip
    spec = Spec(size=32, aus=toydata.AUS, clip=sampling.Sampling(4), augment=augment)
    looks = []
    for seed in range(4):
        clip = row_of(same_frames(), spec, seed)["clip"][0]
        assert (clip == clip[:1]).all()
        looks.append(clip[0])
    assert any((looks[0] != look).any() for look in looks[1:])


def test_erasing_with_noise_differs_from_frame_to_frame():
    spec = Spec(
        size=32, aus=toydata.AUS, clip=sampling.Sampling(4), augment=Augment(flip=0, erase=1.0),
        erase=Erase(noise=True, area=(0.3, 0.33), ratio=(1.0, 1.0)),
    )  # fmt: skip
    clip = row_of(same_frames(), spec, 0)["clip"][0]
    plain = row_of(same_frames(), Spec(size=32, aus=toydata.AUS, clip=sampling.Sampling(4),
                                       augment=Augment(flip=0)), 0)["clip"][0]  # fmt: skip
    erased = (clip != plain).any((0, -1))
    rows, columns = np.nonzero(erased)
    assert 0.25 < erased.mean() < 0.36  # one box for all frames
    inside = clip[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(float)
    assert (inside[0] != inside[1]).mean() > 0.9
    np.testing.assert_allclose(inside.mean((0, 1, 2)), [124, 116, 104], atol=6)
    np.testing.assert_allclose(inside.std((0, 1, 2)), [58, 57, 57], atol=8)  # clipped at 0 and 255


def test_landmarks_follow_randaugment():
    """A bright dot at a landmark is still there after all changes."""
    image = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(image, (30, 26), 2, (255, 255, 255), cv2.FILLED)
    operations = (
        Operation("rotate", 5.0),
        Operation("translate_x", 2.0),
        Operation("shear_y", 4.0),
    )
    change = views.draw(Augment(crop=(0.6, 1), flip=0), 64, np.random.default_rng(1))
    change = dataclasses.replace(change, operations=operations)
    out = np.empty((64, 64, 3), np.uint8)
    matrix = views.render(toydata.encode(image), None, change, out)
    weight = np.where(out[..., 0] > 190, 1.0, 0.0)
    rows, columns = np.mgrid[:64, :64]
    found = [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
    np.testing.assert_allclose(matrix @ [30, 26, 1], found, atol=0.8)


# --- Colour -------------------------------------------------------------------------------------


def test_jitter_keeps_its_order():
    factors = (1.3, 0.7, 0.6, 0.1)
    first, second = PICTURE.copy(), PICTURE.copy()
    colour.jitter(first, factors, (0, 1, 2, 3))
    colour.jitter(second, factors, (3, 2, 1, 0))
    assert (first != second).any()
    by_hand = PILLOW
    for kind, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=False
    ):
        by_hand = kind(by_hand).enhance(factor)
    ours = PICTURE.copy()
    colour.jitter(ours, (*factors[:3], 0.0), (0, 1, 2, 3))
    assert np.abs(ours - np.asarray(by_hand).astype(int)).max() <= 3  # Pillow cuts at every step


def test_hue_is_pillow_s():
    hsv = np.array(PILLOW.convert("HSV"))
    hsv[..., 0] += np.uint8(0.2 * 256)
    theirs = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")).astype(int)
    ours = PICTURE.copy()
    colour.hue(ours, 0.2)
    assert np.abs(ours - theirs).mean() < 2
