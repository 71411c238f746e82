"""The cards of the datasets against published counts and orders; cards of other packages."""

import dataclasses
import inspect

import faces_source as faces
import numpy as np
import pytest

from aufer_jax import facs, synth
from aufer_jax.data import records
from aufer_jax.datasets import catalog, dfew, published
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face
from aufer_jax.datasets.options import ClipOptions, Options, PublishedOptions
from aufer_jax.datasets.prepare import prepare
from aufer_jax.errors import UserError
from aufer_jax.papers.audfer import positive_weights

PUBLISHED = [name for name in catalog.cards() if not catalog.card(name).own]
TOTALS = {
    "rafdb": {"train": 12271, "test": 3068},
    "ferplus": {"train": 25060, "validation": 3199, "test": 3153},
    "affectnet7": {"train": 283901, "test": 3500},
    "affectnet8": {"train": 287651, "test": 4000},
    "affectnetplus": {"train": 287651, "test": 4000},
    "dfew": {f"fold{k}": n for k, n in enumerate((2341, 2341, 2340, 2339, 2336), 1)},
    "ferv39k": {"train": 31088, "test": 7847},
    "mafw": {"fold1": 1839},
    "mafw7": {"fold1": 1517},
    "ravdess": {f"fold{k}": 240 for k in range(1, 7)},
}


def test_counts_sum_to_the_published_sizes():
    found = {name: catalog.card(name).counts for name in PUBLISHED}
    sums = {name: {s: sum(c) for s, c in counts.items()} for name, counts in found.items()}
    assert {name: of for name, of in sums.items() if of} == TOTALS
    for name, counts in found.items():
        assert all(len(c) == len(catalog.card(name).expressions) for c in counts.values())


def test_dfew_folds_share_out_the_same_clips():
    pooled = np.sum(list(dfew.CARD.counts.values()), 0)
    assert pooled.tolist() == [2445, 1894, 2669, 2173, 1469, 145, 902]


@pytest.mark.parametrize("name", PUBLISHED)
def test_orders_spell_canonical_names(name):
    order = catalog.card(name).expressions
    assert all(facs.expression(word) == word for word in order)
    assert len(set(order)) == len(order)


@pytest.mark.parametrize(
    ("name", "label", "meaning"),
    [
        ("rafdb", "1", "surprise"),
        ("rafdb", "7", "neutral"),
        ("dfew", "7", "fear"),
        ("affectnet8", "7", "contempt"),
        ("affectnet7", "7", None),
        ("affectnet7", "10", None),
        ("ferplus", "0", "neutral"),
        ("ferplus", "9", None),
        ("ravdess", "8", "surprise"),
        ("affwild2", "-1", None),
        ("affwild2", "7", None),
    ],
)
def test_numbers_in_the_files(name, label, meaning):
    assert catalog.card(name).labels()[label] == meaning


def test_synthetic_faces_have_the_label_orders_of_their_models():
    for drawn, model in {
        "synth_a": "rafdb", "synth_b": "ferplus", "synth_c": "affectnet7", "synth_d": "affectnet7",
    }.items():  # fmt: skip
        assert synth.DIALECTS[drawn].expressions == catalog.card(model).expressions
    assert synth.CLIP_SETS["synth_clips"].expressions == dfew.EXPRESSIONS
    assert catalog.is_drawn("synth_a") and not catalog.is_drawn("rafdb")


def test_minor_expressions_hold_less_than_a_seventh():
    train = {"dfew": np.sum(list(dfew.CARD.counts.values())[1:], 0)}
    train["ferv39k"] = np.array(catalog.card("ferv39k").counts["train"])
    for name, counts in train.items():
        order = catalog.card(name).expressions
        minor = {e for e, c in zip(order, counts, strict=True) if c * 7 < counts.sum()}
        assert minor == set(positive_weights.MINOR_EXPRESSIONS)


# --- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.cards())
def test_every_option_is_explained_by_the_comment_above_it(name):
    card = catalog.card(name)
    kind = ClipOptions if card.kind == records.CLIP else Options
    assert issubclass(card.options, kind)
    for cls in card.options.__mro__[:-1]:
        lines = inspect.getsource(cls).splitlines()
        for field in cls.__annotations__:
            place = next(i for i, line in enumerate(lines) if line.startswith(f"    {field}:"))
            assert lines[place - 1].lstrip().startswith("# "), f"{cls.__qualname__}.{field}"


# --- Cards of other packages --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Mine(PublishedOptions):
    # Leave every second image out.
    half: bool = False


def read(card, files, options):
    listing = published.begin(card, files, options)
    for name in files.images()[:: 2 if options.half else 1]:
        listing.add(Face(name, "1" if "happy" in name else "0", split="train"))
    published.finish(card, listing, options)
    return listing


def test_a_dataset_of_ones_own_is_one_card_and_one_function(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})
    catalog.register(Card("mine", read, Mine, expressions=("neutral", "happiness")))
    assert "mine" in catalog.cards() and "mine" in catalog.unprepared(tmp_path)
    faces.write_images(tmp_path / "in/happy", 4)
    faces.write_images(tmp_path / "in/rest", 4)
    report = prepare("mine", tmp_path / "in", data_dir=tmp_path, half=True, validation=0, test=0)
    assert report.counts == {"train": {"neutral": 2, "happiness": 2}}
    assert catalog.info("mine", tmp_path).expressions == ("neutral", "happiness")
    with pytest.raises(ValueError, match="'rafdb' is the name of another dataset"):
        catalog.register(Card("rafdb", read))


def test_entry_points_bring_cards(monkeypatch):
    class Entry:
        name, value = "theirs", f"{__name__}:CARD"

    monkeypatch.setattr(catalog.metadata, "entry_points", lambda group: [Entry])
    monkeypatch.setitem(
        __import__("sys").modules, __name__, __import__("types").SimpleNamespace(CARD=3)
    )
    catalog._places.cache_clear()
    try:
        assert "theirs" in catalog.cards() and catalog.card("theirs") == 3
    finally:
        catalog._places.cache_clear()


def test_a_dataset_whose_name_no_file_can_have_is_unknown():
    with pytest.raises(UserError, match=r"is not known.*Did you mean 'synth_a'"):
        catalog.info("synth\0a")


def test_unknown_datasets_are_refused_with_a_hint():
    with pytest.raises(ValueError, match=r"dataset to prepare: 'raf-db'.*Did you mean 'rafdb'"):
        catalog.card("raf-db")
