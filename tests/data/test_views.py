import math

import cv2
import numpy as np
import pytest
import toydata
from scipy import stats

from aufer_jax.data import views
from aufer_jax.data.views import Augment, Draw, Erase, Spec
from aufer_jax.geometry import align

IMAGE = toydata.picture(0)  # BGR
RGB = IMAGE[..., ::-1]


def rng(seed=0):
    return np.random.default_rng(seed)


def render(change=views.UNCHANGED, base=None, size=112, image=IMAGE):
    out = np.empty((size, size, 3), np.uint8)
    return out, views.render(toydata.encode(image), base, change, out)


def geometry(**options):
    return views.draw(Augment(flip=0, **options), 112, rng())


def test_an_image_of_the_right_size_is_only_reordered():
    out, matrix = render()
    np.testing.assert_array_equal(out, RGB)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0]])


def test_mirroring_is_exact_with_and_without_warping():
    change = views.draw(Augment(flip=1), 112, rng())
    out, _ = render(change)
    np.testing.assert_array_equal(out, RGB[:, ::-1])
    larger = cv2.resize(IMAGE, (150, 150))
    plain, mirrored = render(image=larger)[0], render(change, image=larger)[0]
    assert np.abs(mirrored.astype(int) - plain[:, ::-1]).max() <= 2


def test_flip_happens_as_often_as_asked():
    draws = [views.draw(Augment(flip=0.3), 8, rng(i)).mirrored for i in range(500)]
    assert 0.24 < np.mean(draws) < 0.36


def test_shift_moves_whole_pixels_and_leaves_black():
    change = geometry(shift=9)
    dx, dy = change.geometry[:, 2].astype(int)
    assert max(abs(dx), abs(dy)) <= 9 and (dx or dy)
    out, _ = render(change)
    expected = np.zeros_like(out)
    rows, cols = slice(max(dy, 0), 112 + min(dy, 0)), slice(max(dx, 0), 112 + min(dx, 0))
    source = slice(max(-dy, 0), 112 + min(-dy, 0)), slice(max(-dx, 0), 112 + min(-dx, 0))
    expected[rows, cols] = RGB[source]
    np.testing.assert_array_equal(out, expected)


