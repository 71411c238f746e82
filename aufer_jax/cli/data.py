"""`aufer data`: datasets."""

import dataclasses
import pathlib

from aufer_jax.cli.parse import Group, Verb


def _preparations() -> dict[str, Verb]:
    from aufer_jax.datasets import catalog

    return {name: _preparation(name) for name in catalog.cards()}


def _preparation(which: str) -> Verb:
    """The verb that prepares one dataset, with the dataset's own options and no others."""
    from aufer_jax.datasets import catalog

    card = catalog.card(which)

    def prepare(
        *,
        dataset: card.options,  # pyright: ignore
        source: str,
        name: str = "",
        data_dir: str | None = None,
        validation: float = 0.1,
        test: float | None = None,
        seed: int = 0,
        workers: int | None = None,
        beam: bool = False,
        beam_options: str = "",
    ) -> None:
        from aufer_jax.datasets.prepare import prepare

        own = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
        report = prepare(
            which, source, name=name, data_dir=data_dir, validation=validation, test=test,
            seed=seed, workers=workers, beam=beam, beam_options=beam_options, **own,
        )  # fmt: skip
        print(report)
        sheet = pathlib.Path(report.folder) / "contact_sheet.png"
        config = "configs/audfer.py" if card.kind == "clip" else "configs/mvfer.py"
        there = f" --config.data.dir={data_dir}" if data_dir else ""
        print(f"Next: look at {sheet}, then aufer train {config}:{report.name}{there}")

    kind = f"your own {card.kind}s" if card.own else f"{card.kind}s; {card.how_to_get}"
    prepare.__doc__ = f"""{kind}.

    Args:
      source: its folder, or a .zip.
      name: of the prepared dataset; needed for folder and clips.
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
      validation: share of the validation split.
      test: share of the test split, where the source has none; default: {card.test_share}.
      seed: of the random choice of splits.
      workers: threads; default: one per core.
      beam: check and write with Apache Beam, for very large datasets.
      beam_options: its flags in one text: "--runner=... --direct_num_workers=8".
    """
    return prepare


prepare = Group("make a dataset ready for training, and say what was found in it", _preparations)


def list_(*, data_dir: str | None = None) -> None:
    """List the datasets.

    Args:
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
    """
    from aufer_jax.datasets import catalog

    for name in catalog.names(data_dir):
        info = catalog.info(name, data_dir)
        classes = ", ".join(info.expressions) or "no expression labels"
        images = sum(count or 0 for count in info.splits.values())
        print(f"{name:14} {info.kind:6} {images:7} {len(info.aus):3} AUs  {classes}")
    for name in catalog.unprepared(data_dir):
        print(f"{name:14} not prepared: aufer data prepare {name} --source DIR")
    print(
        "Next: your own faces: aufer data prepare folder --name NAME --source DIR; your own clips: "
        "aufer data prepare clips --name NAME --source DIR"
    )


def inspect(
    dataset: str,
    /,
    *,
    data_dir: str | None = None,
    splits: tuple[str, ...] = (),
    samples: int = 5,
    threshold: float = 1.0,
    present: bool = False,
    out: str = "",
) -> None:
    """Show what a dataset contains: counts, AU base rates, sizes, sheets of samples.

    Args:
      dataset: one of `aufer data list`.
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
      splits: default: all; or pieces, such as train[:1000].
      samples: of each class in the pictures; 0 draws none.
      threshold: intensity from which an AU is present.
      present: heatmaps of the AUs present, not of all.
      out: folder; default: inspect/DATASET.
    """
    from aufer_jax.datasets import inspection

    out = out or f"inspect/{dataset}"
    found = inspection.inspect(
        dataset, data_dir=data_dir, splits=splits, out=out, samples=samples, threshold=threshold,
        present_only=present,
    )  # fmt: skip
    print(found, end="")
    print("written to", out)
    config = "configs/audfer.py" if found.info.kind == "clip" else "configs/mvfer.py"
    print(f"Next: aufer train {config}:{dataset}")


def bias(
    datasets: tuple[str, ...],
    /,
    *,
    data_dir: str | None = None,
    split: str = "train",
    aus: str = "common_13",
    threshold: float = 1.0,
    intensities: bool = False,
    out: str = "bias",
) -> None:
    """Compare the faces and AUs of datasets, expression by expression.

    Args:
      datasets: of `aufer data list`.
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
      split: or a piece of it, such as train[:1000].
      aus: which AUs, a name of `facs.AU_ORDERS`.
      threshold: intensity from which an AU is present.
      intensities: compare intensities, not presence.
      out: folder for bias.md, bias.json and the pictures.
    """
    from aufer_jax import bias

    found = bias.measure(
        datasets, data_dir=data_dir, split=split, out=out, aus=aus,
        threshold=None if intensities else threshold,
    )  # fmt: skip
    if found["without_aus"]:
        print(f"without any of these AUs, so only their faces: {', '.join(found['without_aus'])}")
    print("written to", out)
    print(f"Next: read {out}/bias.md")


def remove(dataset: str, /, *, data_dir: str | None = None) -> None:
    """Remove a prepared dataset, or the faces drawn for a synthetic one.

    Args:
      dataset: of `aufer data list`; your photographs stay where they are.
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
    """
    from aufer_jax.datasets import removal

    removed = removal.remove(dataset, data_dir)
    names = ", ".join(path.name for path in removed)
    where = next(iter(removed)).parent
    print(f"removed from {where}, {sum(removed.values()) / 1e6:.1f} MB: {names}")
    if stays := removal.left(dataset, data_dir):
        print(f"not ours, left where they are: {', '.join(stays)}")
    print("Next: aufer data list")
