"""The camera: framing, light, background, blur, noise, resolution, JPEG."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from aufer_jax.errors import unknown
from aufer_jax.synth.geometry import HEAD_CENTRE, HEAD_RADII, Projection, View

BACKGROUNDS = ("plain", "gradient", "blurred", "blocks")


@dataclass(frozen=True)
class Camera:
    """How a face is photographed.

    `light` points from the face to the light (x right, y down, z to the viewer). `contrast` is the
    share of directed light, `resolution` the share of the pixels the picture once had, `saturation`
    0 is grey, `noise` is a standard deviation in grey levels, `blur` in thousandths of the image.
    """

    view: View = field(default_factory=View)
    light: tuple[float, float, float] = (-0.35, -0.55, 0.76)
    contrast: float = 0.55
    exposure: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    resolution: float = 1.0
    quality: int = 92
    background: str = "gradient"


@dataclass(frozen=True)
class CameraStyle:
    """Ranges from which a dataset draws its cameras; pairs are low and high."""

    yaw: float = 12.0  # standard deviation, degrees
    pitch: float = 6.0
    roll: float = 5.0
    large_pose: float = 0.08  # share of faces turned by 28 to 50 degrees
    shift: float = 0.02  # standard deviation of the framing, share of the image
    scale: tuple[float, float] = (0.25, 0.29)
    contrast: tuple[float, float] = (0.35, 0.75)
    exposure: tuple[float, float] = (0.8, 1.15)
    warmth: tuple[float, float] = (-0.08, 0.10)
    saturation: tuple[float, float] = (0.7, 1.1)
    grey: float = 0.0  # share of black-and-white pictures
    blur: tuple[float, float] = (0.0, 6.0)
    noise: tuple[float, float] = (0.5, 3.5)
    resolution: tuple[float, float] = (0.7, 1.0)
    quality: tuple[int, int] = (60, 95)
    backgrounds: tuple[str, ...] = BACKGROUNDS


def sample_camera(rng: np.random.Generator, style: CameraStyle) -> Camera:
    """Draws one camera."""
    yaw = rng.normal(0, style.yaw)
    if rng.random() < style.large_pose:
        yaw = rng.choice((-1, 1)) * rng.uniform(28, 50)
    view = View(
        yaw=float(np.clip(yaw, -50, 50)),
        pitch=float(np.clip(rng.normal(0, style.pitch), -18, 18)),
        roll=float(np.clip(rng.normal(0, style.roll), -25, 25)),
        centre=(0.5 + float(rng.normal(0, style.shift)), 0.40 + float(rng.normal(0, style.shift))),
        scale=float(rng.uniform(*style.scale)),
    )
    around = rng.uniform(-1.2, 1.2)
    up = rng.uniform(-0.1, 0.9)
    light = np.array((np.sin(around), -np.sin(up), np.cos(around) * np.cos(up) + 0.25))
    x, y, z = (light / np.linalg.norm(light)).tolist()
    return Camera(
        view=view,
        light=(x, y, z),
        contrast=float(rng.uniform(*style.contrast)),
        exposure=float(rng.uniform(*style.exposure)),
        warmth=float(rng.uniform(*style.warmth)),
        saturation=0.0 if rng.random() < style.grey else float(rng.uniform(*style.saturation)),
        blur=float(rng.uniform(*style.blur)),
        noise=float(rng.uniform(*style.noise)),
        resolution=float(rng.uniform(*style.resolution)),
        quality=int(rng.integers(style.quality[0], style.quality[1] + 1)),
        background=str(rng.choice(style.backgrounds)),
    )


def background(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """An RGB backdrop [size, size, 3] uint8."""
    base = rng.uniform(40, 215) + rng.normal(0, 26, 3)
    if kind == "plain":
        low = np.tile(base, (2, 2, 1))
    elif kind == "gradient":
        low = base + rng.normal(0, 22, (2, 2, 1)) + rng.normal(0, 9, (2, 2, 3))
    elif kind == "blurred":
        low = base + rng.normal(0, 34, (5, 5, 1)) + rng.normal(0, 20, (5, 5, 3))
    elif kind == "blocks":
        low = base + rng.normal(0, 20, (3, 3, 3))
    else:
        raise unknown("background", kind, BACKGROUNDS)
    low = np.clip(low, 10, 245).astype(np.float32)
    smooth = cv2.resize(low, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if kind == "blocks":
        for _ in range(6):
            x, y, w, h = (rng.uniform((-0.2, -0.2, 0.1, 0.1), (1, 1, 0.5, 0.7)) * size).astype(int)
            colour = np.clip(base + rng.normal(0, 40) + rng.normal(0, 24, 3), 0, 255).tolist()
            cv2.rectangle(smooth, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)
        smooth = cv2.GaussianBlur(smooth, (0, 0), 0.015 * size)
    return smooth


def shading(camera: Camera, project: Projection, relief: np.ndarray) -> np.ndarray:
    """Light on the head, [size, size], about 1 where it faces the viewer.

    The surface is an ellipsoid whose depth is raised by `relief` (head units).
    """
    size = relief.shape[0]
    grid = np.arange(size, dtype=np.float32)
    x0, y0 = project(HEAD_CENTRE)
    x = ((grid - x0) / project.scale).astype(np.float32)[None, :]
    y = ((grid - y0) / project.scale).astype(np.float32)[:, None]
    metric = (project.rotation / HEAD_RADII**2) @ project.rotation.T
    a, b, c, d, e, f = (float(metric[i]) for i in ((2, 2), (0, 2), (1, 2), (0, 0), (1, 1), (0, 1)))
    slope = b * x + c * y
    inside = slope * slope - a * (d * x * x + e * y * y + 2 * f * x * y - 1)
    z = (np.sqrt(np.maximum(inside, 0.0)) - slope) / a
    nx, ny, nz = d * x + f * y + b * z, f * x + e * y + c * z, b * x + c * y + a * z
    nz = np.maximum(nz, 0.05)
    # Depth gradients: of the ellipsoid -n_xy/n_z, of the relief by differences.
    gx = -nx / nz + cv2.Scharr(relief, cv2.CV_32F, 1, 0, scale=project.scale / 32)
    gy = -ny / nz + cv2.Scharr(relief, cv2.CV_32F, 0, 1, scale=project.scale / 32)
    gx, gy = (np.clip(g, -4, 4) for g in (gx, gy))
    lx, ly, lz = camera.light
    lit = np.maximum((lz - gx * lx - gy * ly) / np.sqrt(1 + gx * gx + gy * gy), 0)
    return np.maximum(1 - camera.contrast + camera.contrast * lit / max(lz, 0.4), 0.3)


def develop(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Float RGB 0..255 to a uint8 picture: colour cast, blur, lost resolution, noise."""
    size = image.shape[0]
    cast = np.array((1 + camera.warmth, 1.0, 1 - camera.warmth), np.float32) * camera.exposure
    image = image * cast
    if camera.saturation != 1.0:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        image = grey + (image - grey) * np.float32(camera.saturation)
    small = round(size * camera.resolution)
    if small < size:
        low = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(low, (size, size), interpolation=cv2.INTER_LINEAR)
    if camera.blur * size > 250:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur * size / 1000)
    if camera.noise > 0:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * camera.noise
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def encode(image: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of an RGB picture."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
