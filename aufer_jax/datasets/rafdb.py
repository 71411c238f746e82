"""RAF-DB, basic expressions: aligned faces and one list with the labels of train and test."""

import dataclasses
from typing import ClassVar

from aufer_jax.datasets import splits, subsets
from aufer_jax.datasets.file_dataset import Face
from aufer_jax.datasets.published import Reading

LIST = "EmoLabel/list_patition_label.txt"  # spelled so
IMAGES = "Image/aligned"


@dataclasses.dataclass(frozen=True)
class RafDb(subsets.WithSubsets):
    """`EmoLabel/list_patition_label.txt` and `Image/aligned/<stem>_aligned.jpg`.

    Landmarks in `Annotation` are in the originals' pixels, which the aligned images do not have.
    """

    name = "rafdb"
    how_to_get = f"ask its authors (whdeng.cn/RAF/model1.html) for {LIST} and {IMAGES}"
    order = subset_order = "rafdb"
    subset_files: ClassVar = {
        subsets.OCCLUDED: ("rafdb_occlusion_list.txt", subsets.raf_occlusion),
        subsets.POSE30: ("val_raf_db_list.txt", subsets.folder_and_name),
        subsets.POSE45: ("val_raf_db_list_45.txt", subsets.folder_and_name),
    }

    def read(self, reading: Reading) -> None:
        path = self.label_file(reading.files, LIST, "list_partition_label.txt")
        for number, line in enumerate(reading.files.open_text(path).splitlines(), 1):
            name, *labels = line.split() or [""]
            split = splits.named(name.partition("_")[0])
            if not name:
                continue
            if len(labels) != 1 or split not in (splits.TRAIN, splits.TEST):
                reading.problems.add(
                    f"lines of {path} that are not train_NNNNN.jpg or test_NNNN.jpg and a label",
                    f"{number}: {line}",
                )
                continue
            found = reading.find(f"{IMAGES}/{name.rsplit('.', 1)[0]}_aligned.jpg")
            if found:
                reading.add(Face(found, labels[0], split=split))
        if any("Annotation/" in file for file in reading.files.names):
            reading.remarks.append(
                "landmarks in Annotation are not used: they are in the pixels of Image/original"
            )
