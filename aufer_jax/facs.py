"""The vocabulary, in one place: AUs and their orders, blendshapes, expressions, regions of the AU branch."""

import dataclasses
import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
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

MOST = 5.0  # the highest intensity

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
    """The AU numbers of a named order, one of `AU_ORDERS`.

    >>> len(au_order("openface_18"))
    18
    """
    return AU_ORDERS[_known("au_order", name, AU_ORDERS)]


def au_number(name: int | str) -> int:
    """The number of an AU written as 6, "6", "AU6", "AU 06", "AU06_r" or by its FACS name.

    >>> [au_number(name) for name in (6, "AU6", "AU06_r", "lip corner puller")]
    [6, 6, 6, 12]
    """
    text = str(name).strip().lower()
    written = re.fullmatch(r"(?:au)?\s*(\d+)(?:_[rc])?", text)
    if written and int(written[1]) in AUS:
        return int(written[1])
    names = {au.name: au.number for au in AUS.values()}
    if text in names:
        return names[text]
    raise unknown("au", name, [*(au.label for au in AUS.values()), *names])


def au_index(au_list: Sequence[int], wanted: Iterable[int]) -> tuple[int, ...]:
    """Where each wanted AU stands in `au_list`; -1 for those it lacks.

    >>> au_index((6, 12, 25), wanted=(12, 4))
    (1, -1)
    """
    return _positions(au_list, wanted)


# --- Blendshapes --------------------------------------------------------------------------------

# The coefficients of the face mesh: ARKit's without the tongue, after one for the neutral face. Left and
# right are the person's.
BLENDSHAPES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft"),
    *("browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft"),
    *("eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft"),
    *("eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen"),
    *("jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft"),
    *("mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
# Coefficient i of a mirrored face is coefficient BLENDSHAPE_FLIP[i] of the original.
_SIDES = {"Left": "Right", "Right": "Left"}
BLENDSHAPE_FLIP = tuple(
    BLENDSHAPES.index(re.sub("Left|Right", lambda side: _SIDES[side[0]], name))
    for name in BLENDSHAPES
)


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
_UPPER = (1, 2, 4, 5, 6, 7, 9, 43, 45)
_BROWS_AND_EYES = (1, 2, 4, 5, 7, 43, 45)
_EYE = (1, 2, 5, 7, 43, 45)
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

    >>> [(region.key, region.aus) for region in regions(7, aus=(1, 6, 12))]
    [('AU11', (1,)), ('AU13', (1,)), ('AU21', (6,)), ('AU23', (6,)), ('AU3', (12,))]
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

# What else they are called: in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian,
# Turkish and Chinese; capitals and accents do not matter. Words that may mean another one are left out.
# The AUs of each expression as FACS's authors give them for the emotions.
PROTOTYPES: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12),
    "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "disgust": (9, 15, 17),
    "anger": (4, 5, 7, 23),
    "contempt": (12, 14),
}

_SYNONYMS = {
    "neutral": """neutrality neutralität neutre neutralité neutro neutralidad neutralidade neutrale neutralità
        neutraal neutralny neutralność нейтральный нейтральное нейтрально nötr tarafsız 中性 中立""",
    "happiness": """happy joy joyous freude fröhlich froehlich glücklich gluecklich glück joie joyeux heureux
        bonheur felicidad feliz alegría alegre felicità felice gioia felicidade blij blijdschap geluk
        gelukkig vreugde radość szczęście szczęśliwy радость счастье радостный счастливый mutlu
        mutluluk neşe 高兴 快乐 开心 喜悦""",
    "sadness": """sad traurig traurigkeit trauer triste tristesse tristeza tristezza verdriet verdrietig
        droevig smutek smutny грусть печаль грустный печальный üzgün üzüntü 悲伤 伤心 难过""",
    "surprise": """surprised überraschung ueberraschung überrascht ueberrascht surpris sorpresa sorprendido
        sorpreso surpresa surpreso verrassing verrast zaskoczenie zaskoczony zdziwienie удивление
        удивленный şaşkın şaşkınlık 惊讶 惊奇 吃惊""",
    "fear": """fearful afraid scared furcht angst ängstlich aengstlich peur effrayé miedo asustado temor
        paura impaurito medo assustado strach przestraszony страх испуг испуганный korku korkmuş 恐惧 害怕""",
    "disgust": """disgusted ekel angeekelt abscheu dégoût dégoûté asco disgusto disgustato nojo
        walging afkeer wstręt obrzydzenie отвращение iğrenme tiksinti 厌恶 恶心""",
    "anger": """angry wut wütend wuetend zorn zornig ärger aerger verärgert colère en_colère fâché ira enojo
        enojado enfado enfadado rabbia arrabbiato raiva zangado boos boosheid woede złość gniew гнев
        злость öfke kızgın kızgınlık 愤怒 生气""",
    "contempt": """contemptuous verachtung verächtlich veraechtlich mépris méprisant desprecio disprezzo
        desprezo minachting pogarda презрение küçümseme 轻蔑 蔑视""",
}  # fmt: skip


def folded(word: str) -> str:
    """A word without capitals, accents and outer spaces, for comparing: "Fröhlich" is "frohlich".

    >>> folded(" Fröhlich")
    'frohlich'
    """
    plain = word.strip().casefold().translate({ord("ı"): "i", ord("ł"): "l"}).replace(" ", "_")
    marks = unicodedata.normalize("NFKD", plain)
    return "".join(sign for sign in marks if not unicodedata.combining(sign))


_WORDS = {name: name for name in EXPRESSIONS} | {
    folded(word): name for name, words in _SYNONYMS.items() for word in words.split()
}


def expression(name: str) -> str:
    """The canonical spelling of an expression: "Happy", "Freude" and "happiness" are "happiness".

    >>> expression("Freude"), expression("angry")
    ('happiness', 'anger')
    >>> expression("hapiness")
    Traceback (most recent call last):
    aufer_jax.errors.UserError: ...
    """
    found = _WORDS.get(folded(name))
    if found is None:
        raise unknown("expression", name, EXPRESSIONS)
    return found


def nearest_expression(word: str) -> str | None:
    """The expression that a misspelled word most likely means, None if it is like none.

    >>> nearest_expression("hapiness"), nearest_expression("bored")
    ('happiness', None)
    """
    near = difflib.get_close_matches(folded(word), _WORDS, n=1, cutoff=0.75)
    return _WORDS[near[0]] if near else None


def class_name(word: str) -> str:
    """The canonical spelling of an expression, or for any other class the word as it is compared.

    >>> class_name("Happy"), class_name("Bored")
    ('happiness', 'bored')
    """
    return _WORDS.get(folded(word), folded(word))


def label_map(source: Sequence[str], target: Sequence[str]) -> tuple[int, ...]:
    """The index in `target` of each class of `source`, -1 where there is none.

    The same word comes first, then, for expressions, the same in any spelling.

    >>> label_map(("happy", "calm"), target=("neutral", "happiness"))
    (1, -1)
    """
    words = {folded(name): index for index, name in enumerate(target)}
    names = {class_name(name): index for index, name in reversed(list(enumerate(target)))}
    return tuple(words.get(folded(name), names.get(class_name(name), -1)) for name in source)


def _positions(order: Sequence[Any], wanted: Iterable[Any]) -> tuple[int, ...]:
    places = {item: index for index, item in enumerate(order)}
    return tuple(places.get(item, -1) for item in wanted)


def _known(what: str, value: str, permitted: Iterable[str]) -> str:
    if value not in permitted:
        raise unknown(what, value, permitted)
    return value
