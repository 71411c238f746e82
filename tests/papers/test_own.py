"""Recipes for datasets of the user's own: every choice by what is there, said in one line with its key."""

import json
import re

import cv2
import numpy as np
import pytest
import toydata

from aufer_jax.data import records, views
from aufer_jax.datasets import catalog, sample, store
from aufer_jax.geometry import align
from aufer_jax.papers import own
from aufer_jax.train import config as config_lib


def tight(i, size=64):
    """A bright face of 64 pixels in the middle of black, turned: what a tight crop in a square looks like."""
    image = np.zeros((2 * size, 2 * size, 3), np.uint8)
    image[32:96, 32:96] = 200
    return toydata.encode(image)


def landmarks(scale, middle):
    return toydata.FACE_LANDMARKS * scale / 112 + middle


def prepare(root, name, labels, *, kind=records.IMAGE, aus=(), marks=None, image=None):
    """A prepared dataset of so many records of each class, in `root`."""
    info = toydata.info(
        name, kind, expressions=tuple(labels), aus=aus,
        splits={s: sum(labels.values()) for s in ("train", "validation", "test")},
    )  # fmt: skip
    rows, number = {}, 0
    for split in info.splits:
        rows[split] = []
        for label, count in enumerate(labels.values()):
            for _ in range(count):
                make = toydata.image_record if kind == records.IMAGE else toydata.clip_record
                changes = {"expression": label, "key": f"{split}{number}"}
                frames = () if kind == records.IMAGE else (6,)
                shape = (*frames, 68, 2)
                points = np.full((68, 2), np.nan) if marks is None else marks
                changes["landmarks"] = np.broadcast_to(points, shape)
                changes["au"] = np.ones((*frames, len(aus)))
                changes["au_known"] = np.ones(len(aus), bool)
                if image is not None:
                    changes["image"] = image
                rows[split].append(make(number, **changes))
                number += 1
    store.write_records(info, store.folder(root / name / "made"), rows)
    catalog.publish(info, root / name, "made")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    prepare(
        root, "padded", {"neutral": 60, "happiness": 6}, image=tight(0), marks=landmarks(64, 32)
    )
    whole = cv2.copyMakeBorder(toydata.picture(1), *[40] * 4, cv2.BORDER_REFLECT)
    prepare(
        root, "roomy", {"neutral": 40, "happiness": 40}, aus=toydata.AUS,
        image=toydata.encode(whole), marks=toydata.FACE_LANDMARKS + 40,
    )  # fmt: skip
    prepare(root, "bare", {"neutral": 10, "happiness": 10})
    prepare(root, "mine", {"neutral": 12, "anger": 10}, kind=records.CLIP)
    return root


@pytest.fixture(autouse=True)
def placed(data, monkeypatch):
    monkeypatch.setenv("AUFER_DATA", str(data))
    monkeypatch.setattr(own, "on_cpu", lambda: True)


def load(text):
    config = config_lib.load(f"configs/{text}")
    config_lib.check(config)
    return config


def test_a_sample_tells_what_is_there():
    padded, roomy, bare = (sample.look(name) for name in ("padded", "roomy", "bare"))
    assert padded.training == {"neutral": 60, "happiness": 6}
    assert padded.skew == (10, "neutral", "happiness")
    assert (padded.landmarks, roomy.landmarks, bare.landmarks) == (1, 1, 0)
    # The face has 64 of the 64 pixels, so nothing but its rim is lost; a larger square would be.
    assert padded.outside < 0.15 and roomy.outside == 0
    assert roomy.aus == toydata.AUS
    assert sample.look("not_there") is None


def test_faces_with_black_around_them_go_on_as_their_edge():
    config = load("mvfer.py:padded")
    assert (config.data.align, config.data.fill) == ("5pt", "edge")
    assert config.loss.heatmap_role == "view+supervise"
    assert load("mvfer.py:roomy").data.fill == "black"
    bare = load("mvfer.py:bare")
    assert (bare.data.align, bare.data.fill, bare.loss.heatmap_role) == ("", "black", "none")
    assert "no landmarks" in bare.note and "aufer faces align" in bare.note


def test_uneven_classes_are_drawn_and_judged_alike():
    padded, roomy = load("mvfer.py:padded"), load("mvfer.py:roomy")
    assert (padded.data.balanced, padded.train.best_metric) == (True, "uar")
    assert (roomy.data.balanced, roomy.train.best_metric) == (False, "accuracy")
    assert "data.balanced=true: neutral is 10 times as frequent as happiness" in padded.note


