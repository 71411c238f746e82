"""`aufer faces`: from photographs to aligned faces and rough AUs."""

from typing import Literal


def align(
    source: str,
    /,
    *,
    out: str,
    detector: Literal["mesh", "files"] = "mesh",
    landmarks: str = "",
    size: int = 224,
    margin: float = 0.0,
    choose: Literal["largest", "score", "centre"] = "largest",
    aus: bool = False,
) -> None:
    """Cut the faces out of photographs and align them.

    Args:
      source: folder, .zip or one photograph.
      out: a new folder.
      detector: what finds the faces.
      landmarks: with --detector files: another program's landmarks; see docs/faces.md.
      size: height and width of the crops.
      margin: more on each side, as a share of the size.
      choose: which of several faces.
      aus: also write aus.csv: AUs told from the mesh's blendshapes, with another detector from landmarks.
    """
    from aufer_jax.faces import crops

    given = {"path": landmarks} if landmarks else {}
    print(
        crops.align_folder(
            source, out=out, detector=detector, size=size, margin=margin, choose=choose, aus=aus,
            **given,
        )
    )  # fmt: skip
    print(f"Next: aufer data prepare folder --name NAME --source {out}")


def landmarks(
    source: str, /, *, out: str, choose: Literal["largest", "score", "centre"] = "largest"
) -> None:
    """Find the landmarks of photographs that stay as they are, for data prepare --landmarks.

    Args:
      source: folder, .zip or one photograph.
      out: a .npz file.
      choose: which of several faces.
    """
    from aufer_jax.faces import find

    count, without = find.landmarks(source, out, choose)
    for line in without[:20]:
        print(line)
    if len(without) > 20:
        print(f"... and {len(without) - 20} more")
    print(f"{count} photographs have a face, {len(without)} have none; written to {out}")
    print(f"Next: aufer data prepare folder --source {source} --landmarks {out} --name NAME")


def aus(landmarks: str, /, *, out: str, neutral: tuple[str, ...] = ()) -> None:
    """Estimate AUs from landmarks, into a CSV file that `aufer data prepare --au` reads.

    Args:
      landmarks: file, folder or .zip of landmarks; see docs/faces.md.
      out: CSV file.
      neutral: images of this one person at rest.
    """
    from aufer_jax.faces import geometric

    count, unknown = geometric.from_files(landmarks, out, neutral)
    print(f"{count} images, {unknown} of them without all 68 points; written to {out}")
    print(f"Next: aufer data prepare folder --name NAME --source DIR --au {out}")
