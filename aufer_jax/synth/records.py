"""Draws the faces of a dialect and makes records of them."""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from aufer_jax.synth.camera import Camera, encode, sample_camera
from aufer_jax.synth.dialects import DIALECTS, POSE, Dialect, key, lookup
from aufer_jax.synth.expressions import confuse, draw_au, draw_balance
from aufer_jax.synth.face import Rendering, render
from aufer_jax.synth.geometry import AU_INDEX, AUS
from aufer_jax.synth.identity import Identity, sample_identity
from aufer_jax.synth.occluders import OCCLUSIONS

GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Scene:
    """Everything that determines one picture, before it is rendered."""

    who: Identity
    au: np.ndarray
    balance: np.ndarray
    camera: Camera
    gaze: tuple[float, float]
    occlusion: str
    expression: str
    label: str
    subject: str
    key: str
    seed: int


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """A random stream that depends on the seed and the parts alone."""
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in parts]
    return np.random.default_rng([seed, *words])


def stratified(shares: tuple[float, ...], index: int, offset: float) -> int:
    """Class of the index-th record: any run of records has nearly the given shares."""
    place = (offset + index * GOLDEN) % 1.0 * sum(shares)
    return min(int(np.searchsorted(np.cumsum(shares), place, side="right")), len(shares) - 1)


def subject_of(
    name: str, split: str, size: int, each: int, seed: int, rng: np.random.Generator
) -> tuple[str, Identity]:
    """One of the people of a split; no two splits share people."""
    number = int(rng.integers(max(1, size // each)))
    who = sample_identity(generator(seed, name, split, "subject", number))
    return f"{name}-{split}-s{number:04d}", who


def image_scene(dialect: str, split: str, index: int, *, seed: int = 0) -> Scene:
    """Draws the scene of one record; see `image_record`.

    >>> image_scene("synth_a", "train", 0).expression == image_scene("synth_a", "train", 0).expression
    True
    """
    d = lookup(DIALECTS, dialect, split, index)
    rng = generator(seed, dialect, split, "image", index)
    evaluation = split in ("test", "occluded", POSE)
    shares = d.test_shares if evaluation and d.test_shares else d.shares
    offset = generator(seed, dialect, split, "classes").random()
    expression = d.expressions[stratified(shares, index, offset)]
    subject, who = subject_of(dialect, split, d.sizes[split], d.images_per_subject, seed, rng)
    au = draw_au(rng, d.habit, expression, strength=d.strength, blend=d.blend, stray=d.stray)
    balance = draw_balance(rng, expression)
    gaze = tuple(np.clip(rng.normal(0, 0.25, 2), -0.6, 0.6).tolist())
    style = replace(d.camera, large_pose=1.0) if split == POSE else d.camera
    camera = sample_camera(rng, style)
    occlusion = _draw_occlusion(rng, 1.0 if split == "occluded" else d.occluded_share)
    if occlusion == "crop":
        camera = _cut_off(rng, camera)
    noise = d.label_noise if split == "train" else 0.0
    return Scene(
        who, au, balance, camera, gaze, occlusion, expression,
        confuse(rng, d.expressions, expression, noise), subject,
        key(dialect, split, index), int(rng.integers(2**31)),
    )  # fmt: skip


def _draw_occlusion(rng: np.random.Generator, share: float) -> str:
    kind = OCCLUSIONS[rng.integers(1, len(OCCLUSIONS))]
    return kind if rng.random() < share else "none"


def _cut_off(rng: np.random.Generator, camera: Camera) -> Camera:
    """Frames the face so that the picture's edge cuts off a part of it."""
    x, y = camera.view.centre
    dx, dy = ((-0.34, 0), (0.34, 0), (0, 0.36), (0, -0.34))[rng.integers(4)]
    amount = rng.uniform(0.8, 1.15)
    view = replace(camera.view, centre=(x + amount * dx, y + amount * dy))
    return replace(camera, view=view)


def render_scene(scene: Scene, size: int) -> Rendering:
    """Renders a scene at a size."""
    return render(
        scene.who,
        scene.au,
        scene.camera,
        size=size,
        balance=scene.balance,
        gaze=scene.gaze,
        occlusion=scene.occlusion,
        seed=scene.seed,
    )


def known_aus(aus: tuple[int, ...]) -> np.ndarray:
    """Mask [24] of the annotated action units."""
    mask = np.zeros(len(AUS), bool)
    mask[[AU_INDEX[a] for a in aus]] = True
    return mask


def image_record(dialect: str, split: str, index: int, *, size: int = 112, seed: int = 0) -> dict:
    """One record of a synthetic dataset; it depends on the arguments alone.

    Returns a dict: `image` JPEG bytes, `expression` int in the dialect's order (-1 where the
    dialect has no expression labels), `true_expression` int before label noise, `au` float32 [24]
    intensities 0..5 in the order of AUS, `au_known` bool [24], `landmarks` float32 [68, 2] pixels
    (integers at pixel centres), `visible` bool [68], `box` float32 [4], `subject`, `key`,
    `occlusion`.

    >>> record = image_record("synth_a", "train", 0, size=48)
    >>> record["landmarks"].shape, record["subject"]
    ((68, 2), 'synth_a-train-s0729')
    """
    d: Dialect = lookup(DIALECTS, dialect, split, index)
    scene = image_scene(dialect, split, index, seed=seed)
    picture = render_scene(scene, size)
    known = known_aus(d.aus)
    return {
        "image": encode(picture.image, scene.camera.quality),
        "expression": d.expressions.index(scene.label) if d.labelled else -1,
        "au": np.where(known, scene.au, 0).astype(np.float32),
        "au_known": known,
        "landmarks": picture.landmarks,
        "visible": picture.visible,
        "box": picture.box,
        "subject": scene.subject,
        "key": scene.key,
        "occlusion": scene.occlusion,
        "true_expression": d.expressions.index(scene.expression),
    }
