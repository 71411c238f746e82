"""Writes docs/img/predict.webp: a drawn face that moves, and what the network `clean` says of it.

python docs/moving.py
"""

import itertools
import pathlib

import cv2
import numpy as np
from PIL import Image

from aufer_jax import facs, synth
from aufer_jax.runs import Predictor, drawing
from aufer_jax.synth.expressions import COMMON

OUT = pathlib.Path(__file__).parent / "img" / "predict.webp"
SHOWN = ("neutral", "happiness", "neutral", "surprise", "anger", "neutral")
SIZE, WIDTH = 320, 640  # pixels: of the drawn picture, of what is written
MOVE, HOLD, RATE = 7, 8, 12  # frames from one expression to the next and at it; a second
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 23, 25, 26)


def faces() -> list[np.ndarray]:
    """The frames of one person, whose head turns a little."""
    who = synth.sample_identity(np.random.default_rng(7))
    keys = [synth.face.au_vector(COMMON[name][0][1]) for name in SHOWN]
    way = np.concatenate([np.full(HOLD, 0.0), 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, MOVE))])
    aus = [a + (b - a) * share for a, b in itertools.pairwise(keys) for share in way]
    frames = []
    for t, au in enumerate(aus):
        view = synth.View(
            yaw=9 * np.sin(2 * np.pi * t / len(aus)), roll=3 * np.sin(4 * np.pi * t / len(aus))
        )
        frames.append(
            synth.render(who, au, synth.Camera(view=view), size=SIZE, seed=1, frame=t).image
        )
    return frames


def main() -> None:
    predictor = Predictor.load("clean")
    frames = faces()
    table = predictor.predict(frames)
    bars = [*predictor.expressions, *(facs.AUS[au].label for au in AUS)]
    drawn = []
    for image, row in zip(frames, range(len(table["face"])), strict=True):
        canvas = drawing.draw(image, [{name: values[row] for name, values in table.items()}], bars)
        height = round(canvas.shape[0] * WIDTH / canvas.shape[1])
        shown = cv2.resize(canvas, (WIDTH, height), interpolation=cv2.INTER_AREA)
        drawn.append(Image.fromarray(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)))
    options = {
        "append_images": drawn[1:],
        "duration": 1000 // RATE,
        "loop": 0,
        "quality": 55,
        "method": 6,
    }
    drawn[0].save(OUT, save_all=True, **options)
    drawn[len(drawn) // 4].save(OUT.with_suffix(".still.png"))
    print(f"{OUT}: {len(drawn)} frames, {OUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