@pytest.mark.parametrize("paper", ["mvfer", "auvit"])
def test_few_records_have_small_steps_and_many_epochs(paper):
    config = load(f"{paper}.py:bare")
    assert config.data.batch_size == 4  # of the tests' four devices; 20 // own.FRACTION on one
    assert config.train.epochs == own.EPOCHS
    steps = 20 // 4  # of an epoch
    assert own.PATIENCE <= config.train.patience * steps <= config.train.epochs * steps
    assert config.train.ema_decay < 0.95  # few steps are averaged over fewer
    assert config.train.best_metric == "loss"  # 20 records validate
    assert config.train.time_limit == 60 * own.MINUTES
    assert 64 <= config.data.size <= 112


def test_an_au_head_only_where_aus_are_known():
    assert load("auvit.py:bare").data.aus == "none"
    roomy = load("auvit.py:roomy")
    assert (roomy.data.aus, roomy.data.target_aus) == ("au_vit_21", True)
    taught = load("auvit.py:bare,aux=synth_au").data
    assert taught.aus == "au_vit_21" and taught.batch_size % 5 == 0  # whole patterns of 4 + 1
    clips = load("audfer.py:mine")
    assert (clips.loss.au, clips.loss.au_weight) == ("none", 0)
    assert clips.model.name == "r3d18" and clips.train.validation_split == "validation"


@pytest.mark.parametrize("text", ["mvfer.py:padded", "auvit.py:roomy", "audfer.py:mine"])
def test_each_choice_is_one_line_with_the_key_that_changes_it(text):
    config = load(text)
    head, *lines = config.note.split("\n")
    assert head == "chosen; --config.KEY=VALUE changes it:"
    keys = [re.fullmatch(r"  ([a-z_.]+)=[^:]*: \S.*", line)[1] for line in lines]
    assert len(keys) == len(set(keys)) >= 6
    assert {"data.align", "train.patience", "init_from", "data.size"} <= set(keys)
    config_lib.override(config, "data.align", "")
    assert "data.align=" not in config.note and "train.patience=" in config.note


def test_what_is_given_is_not_chosen():
    config = load("mvfer.py:padded,model=resnet18,ablate=base")
    assert config.model.name == "resnet18" and config.loss.heatmap_role == "none"
    assert "model.name=" not in config.note and "heatmap_role" not in config.note


def test_on_an_accelerator_the_network_is_larger(monkeypatch):
    monkeypatch.setattr(own, "on_cpu", lambda: False)
    config = load("mvfer.py:padded")
    assert (config.model.name, config.data.size) == ("resnet18", 112)
    assert config.train.time_limit == 0 and config.data.fill == "edge"
    assert load("audfer.py:mine").model.name == "m3dfel"


def test_a_network_of_the_package_that_fits_comes_first(monkeypatch, tmp_path):
    assert load("auvit.py:roomy").init_from == ""
    card = {"model": "auvit_small", "options": {"dim": 32}, "preprocess": {"size": 96}}
    place = tmp_path / "data" / "clean"
    place.mkdir(parents=True)
    (place / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(own.weights, "__file__", str(tmp_path / "__init__.py"))
    config = load("auvit.py:roomy")
    assert (config.init_from, config.model.dim, config.data.size) == ("clean", 32, 96)
    assert "init_from=clean: a network of the package that is a auvit_small" in config.note
    assert load("mvfer.py:roomy").init_from == ""  # another architecture


def test_another_folder_is_looked_into(data, monkeypatch, tmp_path):
    monkeypatch.setenv("AUFER_DATA", str(tmp_path))
    assert load("mvfer.py:padded").data.fill == "black"
    there = config_lib.load("configs/mvfer.py:padded", str(data))
    assert there.data.fill == "edge"
    assert load("mvfer.py:padded").data.fill == "black"


# --- Pictures that have ended --------------------------------------------------------------------


def test_black_bars_are_outside_and_the_edge_goes_on():
    image = cv2.imdecode(np.frombuffer(tight(0), np.uint8), cv2.IMREAD_COLOR)
    top, bottom, left, right = align.shown(image)
    assert (32 <= top <= 33, 95 <= bottom <= 96, 32 <= left <= 33, 95 <= right <= 96) == (True,) * 4
    itself = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert align.outside(image, itself, 128) == pytest.approx(0.75, abs=0.03)
    assert (align.warp(image, itself, 128, fill="edge") == 200).all()
    assert (align.warp(image, itself, 128) == image).all()
    night = np.full((20, 20, 3), 3, np.uint8)
    assert align.shown(night) == (0, 20, 0, 20)
    plain = toydata.picture(3)
    assert align.shown(plain) == (0, 112, 0, 112)


def test_the_loader_fills_what_it_is_told_to():
    out = {fill: np.empty((64, 64, 3), np.uint8) for fill in align.FILLS}
    matrix = align.face_matrix(landmarks(40, 44), 64)
    for fill, pixels in out.items():
        found = views.render(tight(0), matrix, views.UNCHANGED, pixels, fill)
        np.testing.assert_allclose(found, matrix)
    assert (out["edge"] == 200).all()
    with pytest.raises(ValueError, match="fill: 'egde'"):
        views.Spec(fill="egde")
