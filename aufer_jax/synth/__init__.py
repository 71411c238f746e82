"""Procedural faces with exact AUs, landmarks and expressions: the embedded default data.

record = synth.image_record("synth_a", "train", 0)
clip = synth.clip_record("synth_clips", "train", 0)
picture = synth.render(synth.sample_identity(rng), {6: 4, 12: 4, 25: 3}).image
"""

from aufer_jax.synth.camera import Camera, CameraStyle
from aufer_jax.synth.clips import clip_record
from aufer_jax.synth.dialects import (
    CLIP_SETS,
    DIALECTS,
    LADDER,
    SPLITS,
    ClipSet,
    Dialect,
    key,
    split_sizes,
)
from aufer_jax.synth.expressions import EXPRESSIONS
from aufer_jax.synth.face import Rendering, render
from aufer_jax.synth.geometry import AUS, View
from aufer_jax.synth.identity import Identity, sample_identity
from aufer_jax.synth.occluders import OCCLUSIONS
from aufer_jax.synth.records import Scene, image_record, image_scene, render_scene
from aufer_jax.synth.sheet import contact_sheet, expression_sheet

VERSION = "1.0.0"  # of what is drawn: prepared sets of another version are drawn anew

__all__ = [
    "AUS",
    "CLIP_SETS",
    "DIALECTS",
    "EXPRESSIONS",
    "LADDER",
    "OCCLUSIONS",
    "SPLITS",
    "VERSION",
    "Camera",
    "CameraStyle",
    "ClipSet",
    "Dialect",
    "Identity",
    "Rendering",
    "Scene",
    "View",
    "clip_record",
    "contact_sheet",
    "expression_sheet",
    "image_record",
    "image_scene",
    "key",
    "render",
    "render_scene",
    "sample_identity",
    "split_sizes",
]
