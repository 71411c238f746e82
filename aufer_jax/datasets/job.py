"""One dataset to be prepared: what was listed, and what was chosen."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax import errors
from aufer_jax.datasets import splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.items import Items
from aufer_jax.datasets.listing import Listing

_VERSION = "3"  # of what is written: another version prepares anew


@dataclasses.dataclass(frozen=True)
class Job:
    """One dataset to be prepared.

    Attributes:
      name: what users will call it.
      card: of its source.
      shares: split -> the share of records it takes where the source has no splits.
      seed: of the splits.
      folder: where it is kept, the report beside the records.
    """

    name: str
    card: Card
    listing: Listing
    items: Items
    shares: Mapping[str, float]
    seed: int
    folder: pathlib.Path

    @functools.cached_property
    def kept(self) -> list[Any]:
        """What is listed, without what was left out."""
        return self.listing.kept()

    @property
    def source(self) -> pathlib.Path:
        """The folder or file that all of it comes from."""
        return self.listing.files.source

    def expression(self, face: Any) -> int:
        """The class of an item; -1: unknown."""
        expression = self.listing.label_map[face.label]
        return self.listing.expressions.index(expression) if expression else -1

    def fingerprint(self) -> str:
        """A name for the content: another one if a file, a label or a choice is another."""
        digest = hashlib.blake2b(digest_size=8)
        listing = self.listing
        choices = [listing.expressions, listing.aus, self.shares, self.seed, listing.label_map]
        digest.update(json.dumps([_VERSION, self.card.name, *choices]).encode())
        for face in self.kept:
            texts = (
                face.file,
                self.items.stamp(face),
                face.label,
                face.subject,
                face.split,
                *face.also,
            )
            digest.update("\0".join((*texts, face.note, "")).encode())
            for array in (face.landmarks, face.au, face.au_known, face.votes):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
            for array in (face.blendshapes, face.mesh_features):
                if array is not None:  # datasets from before there were any keep their name
                    digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def check_splits(self) -> None:
        """All items have a split, or none."""
        faces = self.listing.faces
        without = [face.file for face in faces if not face.split]
        if 0 < len(without) < len(faces):
            raise errors.UserError(
                f"source: {len(without)} of {len(faces)} {self.card.kind}s have no split while "
                f"others have one: {', '.join(without[:5])}"
            )


def choose_splits(
    job: Job, faces: Sequence[Any], checked: Mapping[str, Any]
) -> tuple[list[str], str]:
    """The split of each face, and how it was decided."""
    given = [face.split for face in faces]
    known = any(face.subject for face in faces)
    copies = f"single {job.card.kind}s, copies of one together"
    what = "whole subjects" if known else copies
    shares, told = job.shares, set(given)
    if told - {""} - {splits.TRAIN}:
        shares = {splits.VALIDATION: shares[splits.VALIDATION]}
    # Folds train, too: each gives up a part of its own for validation.
    divided = [s for s in sorted(told) if splits.trains(s) and splits.validation_of(s) not in told]
    if not divided or not any(shares.values()):
        return [split or splits.TRAIN for split in given], "as given by the source"
    for whole in divided:
        places = [i for i, split in enumerate(given) if split == whole]
        mine = [faces[i] for i in places]
        # Copies of one file are never on both sides, even where subjects are unknown.
        groups = [face.subject or f"\0{checked[face.file].digest}" for face in mine]
        dealt = splits.assign(list(map(job.expression, mine)), groups, shares, job.seed)
        named = {splits.TRAIN: whole or splits.TRAIN, splits.TEST: splits.TEST}
        named[splits.VALIDATION] = splits.validation_of(whole)
        for i, split in zip(places, dealt, strict=True):
            given[i] = named[split]
    shown = ", ".join(f"{split} {share:g}" for split, share in shares.items() if share)
    rule = f"{shown} by seed {job.seed}, {what}"
    if told != {""}:
        whole = "each fold" if divided != [splits.TRAIN] else "its train split"
        rule = f"as given by the source; from {whole}: {rule}"
    return given, rule
