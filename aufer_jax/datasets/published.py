"""What builders of published datasets share: their label orders, missing images, published counts."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from aufer_jax import errors, facs
from aufer_jax.datasets import splits
from aufer_jax.datasets.file_dataset import Face, Listing, Problems, WithAUs
from aufer_jax.sources.files import Files, Images

RESEARCH = "non-commercial research only, no redistribution"


@dataclasses.dataclass
class Reading:
    """A source while its label files are read: what was found, what is wrong, what is to be told."""

    second_rows: ClassVar[str] = "Second rows of an image, not used"

    files: Files
    faces: list[Face] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)  # images named but not there
    problems: Problems = dataclasses.field(default_factory=Problems)
    findings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)
    images: Images | None = None  # see `Listing`
    _listed: set[str] = dataclasses.field(default_factory=set)

    def add(self, face: Face) -> None:
        if face.file in self._listed:
            self.note(self.second_rows, face.file)
            return
        self._listed.add(face.file)
        self.faces.append(face)

    def find(self, *written: str) -> str:
        """The path of the image that has one of these paths or names; empty if there is none."""
        for name in written:
            found = self.files.find(name)
            if len(found) > 1:
                found = [path for path in found if path.endswith(f"/{name}")]
            if len(found) == 1:
                return found[0]
        self.missing.append(written[0])
        return ""

    def note(self, heading: str, item: str) -> None:
        self.findings.setdefault(heading, []).append(item)


@dataclasses.dataclass(frozen=True)
class Published(WithAUs):
    """A dataset of the papers; subclasses give `read(reading)`.

    Attributes:
      skip_missing: goes on without images that the label files name but the source lacks.
    """

    licence = RESEARCH
    # One of `facs.LABEL_ORDERS`, also of the published counts; empty: no expression labels.
    order: ClassVar[str] = ""
    aus: ClassVar[tuple[int, ...]] = ()  # that its files annotate
    a_kind: ClassVar[str] = "an image"

    skip_missing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        known = facs.expressions_of(self.order) if self.order else ()
        for expression in self.expressions:
            if not known:
                raise errors.UserError(f"expressions: {self.name} has no expression labels")
            if expression not in known:
                raise errors.unknown(f"expressions of {self.name}", expression, known)

    def read(self, reading: Reading) -> None:
        """Fills `reading` from the source's label files; opens no image."""
        raise TypeError(f"{type(self).__name__} does not say how {reading.files.source} is read")

    def opened(self, files: Files) -> Reading:
        return Reading(files)

    def label_map(self) -> dict[str, str | None]:
        """What each label in the files means; see `Listing`."""
        if not self.order:
            return {"": ""}
        order = facs.LABEL_ORDERS[self.order]
        numbers = {str(order.first + i): name for i, name in enumerate(order.expressions)}
        return {**numbers, **{str(number): None for number in order.dropped}}

    def classes(self) -> tuple[str, ...]:
        return self.expressions or (facs.expressions_of(self.order) if self.order else ())

    def listing(self, files: Files) -> Listing:
        reading = self.opened(files)
        self.read(reading)
        meanings = self.label_map()
        if self.order:
            classes = self.classes()
            meanings = {k: None if v and v not in classes else v for k, v in meanings.items()}
        self._check(reading, meanings)
        if reading.missing:
            reading.findings[f"Rows of the label files without {self.a_kind}"] = reading.missing
        listing = Listing(
            reading.faces,
            self.classes(),
            meanings,
            aus=self.aus,
            remarks=reading.remarks,
            findings=reading.findings,
            images=reading.images,
        )
        self.join_au_file(files, listing)
        return listing

    def _check(self, reading: Reading, meanings: Mapping[str, str | None]) -> None:
        problems = reading.problems
        for face in reading.faces:
            if face.label not in meanings:
                known = ", ".join(meanings)
                problems.add(f"labels that are none of {known}", f"{face.label} of {face.file}")
        if reading.missing and not (self.skip_missing and reading.faces):
            what = f"{self.kind}s that the label files name but that are not there"
            if reading.faces:
                what += "; --skip-missing goes on without them"
            for name in reading.missing:
                problems.add(what, name)
        problems.check(reading.files.source)
        if not reading.faces:
            raise self.lacks(reading.files, f"{self.kind}s with labels")

    def lacks(self, files: Files, what: str) -> ValueError:
        """The error for a source without a file that all depends on."""
        return errors.UserError(
            f"source: {files.source} lacks {what}; {self.how_to_get}; terms: {self.licence}"
        )

    def label_file(self, files: Files, shown: str, *others: str) -> str:
        """The path of a label file, wherever it lies; `shown` is its published path."""
        for path in (shown, *others):
            found = files.shallowest(path.rsplit("/", 1)[-1])
            if found:
                return found
        raise self.lacks(files, shown)

    def expected(self, listing: Listing) -> Mapping[str, tuple[int, ...]]:
        if not self.order:
            return {}
        order = facs.expressions_of(self.order)
        return {
            splits.named(split) or split: tuple(
                counts[order.index(name)] for name in listing.expressions
            )
            for split, counts in self.counts().items()
        }

    def counts(self) -> Mapping[str, tuple[int, ...]]:
        """Images of each class of the whole order in each split, as published."""
        return facs.CLASS_COUNTS[self.order]
