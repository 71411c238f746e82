"""Clips of one person: onset, apex and offset of an expression, blinks, head motion, stray frames."""

from dataclasses import replace

import numpy as np

from aufer_jax.synth.camera import Camera, encode, sample_camera
from aufer_jax.synth.dialects import CLIP_SETS, ClipSet, key, lookup
from aufer_jax.synth.expressions import EXPRESSIONS, confuse, draw_au, draw_balance
from aufer_jax.synth.face import render
from aufer_jax.synth.geometry import AU_INDEX, AUS
from aufer_jax.synth.records import generator, known_aus, stratified, subject_of


def _ramp(t: np.ndarray, start: np.ndarray, length: float) -> np.ndarray:
    """Smooth step from 0 to 1."""
    x = np.clip((t - start) / length, 0, 1)
    return x * x * (3 - 2 * x)


def _wander(rng: np.random.Generator, frames: int, amount: float) -> np.ndarray:
    """A slow random movement [T] of about the given size."""
    t = np.arange(frames)
    periods, phases = rng.uniform(18, 70, 3), rng.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * t[:, None] / periods + phases) * rng.normal(0, amount, 3)
    return waves.sum(1)


def _dynamics(rng: np.random.Generator, c: ClipSet, expression: str, frames: int) -> np.ndarray:
    """AU intensities [T, 24] of a clip."""
    t = np.arange(frames, dtype=float)
    apex = draw_au(rng, c.habit, expression, strength=c.strength, stray=c.stray)
    start = rng.uniform(-0.15, 0.35) * frames
    hold = rng.uniform(0.15, 0.3) if rng.random() < c.faint else rng.uniform(0.4, 0.9)
    onset, offset = rng.uniform(3, 8, 2)
    delay = rng.uniform(0, 3, len(AUS))
    rise = _ramp(t[:, None], start + delay, onset)
    fall = _ramp(t[:, None], start + delay + onset + hold * frames, offset)
    au = apex * rise * (1 - fall)
    au *= 1 + np.stack([_wander(rng, frames, 0.05) for _ in AUS], 1)
    if rng.random() < c.unrelated:
        other = EXPRESSIONS[rng.integers(1, 7)]
        stray = draw_au(rng, c.habit, other, strength=(0.5, 0.9), stray=0)
        first, count = int(rng.integers(frames)), int(rng.integers(2, 5))
        au[first : first + count] = stray
    if rng.random() < c.talking:
        speech = np.abs(np.sin(2 * np.pi * t / rng.uniform(4, 7) + rng.uniform(0, 6)))
        speech *= 2.2 * np.clip(0.6 + _wander(rng, frames, 0.4), 0, 1)
        for number, share in ((25, 1.0), (26, 0.7)):
            au[:, AU_INDEX[number]] = np.maximum(au[:, AU_INDEX[number]], share * speech)
    blink = rng.uniform(5, 40)
    while blink < frames:
        for k, level in enumerate((2.5, 5.0, 3.5, 1.0)):
            if int(blink) + k < frames:
                au[int(blink) + k, AU_INDEX[45]] = level
        blink += rng.uniform(20, 60)
    return np.clip(au, 0, 5)


def _cameras(rng: np.random.Generator, camera: Camera, frames: int) -> list[Camera]:
    """The camera of each frame: the head turns, nods and drifts smoothly."""
    view = camera.view
    yaw, pitch, roll = (_wander(rng, frames, a) for a in (3.5, 2.0, 1.5))
    dx, dy, zoom = (_wander(rng, frames, a) for a in (0.006, 0.006, 0.006))
    return [
        replace(
            camera,
            view=replace(
                view,
                yaw=float(np.clip(view.yaw + yaw[t], -55, 55)),
                pitch=float(view.pitch + pitch[t]),
                roll=float(view.roll + roll[t]),
                centre=(view.centre[0] + float(dx[t]), view.centre[1] + float(dy[t])),
                scale=view.scale * (1 + float(zoom[t])),
            ),
        )
        for t in range(frames)
    ]


def clip_record(name: str, split: str, index: int, *, size: int = 112, seed: int = 0) -> dict:
    """One clip; it depends on the arguments alone.

    Returns a dict: `frames` list of JPEG bytes, `expression` int in the clip set's order, `au`
    float32 [T, 24] intensities 0..5 of each frame, `au_known` bool [24], `landmarks` float32
    [T, 68, 2], `subject`, `key`. The label names the clip: at the ends the face may be neutral,
    and some clips hold a few frames of another expression.

    >>> record = clip_record("synth_clips", "train", 0, size=32)
    >>> len(record["frames"]) == len(record["au"]) == len(record["landmarks"])
    True
    """
    c = lookup(CLIP_SETS, name, split, index)
    rng = generator(seed, name, split, "clip", index)
    offset = generator(seed, name, split, "classes").random()
    expression = c.expressions[stratified(c.shares, index, offset)]
    subject, who = subject_of(name, split, c.sizes[split], c.clips_per_subject, seed, rng)
    frames = int(rng.integers(c.frames[0], c.frames[1] + 1))
    au = _dynamics(rng, c, expression, frames)
    balance = draw_balance(rng, expression)
    cameras = _cameras(rng, sample_camera(rng, c.camera), frames)
    gaze = np.clip(np.stack([_wander(rng, frames, 0.15) for _ in range(2)], 1), -0.6, 0.6)
    label = confuse(rng, c.expressions, expression, c.label_noise if split == "train" else 0.0)
    picture_seed = int(rng.integers(2**31))
    pictures = [
        render(
            who,
            au[t],
            cameras[t],
            size=size,
            balance=balance,
            gaze=(float(gaze[t, 0]), float(gaze[t, 1])),
            seed=picture_seed,
            frame=t,
        )
        for t in range(frames)
    ]
    known = known_aus(c.aus)
    return {
        "frames": [encode(p.image, cameras[0].quality) for p in pictures],
        "expression": c.expressions.index(label),
        "au": np.where(known, au, 0).astype(np.float32),
        "au_known": known,
        "landmarks": np.stack([p.landmarks for p in pictures]),
        "subject": subject,
        "key": key(name, split, index),
    }
