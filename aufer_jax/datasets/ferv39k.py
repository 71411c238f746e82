"""FERV39k: clips of 22 scenes, seven expressions, one list of clips to train on and one to test on."""

import dataclasses
from typing import ClassVar

from aufer_jax import facs
from aufer_jax.datasets import published, published_clips, splits
from aufer_jax.datasets.published_clips import ClipReading

LISTS = {  # the authors', Former-DFER's, MAE-DFER's
    split: (f"{split}_All.csv", f"FERV39K_{split}.txt", f"{split}.csv")
    for split in (splits.TRAIN, splits.TEST)
}
FOLDER = "4_setups/All_scenes"
FRAMES = "2_ClipsforFaceCrop"

FOLDERS_DIFFER = "Clips whose folder names another expression than the list, which counts"


@dataclasses.dataclass(frozen=True)
class Ferv39k(published_clips.PublishedClips):
    """Lines `Action/Happy/0267 Happy` without a header; frames in `<scene>/<Expression>/<number>/`.

    Lists that give numbers count them in different orders, so there the folder tells the expression.
    """

    name = "ferv39k"
    how_to_get = (
        f"ask its authors (wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html) for "
        f"{FOLDER}/{LISTS['train'][0]}, {LISTS['test'][0]} and {FRAMES}"
    )
    order: ClassVar[str] = "ferv39k"
    variants: ClassVar[tuple[str, ...]] = (FRAMES,)

    def label_map(self) -> dict[str, str | None]:
        return {name: name for name in facs.expressions_of(self.order)}

    def read(self, reading: published.Reading) -> None:
        assert isinstance(reading, ClipReading)
        place = self.place(reading.files)
        for split, names in LISTS.items():
            path = next(filter(None, map(place.shallowest, names)), None)
            if path is None:
                raise self.lacks(reading.files, f"{FOLDER}/{names[0]}")
            for row in published_clips.rows(path, place.open_text(path), reading.problems):
                scene_expression_number = "/".join(row.name.split("/")[-3:])
                folder = (["", *row.name.split("/")])[-2]
                try:
                    said = facs.expression(folder if row.label.isdigit() else row.label)
                    if said != facs.expression(folder):
                        reading.note(FOLDERS_DIFFER, f"{row.name}: {row.label}")
                except ValueError:
                    what = f"lines of {path} that are not <scene>/<Expression>/<number>"
                    reading.problems.add(what, row.name)
                    continue
                self.add(reading, scene_expression_number, said, split)
