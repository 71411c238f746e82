"""Writes the contact sheet of expressions: `python -m aufer_jax.synth OUT.png`."""

import sys

import cv2

from aufer_jax.synth.sheet import expression_sheet


def main(arguments: list[str]) -> None:
    """Writes the sheet to the one path given."""
    if len(arguments) != 1 or not arguments[0].endswith(".png"):
        raise SystemExit("usage: python -m aufer_jax.synth OUT.png")
    small = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    if not cv2.imwrite(arguments[0], expression_sheet()[..., ::-1], small):
        raise SystemExit(f"cannot write {arguments[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