def test_a_crop_fills_the_image():
    change = geometry(crop=(0.25, 0.25), crop_ratio=(1, 1))
    (x, _, left), (_, y, top) = change.geometry
    assert x == y == 2
    # The image's corner (-0.5, -0.5) comes from the box's: x' = 2 x + left, y' = 2 y + top.
    left, top = round((-0.5 - left) / 2 + 0.5), round((-0.5 - top) / 2 + 0.5)
    out, _ = render(change)
    expected = cv2.resize(RGB[top : top + 56, left : left + 56], (112, 112))
    assert np.abs(out[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).max() <= 3


def test_rotation_and_scale_are_about_the_middle():
    change = geometry(rotate=20, scale=0.2)
    middle = np.array([[55.5, 55.5]])
    np.testing.assert_allclose(align.transform(middle, change.geometry), middle)
    factor = np.hypot(*change.geometry[:, 0])
    assert 0.8 <= factor <= 1.2
    assert abs(math.degrees(math.asin(change.geometry[1, 0] / factor))) <= 20


def test_bars_of_a_picture_go_on_as_its_edge_whatever_its_size():
    barred = np.full((112, 112, 3), 200, np.uint8)
    barred[:, :20] = 0
    _, data = cv2.imencode(".png", barred)
    out = np.empty_like(barred)
    for mirror in (1, -1):
        base = np.array([[mirror, 0, 0 if mirror > 0 else 111], [0, 1, 0]], float)
        views.render(data.tobytes(), base, views.UNCHANGED, out, "edge")
        assert (out == 200).all()
        views.render(data.tobytes(), base, views.UNCHANGED, out, "black")
        assert (out == 0).any()


def test_alignment_and_augmentation_sample_once():
    landmarks, photo = toydata.PHOTO_LANDMARKS, toydata.picture(1, 350)
    base = align.face_matrix(landmarks, 112)
    change = views.draw(Augment(flip=1, shift=3, rotate=5), 112, rng())
    out, matrix = render(change, base, image=photo)
    np.testing.assert_allclose(matrix, align.compose(change.geometry, base))
    np.testing.assert_array_equal(out, align.warp(photo, matrix, 112)[..., ::-1])


def test_a_jpeg_that_shrinks_is_decoded_small():
    photo = cv2.GaussianBlur(toydata.picture(1, 301), (0, 0), 3)
    base = align.similarity(align.TEMPLATE * 2.3 + 20, align.TEMPLATE)
    whole, small = np.empty((112, 112, 3), np.uint8), np.empty((112, 112, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    matrix = views.render(jpeg, base, views.UNCHANGED, small)
    views.render(toydata.encode(views.decode(jpeg)), base, views.UNCHANGED, whole)
    np.testing.assert_array_equal(matrix, base)
    assert views.decode(jpeg, half=True).shape == (151, 151, 3)
    assert np.abs(small.astype(int) - whole).mean() < 0.5


def test_broken_images_are_none():
    for data in (b"", b"not an image"):
        for base in (None, np.eye(2, 3)):
            assert views.render(data, base, views.UNCHANGED, np.empty((8, 8, 3), np.uint8)) is None
    np.testing.assert_array_equal(views.decode(toydata.encode(IMAGE)), IMAGE)


PLAIN = Augment()


def recolour(change, image=RGB):
    out = np.ascontiguousarray(image)
    views.recolour(out, change, rng())
    return out


def colour(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, blur=0.0, noise=False):
    return Draw(None, False, (brightness, contrast, saturation, hue), blur, noise)


def test_no_colour_change():
    np.testing.assert_array_equal(recolour(colour()), RGB)


def test_grayscale_weighs_the_channels():
    change = views.draw(Augment(grayscale=1), 112, rng())
    gray = recolour(change)
    expected = RGB @ np.array([0.2989, 0.587, 0.1141])
    assert np.abs(gray - expected[..., None]).max() <= 1
    assert (gray[..., 0] == gray[..., 2]).all()


def test_brightness_and_contrast():
    np.testing.assert_allclose(recolour(colour(brightness=0.5)), RGB * 0.5, atol=0.51)
    gray = (RGB @ np.array([0.299, 0.587, 0.114])).mean()
    expected = np.clip(0.7 * RGB + 0.3 * gray, 0, 255)
    np.testing.assert_allclose(recolour(colour(contrast=0.7)), expected, atol=0.51)
    # After brightness the mean is that of the brightened image.
    expected = np.clip(0.7 * 0.5 * RGB + 0.3 * 0.5 * gray, 0, 255)
    np.testing.assert_allclose(recolour(colour(0.5, 0.7)), expected, atol=0.51)


def test_hue_turns_red_to_green_in_a_third():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    green = recolour(colour(hue=1 / 3), image=red)
    assert np.abs(green[0, 0].astype(int) - [0, 200, 0]).max() <= 6


def test_blur_keeps_the_mean_and_smooths_more_downwards():
    dot = np.zeros((31, 31, 3), np.uint8)
    dot[15, 15] = 255
    blurred = recolour(colour(blur=5.0), image=dot)[..., 0]
    assert np.flatnonzero(blurred.any(0)).tolist() == list(range(13, 18))  # 5 wide
    assert np.flatnonzero(blurred.any(1)).tolist() == list(range(11, 20))  # 9 high


def test_noise_has_the_asked_deviation():
    flat = np.full((112, 112, 3), 127, np.uint8)
    noisy = recolour(colour(noise=True), flat).astype(float)
    assert abs(noisy.std() - math.sqrt(30)) < 0.1


def test_erased_boxes_follow_the_rule():
    erase = Erase()
    boxes = np.array([views.erased_box(erase, 100, 120, rng(i)) for i in range(400)])
    top, left, height, width = boxes.T
    assert (height > 0).all() and (top + height <= 100).all() and (left + width <= 120).all()
    area, ratio = height * width / 12000, height / width
    assert 0.018 < area.min() < 0.04 and 0.23 < area.max() < 0.26
    assert 0.28 < ratio.min() < 0.4 and 2.7 < ratio.max() < 3.6
    assert abs(np.log(ratio).mean()) < 0.1  # even in the logarithm


def torchvision_boxes(count, area, ratio, size, seed):
    """torchvision's rule for many images at once: boxes [n, 4] found, and how many found none."""
    generator = np.random.RandomState(seed)
    log_ratio = np.log(ratio)
    boxes = []
    for _ in range(count):
        pixels = size[0] * size[1] * generator.uniform(*area, 10)
        aspect = np.exp(generator.uniform(*log_ratio, 10))
        h = np.rint(np.sqrt(pixels * aspect)).astype(int)
        w = np.rint(np.sqrt(pixels / aspect)).astype(int)
        fits = np.flatnonzero((h < size[0]) & (w < size[1]))
        if fits.size:
            h, w = h[fits[0]], w[fits[0]]
            top, left = generator.randint(size[0] - h + 1), generator.randint(size[1] - w + 1)
            boxes.append((top, left, h, w))
    return np.array(boxes), count - len(boxes)


@pytest.mark.parametrize(
    ("area", "ratio"), [((0.02, 0.25), (0.3, 3.3)), ((0.5, 1.3), (0.3, 3.3)), ((0.1, 0.3), (1, 2))]
)
def test_boxes_are_distributed_as_torchvision_s(area, ratio):
    size, count, generator = (100, 120), 3000, rng(5)
    erase = Erase(area=area, ratio=ratio)
    drawn = np.array([views.erased_box(erase, *size, generator) for _ in range(count)])
    ours = drawn[drawn[:, 2] > 0]
    theirs, failures = torchvision_boxes(count, area, ratio, size, seed=6)
    for of_box in (
        lambda t, l, h, w: h * w,  # noqa: E741
        lambda t, l, h, w: np.log(h / w),  # noqa: E741
        lambda t, l, h, w: (t + 0.5) / (size[0] - h + 1),  # noqa: E741
        lambda t, l, h, w: (l + 0.5) / (size[1] - w + 1),  # noqa: E741
    ):
        assert stats.ks_2samp(of_box(*ours.T), of_box(*theirs.T)).pvalue > 0.01
    given_up = count - len(ours)
    assert abs(given_up - failures) <= 4 * np.sqrt(failures + 1)


def test_boxes_that_do_not_fit_are_drawn_again_and_given_up():
    wide = [views.erased_box(Erase(area=(0.6, 0.9)), 50, 50, rng(i)) for i in range(100)]
    assert all(h < 50 and w < 50 for _, _, h, w in wide) and any(h for _, _, h, _ in wide)
    assert views.erased_box(Erase(area=(1.5, 2)), 50, 50, rng()) == (0, 0, 0, 0)


def test_erasing_happens_as_often_as_asked():
    boxes = [views.erased_box(Erase(p=0.5), 50, 50, rng(i)) for i in range(400)]
    assert 160 < sum(box == (0, 0, 0, 0) for box in boxes) < 240


def mirror_and_erase(erase, seed=0, train=True):
    image, out = np.ascontiguousarray(RGB), np.empty_like(RGB)
    box = views.mirror_and_erase(image, out, erase, rng(seed) if train else None)
    return image, out, box


def test_only_the_mirrored_view_is_erased_by_default():
    image, out, (top, left, height, width) = mirror_and_erase(Erase())
    np.testing.assert_array_equal(image, RGB)
    inside = np.zeros((112, 112), bool)
    inside[top : top + height, left : left + width] = True
    assert (out[inside] == views.FILL).all()
    np.testing.assert_array_equal(out[~inside], RGB[:, ::-1][~inside])


def test_mirroring_twice_is_the_identity():
    image, once, box = mirror_and_erase(Erase(), train=False)
    twice = np.empty_like(once)
    views.mirror_and_erase(once, twice, Erase(), None)
    assert box == (0, 0, 0, 0) and (once != image).any()
    np.testing.assert_array_equal(twice, RGB)


def test_plain_erasing_happens_as_often_as_asked_with_the_boxes_of_the_erased_view():
    erase = Erase(p=0, area=(0.1, 0.2), ratio=(1, 2))
    boxes = np.array([views.draw(Augment(erase=0.3), 100, rng(i), erase).box for i in range(500)])
    boxes = boxes[boxes[:, 2] > 0]
    assert 0.24 < len(boxes) / 500 < 0.36
    area, ratio = boxes[:, 2] * boxes[:, 3] / 10000, boxes[:, 2] / boxes[:, 3]
    assert area.min() > 0.098 and area.max() < 0.205
    assert ratio.min() > 0.95 and ratio.max() < 2.1
    # Without it the other changes are drawn as ever.
    plain, erased = (views.draw(Augment(shift=9, erase=p), 100, rng(1)) for p in (0.0, 1.0))
    np.testing.assert_array_equal(plain.geometry, erased.geometry)
    assert plain.box == views.NO_BOX != erased.box


def test_a_shared_box_makes_exact_mirrors():
    image, out, box = mirror_and_erase(Erase(first="shared"))
    np.testing.assert_array_equal(out, image[:, ::-1])
    assert box[2] and (image != RGB).any()


def test_independent_boxes_differ():
    image, out, (top, left, height, width) = mirror_and_erase(Erase(first="independent"))
    changed = (image != RGB).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    own = (rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    assert own not in ((top, left, height, width), (top, 112 - left - width, height, width))
    inside = np.zeros((112, 112), bool)
    inside[top : top + height, left : left + width] = True
    np.testing.assert_array_equal(out[~inside], RGB[:, ::-1][~inside])
    assert (out[inside] == views.FILL).all() and (image[changed] == views.FILL).all()


def test_evaluation_only_mirrors():
    image, out, box = mirror_and_erase(Erase(first="shared"), train=False)
    np.testing.assert_array_equal(image, RGB)
    np.testing.assert_array_equal(out, RGB[:, ::-1])
    assert box == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ("original", "erase")}, "'erased'"),
        ({"views": ("erased",)}, "'original' is always made"),
        ({"align": "68pt"}, "5pt"),
        ({"size": 0}, "size"),
        ({"labels": "majorty"}, "'majority'"),
        ({"labels": "crossentropy"}, "expressions"),
        ({"clip": views.Sampling(), "views": ("original", "heatmap")}, "clips have only"),
    ],
)
def test_wrong_specs_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Spec(**options)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"augment\.flip"):
        Augment(flip=2)
    with pytest.raises(ValueError, match=r"augment\.erase"):
        Augment(erase=-0.1)
    with pytest.raises(ValueError, match=r"erase\.first"):
        Erase(first="both")
