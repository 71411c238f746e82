"""Landmarks of photographs as they are: what is found, what is not, and that a dataset gets them."""

import shutil

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data

from aufer_jax import cli, errors
from aufer_jax.faces import chain, find

PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[20:276, 100:356])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """One as it is, one on its side that its EXIF data turns, one without a face, one that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    for label in ("happiness", "neutral"):
        (folder / label).mkdir()
    PIL.Image.fromarray(PORTRAIT).save(folder / "happiness" / "a.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.rot90(PORTRAIT)).save(
        folder / "neutral" / "b.jpg", exif=exif, quality=95
    )
    cv2.imwrite(str(folder / "neutral" / "c.png"), np.full((64, 64, 3), 99, np.uint8))
    (folder / "neutral" / "d.jpg").write_text("no picture")
    return folder


def test_landmarks_are_in_pixels_of_the_files(photographs, tmp_path):
    count, without = find.landmarks(photographs, tmp_path / "new" / "points.npz")
    assert count == 2
    assert without == [
        "neutral/c.png: no face found", "neutral/d.jpg: not usable, not an image file",
    ]  # fmt: skip
    held = np.load(tmp_path / "new" / "points.npz")
    assert held["files"].tolist() == ["happiness/a.png", "neutral/b.jpg"]
    upright = chain.MeshDetector()(PORTRAIT)[0].landmarks
    np.testing.assert_allclose(held["points"][0], upright, atol=1e-3)
    # np.rot90 moves (x, y) to (y, width - 1 - x).
    on_its_side = np.stack([upright[:, 1], 255 - upright[:, 0]], 1)
    assert np.abs(held["points"][1] - on_its_side).max() < 3
    with pytest.raises(errors.UserError, match=r"out: 'points\.csv' must end with \.npz"):
        find.landmarks(photographs, "points.csv")


def test_a_dataset_is_prepared_with_them(photographs, tmp_path, capsys):
    shutil.copytree(photographs, tmp_path / "whole")
    (tmp_path / "whole" / "neutral" / "d.jpg").unlink()
    out = str(tmp_path / "points.npz")
    assert cli.main(["faces", "landmarks", str(tmp_path / "whole"), "--out", out]) == 0
    said = capsys.readouterr().out
    assert "neutral/c.png: no face found\n2 photographs have a face, 1 have none" in said
    words = ["data", "prepare", "folder", "--name", "whole", "--source", str(tmp_path / "whole")]
    words += [
        "--landmarks",
        out,
        "--data-dir",
        str(tmp_path / "data"),
        "--validation",
        "0",
        "--test",
        "0",
    ]
    assert cli.main(words) == 0
    assert "## Without landmarks: 1\n- neutral/c.png\n" in capsys.readouterr().out
