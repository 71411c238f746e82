"""RAF-AU: aligned faces with AUs coded by hand."""

import dataclasses
import re
from collections import Counter

import numpy as np

from aufer_jax import facs
from aufer_jax.datasets import splits
from aufer_jax.datasets.file_dataset import Face
from aufer_jax.datasets.published import Published, Reading
from aufer_jax.sources.files import base_name

LIST = "RAFAU_label.txt"
SPLIT_LISTS = {
    "aligned_split_train_label.txt": splits.TRAIN,
    "aligned_split_test_label.txt": splits.TEST,
}
IMAGES = "aligned"
NOTHING = "null"
NOT_UNDERSTOOD = "Labels that are no AU, not used"
DISAGREE = f"Images whose AUs differ between {LIST} and the split lists; the split lists count"

_TOKEN = re.compile(r"([A-Za-z]*)(\d+)([A-Za-z]*)")


@dataclasses.dataclass(frozen=True)
class RafAu(Published):
    """`RAFAU_label.txt` (`0001.jpg 1+2+L12`), or two lists with a column for each of 21 AUs.

    Attributes:
      sides: an AU of one side only (`L12`) is present; True also keeps it in the record's note.
    """

    name = "rafau"
    how_to_get = f"ask its authors (whdeng.cn/RAF/model3.html) for {LIST} and {IMAGES}"
    aus = facs.AU_VIT_21
    test_share = 0.0

    sides: bool = False

    def read(self, reading: Reading) -> None:
        files = reading.files
        lists = [path for path in map(files.shallowest, SPLIT_LISTS) if path]
        if len(lists) == 1:
            other = [name for name in SPLIT_LISTS if name != base_name(lists[0])]
            raise self.lacks(files, f"{other[0]}, the other half of {lists[0]}")
        letters = self._letters(reading, files.shallowest(LIST) or "", bool(lists))
        if lists:
            for path in lists:
                self._columns(reading, path, letters)
            return
        if not letters:
            raise self.lacks(files, f"{LIST} or {' and '.join(SPLIT_LISTS)}")
        for name, (present, note) in letters.items():
            self._add(reading, name, present, note, "")

    def _letters(
        self, reading: Reading, path: str, compared: bool
    ) -> dict[str, tuple[np.ndarray, str]]:
        """File -> its AUs [21] and its one-sided AUs, of the list with letters."""
        found: dict[str, tuple[np.ndarray, str]] = {}
        others: Counter[int] = Counter()
        for line in reading.files.open_text(path).splitlines() if path else ():
            name, *rest = line.split() or [""]
            if not name:
                continue
            if name in found:
                reading.note(reading.second_rows, name)
                continue
            if len(rest) != 1:
                reading.problems.add(f"lines of {path} that are not NNNN.jpg and AUs", line)
                continue
            present, sided = np.zeros(len(self.aus), np.float32), []
            for token in rest[0].split("+") if rest[0] != NOTHING else ():
                written = _TOKEN.fullmatch(token)
                if written is None:
                    reading.note(NOT_UNDERSTOOD, f"{name}: {token}")
                elif int(written[2]) in self.aus:
                    present[self.aus.index(int(written[2]))] = 1
                    sided += [token] if written[1] or written[3] else []
                else:
                    others[int(written[2])] += 1
            found[name] = present, " ".join(sided) if self.sides else ""
        if others and not compared:
            shown = ", ".join(f"{au} ({count})" for au, count in sorted(others.items()))
            reading.remarks.append(f"AUs that are not among the 21, with their images: {shown}")
        return found

    def _columns(
        self, reading: Reading, path: str, letters: dict[str, tuple[np.ndarray, str]]
    ) -> None:
        """The faces of a list with a 0 or 1 for each of the 21 AUs."""
        for line in reading.files.open_text(path).splitlines():
            name, *cells = line.split() or [""]
            if not name:
                continue
            if len(cells) != len(self.aus) or set(cells) - {"0", "1"}:
                reading.problems.add(f"lines of {path} that are not a name and 21 times 0/1", line)
                continue
            present = np.array(cells, np.float32)
            other, note = letters.get(name, (present, ""))
            if not np.array_equal(present, other):
                reading.note(DISAGREE, name)
            self._add(reading, name, present, note, SPLIT_LISTS[base_name(path)])

    def _add(self, reading: Reading, name: str, present: np.ndarray, note: str, split: str) -> None:
        found = reading.find(f"{IMAGES}/{name.rsplit('.', 1)[0]}_aligned.jpg")
        if found:
            known = np.ones(len(self.aus), bool)
            reading.add(Face(found, split=split, au=present, au_known=known, note=note))
