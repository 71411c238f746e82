"""The vocabulary, in one place: Action Units, expressions, label orders, regions and their maps."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aufer_jax.errors import UserError, unknown

# --- Action Units -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AU:
    """One Action Unit of the Facial Action Coding System."""

    number: int
    name: str
    muscle: str
    face: str  # "upper" or "lower" half of the face
    paired: bool  # one centre on each side of the face, rather than on the midline

    @property
    def label(self) -> str:
        """The two-digit spelling of column names, for example "AU06"."""
        return f"AU{self.number:02d}"


_ORBICULARIS_ORIS = "orbicularis oris"

AUS: dict[int, AU] = {
    number: AU(number, name, muscle, face, paired)
    for number, name, muscle, face, paired in (
        (1, "inner brow raiser", "frontalis, medial part", "upper", True),
        (2, "outer brow raiser", "frontalis, lateral part", "upper", True),
        (4, "brow lowerer", "corrugator and depressor supercilii, procerus", "upper", True),
        (5, "upper lid raiser", "levator palpebrae superioris", "upper", True),
        (6, "cheek raiser", "orbicularis oculi, orbital part", "upper", True),
        (7, "lid tightener", "orbicularis oculi, palpebral part", "upper", True),
        (9, "nose wrinkler", "levator labii superioris alaeque nasi", "upper", True),
        (10, "upper lip raiser", "levator labii superioris", "lower", True),
        (11, "nasolabial deepener", "zygomaticus minor", "lower", True),
        (12, "lip corner puller", "zygomaticus major", "lower", True),
        (14, "dimpler", "buccinator", "lower", True),
        (15, "lip corner depressor", "depressor anguli oris", "lower", True),
        (16, "lower lip depressor", "depressor labii inferioris", "lower", True),
        (17, "chin raiser", "mentalis", "lower", True),
        (18, "lip pucker", "incisivii labii superioris and inferioris", "lower", True),
        (20, "lip stretcher", "risorius with platysma", "lower", True),
        (22, "lip funneler", _ORBICULARIS_ORIS, "lower", False),
        (23, "lip tightener", _ORBICULARIS_ORIS, "lower", False),
        (24, "lip pressor", _ORBICULARIS_ORIS, "lower", False),
        (25, "lips part", "depressor labii inferioris, or relaxed mentalis", "lower", False),
        (26, "jaw drop", "masseter, temporalis and pterygoid relaxed", "lower", True),
        (27, "mouth stretch", "pterygoids, digastric", "lower", False),
        (28, "lip suck", _ORBICULARIS_ORIS, "lower", False),
        (29, "jaw thrust", "pterygoids", "lower", False),
        (35, "cheek suck", "buccinator", "lower", True),
        (43, "eyes closed", "levator palpebrae superioris relaxed", "upper", True),
        (45, "blink", "levator palpebrae relaxed, orbicularis oculi", "upper", True),
    )
}

AU_VIT_21 = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27)
RAF_AU_25 = (*AU_VIT_21, 28, 29, 35, 43)
EMOTIONET_16 = (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28)
COMMON_13 = (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 20, 25, 26)
OPENFACE_16 = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)
OPENFACE_17 = (*OPENFACE_16, 45)  # the `_r` columns: OpenFace gives AU28 no intensity
OPENFACE_18 = (*OPENFACE_16, 28, 45)  # the `_c` columns, and the AUs of AU-DFER
HEATMAP_23 = (*AU_VIT_21, 28, 45)
PY_FEAT_20 = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)

AU_ORDERS: dict[str, tuple[int, ...]] = {
    "au_vit_21": AU_VIT_21,
    "raf_au_25": RAF_AU_25,
    "emotionet_16": EMOTIONET_16,
    "common_13": COMMON_13,
    "openface_16": OPENFACE_16,
    "openface_17": OPENFACE_17,
    "openface_18": OPENFACE_18,
    "heatmap_23": HEATMAP_23,
    "py_feat_20": PY_FEAT_20,
}


def au_order(name: str) -> tuple[int, ...]:
    """The AU numbers of a named order, one of `AU_ORDERS`."""
    return AU_ORDERS[_known("au_order", name, AU_ORDERS)]


def au_number(name: int | str) -> int:
    """The number of an AU written as 6, "6", "AU6", "AU 06", "AU06_r" or by its FACS name."""
    text = str(name).strip().lower()
    written = re.fullmatch(r"(?:au)?\s*(\d+)(?:_[rc])?", text)
    if written and int(written[1]) in AUS:
        return int(written[1])
    names = {au.name: au.number for au in AUS.values()}
    if text in names:
        return names[text]
    raise unknown("au", name, [*(au.label for au in AUS.values()), *names])


def au_index(au_list: Sequence[int], wanted: Iterable[int]) -> tuple[int, ...]:
    """Where each wanted AU stands in `au_list`; -1 for those it lacks."""
    return _positions(au_list, wanted)


# --- Regions of the AU branch (AU-ViT) ----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Region:
    """A crop of the feature map that one AU head reads; rows and cols are half-open ranges."""

    key: str  # the published checkpoints' name
    rows: tuple[int, int]
    cols: tuple[int, int]
    aus: tuple[int, ...]


REGION_GRID = 14  # cells a side of the map on which the published crops are written

_LOWER = tuple(number for number, au in AUS.items() if au.face == "lower")
_UPPER = (1, 2, 4, 5, 6, 7, 9)
_BROWS_AND_EYES = (1, 2, 4, 5, 7)
_EYE = (1, 2, 5, 7)
_ALL = (0, REGION_GRID)

_LEFT_CHEEK = Region("AU21", (5, 12), (0, 6), (6,))
_NOSE = Region("AU22", (4, 10), (4, 10), (9,))
_RIGHT_CHEEK = Region("AU23", (5, 12), (8, 14), (6,))
_MOUTH = Region("AU3", (6, 14), _ALL, _LOWER)
_EYES_AND_CHEEKS = (
    Region("AU11", (0, 7), (0, 7), _EYE),
    Region("AU12", (0, 7), (4, 10), (4,)),
    Region("AU13", (0, 7), (7, 14), _EYE),
    _LEFT_CHEEK,
    _NOSE,
    _RIGHT_CHEEK,
)

REGIONS: dict[int, tuple[Region, ...]] = {
    1: (Region("AU", _ALL, _ALL, (*_UPPER, *_LOWER)),),
    2: (Region("AU_up", (0, 8), _ALL, _UPPER), Region("AU_low", (6, 14), _ALL, _LOWER)),
    3: (
        Region("AU1", (0, 7), _ALL, _BROWS_AND_EYES),
        Region("AU2", (4, 12), _ALL, (6, 9)),
        Region("AU3", (6, 14), _ALL, _LOWER),
    ),
    5: (
        Region("AU1", (0, 7), _ALL, _BROWS_AND_EYES),
        _LEFT_CHEEK,
        _NOSE,
        _RIGHT_CHEEK,
        _MOUTH,
    ),
    7: (*_EYES_AND_CHEEKS, _MOUTH),
    9: (
        *_EYES_AND_CHEEKS,
        # The published columns: the last two crops share column 9, the first two share none.
        Region("AU31", (6, 14), (0, 5), _LOWER),
        Region("AU32", (6, 14), (5, 10), _LOWER),
        Region("AU33", (6, 14), (9, 14), _LOWER),
    ),
}


def regions(
    scheme: int, *, grid: int = REGION_GRID, aus: Sequence[int] = AU_VIT_21
) -> tuple[Region, ...]:
    """The regions of a scheme on a `grid` x `grid` map, each with its share of `aus` in order.

    An AU that several regions hold (the two eyes, the two cheeks, the three mouth crops) takes
    the maximum of their logits: the symmetric maxout, AU-ViT eq. 2.
    """
    if scheme not in REGIONS:
        raise unknown("regions", scheme, REGIONS)
    homeless = set(aus) - {au for region in REGIONS[scheme] for au in region.aus}
    if homeless:
        raise UserError(f"aus: {sorted(homeless)} belong to no region of the AU branch")
    cut = [
        dataclasses.replace(
            region,
            rows=_scaled(region.rows, grid, scheme),
            cols=_scaled(region.cols, grid, scheme),
            aus=tuple(au for au in aus if au in region.aus),
        )
        for region in REGIONS[scheme]
    ]
    return tuple(region for region in cut if region.aus)


def _scaled(span: tuple[int, int], grid: int, scheme: int) -> tuple[int, int]:
    start, stop = (edge * grid for edge in span)
    if start % REGION_GRID or stop % REGION_GRID:
        raise UserError(
            f"grid: the {scheme}-region scheme has no whole cells on a {grid}x{grid} map; "
            f"it is published for {REGION_GRID}x{REGION_GRID}"
        )
    return start // REGION_GRID, stop // REGION_GRID


# --- Expressions --------------------------------------------------------------------------------

EXPRESSIONS = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
    "calm",
)

_ALIASES = {
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
}


def expression(name: str) -> str:
    """The canonical spelling of an expression: "Happy" and "happiness" are "happiness"."""
    text = name.strip().lower()
    return _known("expression", _ALIASES.get(text, text), [*EXPRESSIONS, *_ALIASES])


@dataclasses.dataclass(frozen=True)
class LabelOrder:
    """The classes of one dataset in training order, and the numbers its files write for them."""

    expressions: tuple[str, ...]
    first: int = 0  # the number in the files of expressions[0]
    dropped: Mapping[int, str] = dataclasses.field(default_factory=dict)  # not a training class


_AFFECTNET = EXPRESSIONS[:8]
_AFFECTNET_DROPPED = {8: "none", 9: "uncertain", 10: "no face"}
_DFEW = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
_MAFW = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)

LABEL_ORDERS: dict[str, LabelOrder] = {
    # The occlusion and pose lists of RAF-DB already count from 0.
    "rafdb": LabelOrder(
        ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), first=1
    ),
    # The order of the vote columns.
    "ferplus": LabelOrder(
        ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
        dropped={8: "unknown", 9: "not a face"},
    ),
    "affectnet7": LabelOrder(_AFFECTNET[:7], dropped={7: "contempt", **_AFFECTNET_DROPPED}),
    "affectnet8": LabelOrder(_AFFECTNET, dropped=_AFFECTNET_DROPPED),
    "dfew": LabelOrder(_DFEW, first=1),
    # Files give words. AU-DFER, Former-DFER and MAE-DFER number them as DFEW does; M3DFEL's
    # replication and S2D number them alphabetically.
    "ferv39k": LabelOrder(_DFEW),
    "ferv39k_alphabetical": LabelOrder(tuple(sorted(_DFEW))),
    # Files give words. MAE-DFER's order, S2D's order, and the seven basic ones in DFEW's order.
    "mafw": LabelOrder(_MAFW),
    "mafw_alphabetical": LabelOrder(tuple(sorted(_MAFW))),
    "mafw7": LabelOrder(_DFEW),
    "ravdess": LabelOrder(
        ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
        first=1,
    ),
    "affwild2": LabelOrder(
        ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"),
        dropped={-1: "not annotated", 7: "other"},
    ),
}

# AU-DFER keeps its per-class positive weights for the classes below one seventh of the samples.
MINOR_EXPRESSIONS = ("surprise", "disgust", "fear")


def expressions_of(dataset: str) -> tuple[str, ...]:
    """The expressions of a dataset in training order; `dataset` is one of `LABEL_ORDERS`."""
    return LABEL_ORDERS[_known("dataset", dataset, LABEL_ORDERS)].expressions


def stored_label(dataset: str, label: int | str) -> int:
    """The training index of a label as the dataset's files write it, number or word.

    -1 means a label that is known but not a class here, such as AffectNet's "no face".
    """
    order = LABEL_ORDERS[_known("dataset", dataset, LABEL_ORDERS)]
    if isinstance(label, str):
        if label.strip().lower() in order.dropped.values():
            return -1
        return label_map([label], order.expressions)[0]
    if label in order.dropped:
        return -1
    index = label - order.first
    if not 0 <= index < len(order.expressions):
        last = order.first + len(order.expressions) - 1
        raise UserError(
            f"{dataset} label: got {label}, permitted are {order.first}..{last}"
            + "".join(f", {number} ({meaning})" for number, meaning in order.dropped.items())
        )
    return index


def label_map(source: str | Sequence[str], target: str | Sequence[str]) -> tuple[int, ...]:
    """The target index of each source class, -1 where the target has no such expression.

    Each side is a dataset of `LABEL_ORDERS` or a sequence of expression names.
    """
    return _positions(_names(target), _names(source))


def _names(side: str | Sequence[str]) -> tuple[str, ...]:
    return expressions_of(side) if isinstance(side, str) else tuple(map(expression, side))


# How many samples of each class a split holds, in the dataset's training order.
CLASS_COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "rafdb": {
        "train": (1290, 281, 717, 4772, 1982, 705, 2524),
        "test": (329, 74, 160, 1185, 478, 162, 680),
    },
    # Majority votes, unknown and not-a-face dropped.
    "ferplus": {
        "train": (8740, 7287, 3149, 3014, 2100, 119, 532, 119),
        "valid": (1182, 865, 415, 351, 287, 24, 62, 13),
        "test": (1090, 893, 396, 384, 273, 18, 83, 16),
    },
    "affectnet7": {"valid": (500,) * 7},
    "affectnet8": {"valid": (500,) * 8},
    "dfew": {
        "train_1": (1956, 1515, 2135, 1738, 1175, 116, 721),
        "test_1": (489, 379, 534, 435, 294, 29, 181),
        "train_2": (1956, 1515, 2135, 1738, 1175, 116, 721),
        "test_2": (489, 379, 534, 435, 294, 29, 181),
        "train_3": (1956, 1515, 2135, 1738, 1175, 116, 722),
        "test_3": (489, 379, 534, 435, 294, 29, 180),
        "train_4": (1956, 1515, 2135, 1739, 1175, 116, 722),
        "test_4": (489, 379, 534, 434, 294, 29, 180),
        "train_5": (1956, 1516, 2136, 1739, 1176, 116, 722),
        "test_5": (489, 378, 533, 434, 293, 29, 180),
    },
    "ferv39k": {
        "train": (5854, 5523, 7790, 5906, 2502, 1833, 1680),
        "test": (1473, 1393, 1958, 1487, 638, 467, 431),
    },
    "mafw": {
        "train_1": (1112, 511, 500, 993, 910, 1176, 857, 188, 732, 209, 145),
        "test_1": (278, 128, 125, 249, 228, 294, 215, 48, 184, 53, 37),
    },
    # 24 actors, two statements, two repetitions, two intensities (neutral: one).
    "ravdess": {"speech": (96,) + (192,) * 7},
}

# --- Expressions as AUs -------------------------------------------------------------------------

# The AUs that make up an expression. "emfacs": the short EMFACS list; "facs_1978": the strongest
# combinations of Ekman and Friesen's table 11-1, with no row for contempt; "codebook": the table
# of Belharbi et al. (FG 2024), alone in giving disgust an AU5; "union": all three less that AU5.
PROTOTYPES: dict[str, dict[str, tuple[int, ...]]] = {
    "emfacs": {
        "neutral": (),
        "happiness": (6, 12),
        "sadness": (1, 4, 15),
        "surprise": (1, 2, 5, 26),
        "fear": (1, 2, 4, 5, 20, 26),
        "disgust": (9, 15, 16),
        "anger": (4, 5, 7, 23),
        "contempt": (12, 14),
    },
    "facs_1978": {
        "neutral": (),
        "happiness": (6, 12, 25),
        "sadness": (1, 4, 15),
        "surprise": (1, 2, 5, 26),
        "fear": (1, 2, 4, 5, 20, 25),
        "disgust": (4, 10, 17),
        "anger": (4, 5, 7, 24),
    },
    "codebook": {
        "neutral": (),
        "happiness": (6, 12, 25),
        "sadness": (1, 4, 6, 15, 17),
        "surprise": (1, 2, 5, 26, 27),
        "fear": (1, 2, 4, 5, 20, 25, 26, 27),
        "disgust": (5, 9, 16, 17, 25, 26),
        "anger": (4, 5, 7, 10, 17, 23, 24, 25, 26),
    },
    "union": {
        "neutral": (),
        "happiness": (6, 12, 25),
        "sadness": (1, 4, 6, 15, 17),
        "surprise": (1, 2, 5, 26, 27),
        "fear": (1, 2, 4, 5, 20, 25, 26, 27),
        "disgust": (4, 9, 10, 15, 16, 17, 25, 26),
        "anger": (4, 5, 7, 10, 17, 23, 24, 25, 26),
        "contempt": (12, 14),
    },
}


def _positions(order: Sequence[Any], wanted: Iterable[Any]) -> tuple[int, ...]:
    places = {item: index for index, item in enumerate(order)}
    return tuple(places.get(item, -1) for item in wanted)


def _known(what: str, value: str, permitted: Iterable[str]) -> str:
    if value not in permitted:
        raise unknown(what, value, permitted)
    return value
