"""MV-FER's configurations: mistakes, recipes and the rows of the ablation."""

import dataclasses

import pytest
import toydata

from aufer_jax.data.heatmaps import drawn_sigma
from aufer_jax.datasets import catalog
from aufer_jax.papers import study
from aufer_jax.papers.mvfer import method
from aufer_jax.papers.mvfer.recipes import small
from aufer_jax.reproduce import plan
from aufer_jax.train import base
from aufer_jax.train import config as config_lib


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.heatmap_role": "veiw"}, "loss.heatmap_role: 'veiw' .* Did you mean 'view'"),
        ({"loss.consistency": "cma"}, "loss.consistency: 'cma' .* Did you mean 'cam'"),
        ({"loss.ce_views": (2, 3)}, r"loss.ce_views: \(2, 3\) must be 1 and any of 2 and 3"),
        ({"loss.cam_weight": -1.0}, "loss.cam_weight: -1.0 must not be negative"),
        ({"loss.heatmap_scale": 1.5}, "loss.heatmap_scale: 1.5 must be above 0, up to 1"),
        ({"loss.label_smoothing": 1.0}, "loss.label_smoothing: 1.0"),
        (
            {"loss.inference": "all", "loss.heatmap_role": "supervise"},
            "loss.inference: all needs a heatmap view",
        ),
        ({"loss.statistics": "first"}, "loss.statistics: 'first' needs loss.forward separate"),
        ({"heatmap.rules": "anatomic"}, "heatmap.rules: 'anatomic' .* Did you mean 'anatomical'"),
        ({"heatmap.size": -1}, "heatmap: size, sigma and aus must be positive"),
        ({"heatmap.noise": -0.1}, "heatmap.noise: -0.1 must not be negative"),
        ({"erase.first": "share"}, "erase.first: 'share' .* Did you mean 'shared'"),
        ({"erase.prob": 0.5}, "key of erase: 'prob'"),
        ({"heatmap.per_au": True}, "heatmap.per_au: True suits .* not 'view.supervise'"),
        ({"heatmap.size": 10}, "heatmap.size: 10 is not a multiple of 4"),
        (
            {"model": {"name": "auvit_small"}, "data.size": 112},
            "'auvit_small' gives no 'cam', which loss.consistency = 'cam' needs",
        ),
    ],
)
def test_mistakes_are_named_before_any_data_is_opened(changes, message, monkeypatch, tmp_path):
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    values = config_lib.load("configs/mvfer.py").to_dict()
    for key, changed in changes.items():
        section, _, leaf = key.rpartition(".")
        (values[section] if section else values)[leaf] = changed
    with pytest.raises(ValueError, match=message):
        method.build(config_lib.check(values))
    assert not (tmp_path / "data").exists()


def test_recipes():
    eac = config_lib.check(config_lib.load("configs/mvfer.py:rafdb,eac"))
    assert eac.model["name"] == "eac_resnet50" and eac.data.size == 224
    assert (eac.optimizer.name, eac.optimizer.lr, eac.optimizer.weight_decay) == (
        "adam",
        1e-4,
        1e-4,
    )
    assert (eac.schedule.name, eac.schedule.unit, eac.schedule.gamma) == (
        "exponential",
        "epoch",
        0.9,
    )
    assert (eac.train.epochs, eac.data.batch_size) == (60, 32)
    assert (eac.augment.flip, eac.augment.noise) == (0, 0.5)
    assert (eac.erase.p, eac.erase.first) == (0.5, "shared")
    assert (eac.loss.ce_views, eac.loss.cam_weight, eac.loss.forward) == ((1,), 5.0, "separate")
    assert eac.loss.loaded(train=True) == ("original", "erased")
    assert eac.train.validation_split == "test"  # as published: all training records train
    sane = config_lib.check(config_lib.load("configs/mvfer.py:rafdb,sane"))
    held_out = dataclasses.replace(eac.train, validation_split="validation")
    assert sane == dataclasses.replace(eac, train=held_out, note=sane.note)
    noisy = config_lib.check(config_lib.load("configs/mvfer.py:rafdb,eac,noisy"))
    assert noisy.erase.first == "independent"
    small = config_lib.check(config_lib.load("configs/mvfer.py:rafdb"))
    assert (small.model["name"], small.optimizer.lr, small.data.size) == ("resnet18", 2e-4, 224)
    large = config_lib.check(config_lib.load("configs/mvfer.py:rafdb,model=resnet50_caffe"))
    assert large.optimizer.lr == 1e-4
    assert config_lib.check(config_lib.load("configs/mvfer.py:affectnet7")).data.balanced
    votes = {text: config_lib.check(config_lib.load(f"configs/mvfer.py:{text}")).data.labels
             for text in ("ferplus", "ferplus,labels=majority", "rafdb", "affectnetplus")}  # fmt: skip
    assert list(votes.values()) == ["crossentropy", "majority", "majority", "distribution"]
    colab = config_lib.check(config_lib.load("configs/mvfer.py:rafdb,colab"))
    assert (colab.data.size, colab.train.epochs) == (112, 20)
    assert colab.schedule.gamma**20 == pytest.approx(0.9**60, rel=0.05)


@pytest.mark.parametrize("row", ["base", "base_ops", "aug", "heat", "all", "eac"])
def test_ablation_rows(row):
    options = config_lib.check(config_lib.load(f"configs/mvfer.py:rafdb,ablate={row}")).loss
    w2, w3, lc, lh = {
        "base": (0, 0, 0, 0),
        "base_ops": (0, 0, 0, 0),
        "aug": (1, 0, 5, 0),
        "heat": (0, 1, 0, 1),
        "all": (1, 1, 5, 1),
        "eac": (0, 0, 5, 0),
    }[row]
    assert options.erased_weight * (2 in options.ce_views) == w2
    assert options.heatmap_weight * (3 in options.ce_views and options.heatmap_view) == w3
    assert options.cam_weight * options.cam == lc
    assert options.align_weight * options.aligned == lh
    assert not options.js


def test_an_unknown_row_is_named():
    with pytest.raises(ValueError, match=r"ablate: 'hat' .* Did you mean 'heat'"):
        config_lib.load("configs/mvfer.py:ablate=hat")


@pytest.mark.parametrize(
    ("size", "changes", "said"),
    [
        # On an aligned face the inner eye corners are 0.176 of its side apart: 11 pixels of 64.
        (64, {}, "heatmap.sigma 0.25 is drawn as 0.35"),
        (64, {"heatmap.sigma": 0.15}, "heatmap.sigma 0.15 is drawn as 0.35"),
        (64, {"heatmap.sigma": 0.4}, ""),
        (64, {"heatmap.size": 32}, ""),
        (64, {"loss.heatmap_role": "none"}, ""),
        (112, {"heatmap.size": 56, "heatmap.sigma": 0.15}, ""),
    ],
)
def test_a_run_says_that_its_heatmap_is_wider_than_asked_for(size, changes, said):
    config = config_lib.load("configs/mvfer.py")
    for key, value in {"data.size": size, **changes}.items():
        config_lib.set_value(config, key, value)
    run = config_lib.check(config)
    found = method.blurred(run, method.parts_of(run, base.Labels("image", ("sad", "happy"), ())))
    assert said in found and bool(found) == bool(said)


def test_the_noise_of_the_landmarks_reaches_both_loaders():
    config = config_lib.load("configs/mvfer.py")
    assert config.heatmap.noise == 0
    for key, value in {"heatmap.noise": 0.03, "loss.inference": "all"}.items():
        config_lib.set_value(config, key, value)
    run = config_lib.check(config)
    parts = method.parts_of(run, base.Labels("image", ("sad", "happy"), ()))
    assert parts.spec.heatmap.noise == 0.03
    assert method.evaluation(parts, run.loss).heatmap.noise == 0.03


# --- Studies --------------------------------------------------------------------------------------


def rows_of(name, target="", full=False):
    found = study.studies("mvfer", target, full)[name].rows
    return {row.name: config_lib.check(plan.row_config(row, 0, {})) for row in found}


def test_plain_augmentation_mirrors_and_erases_in_every_recipe():
    for text in ("", "rafdb", "rafdb,eac"):
        argument = f"{text},ablate=base_ops".lstrip(",")
        augment = config_lib.check(config_lib.load(f"configs/mvfer.py:{argument}")).augment
        assert (augment.flip, augment.erase) == (0.5, 0.5), text


def test_plain_augmentation_sees_as_many_images_as_the_second_view():
    for target, full in (("", False), ("rafdb", True)):
        rows = rows_of("ablation", target, full)
        aug, once, twice = (rows[n] for n in ("aug", "base_ops", "base_ops, twice the images"))
        assert twice.data.batch_size == 2 * aug.data.batch_size == 2 * once.data.batch_size
        # As many steps: an epoch has half of them. The rate of a step is the same at the end.
        assert twice.train.epochs == 2 * aug.train.epochs and twice.augment == once.augment
        ends = [run.schedule.gamma**run.train.epochs for run in (twice, aug)]
        assert ends[0] == pytest.approx(ends[1])
        assert not once.loss.erased_view and aug.loss.erased_view


def test_roles_differ_in_role_inference_and_noise_alone():
    rows = rows_of("roles")
    assert len(rows) == 2 + 4 * 2 + 2 * 3  # noise of 3 % where most is left to inference
    noise = {name: run.heatmap.noise for name, run in rows.items()}
    assert all(
        value == (0.03 if ", 3%" in n else 0.06 if ", 6%" in n else 0) for n, value in noise.items()
    )
    loaded = {name: (run.loss.loaded(True), run.loss.loaded(False)) for name, run in rows.items()}
    image, both = ("original",), ("original", "heatmap")
    assert loaded["image"] == loaded["image, flip"] == (image, image)
    assert (
        loaded["supervise, 6%"] == loaded["view"] == loaded["view+supervise, 6%"] == (both, image)
    )
    assert loaded["encoder, 6%"] == loaded["view, all"] == loaded["view+supervise, all, 3%"]
    assert loaded["encoder"] == (both, both)
    assert (rows["view"].loss.aligned, rows["view+supervise"].loss.aligned) == (False, True)
    assert not rows["supervise"].loss.heatmap_view and rows["view, all"].loss.heatmap_view
    assert rows["image, flip"].loss.inference == "flip"
    assert not any(run.loss.erased_view for run in rows.values())


@pytest.mark.parametrize(("target", "full"), [("", False), ("rafdb", False), ("rafdb", True)])
def test_few_labels_are_the_first_of_the_training_rows(target, full):
    rows = rows_of("labels", target, full)
    seen = {name: run.data.target_rows or run.data.sizes["train"] for name, run in rows.items()}
    assert seen == {f"{kind}, {n}": n for n in (300, 600, 1200) for kind in ("base", "aug", "all")}
    assert rows["all, 300"].loss.erased_view and rows["all, 300"].loss.heatmap_view
    if not full:  # the rate ends where it ends
        ends = {round(run.schedule.gamma**run.train.epochs, 6) for run in rows.values()}
        most = small.study()
        assert ends == {round(most.schedule.gamma**most.train.epochs, 6)}
        assert rows["base, 300"].train.epochs > rows["base, 1200"].train.epochs == most.train.epochs


def test_a_study_has_columns_for_the_splits_that_are_there(monkeypatch):
    def columns(name):
        found = study.studies("mvfer", name)["ablation"]
        claimed = {claim.metric.split("_")[0] for claim in found.claims}
        assert claimed == {place.split("_")[0] for place in found.metrics.values()}
        return claimed

    assert columns("") == {"test", "occluded", "pose"}
    assert columns("synth_a") == {"test", "occluded"}
    info = toydata.info("mine", splits={"train": 9, "validation": 3, "test": 3, "pose30": 2})
    monkeypatch.setattr(catalog, "info", lambda name, data_dir=None: info)
    assert columns("mine") == {"test", "pose30"}
    assert "labels" not in study.studies("mvfer", "mine")  # nine rows are fewer than 300
    info = toydata.info("mine", splits={"train": 700, "test": 3})
    assert {name.split(", ")[1] for name in rows_of("labels", "mine")} == {"300", "600"}


def test_all_studies_of_a_target_begin_with_one_run_and_share_what_is_alike(tmp_path):
    found = study.studies("mvfer")
    plans = {name: plan.plan(s, tmp_path, seeds=(0,)) for name, s in found.items()}
    assert len({run.workdir for p in plans.values() for run in p.starts}) == 1
    digest = {
        (name, run.row.name): run.workdir.name[-8:] for name, p in plans.items() for run in p.runs
    }
    assert digest["roles", "image"] == digest["labels", "base, 1200"]
    assert digest["roles", "image"] != digest["labels", "base, 600"]


def test_the_ablation_draws_the_sigma_it_asks_for():
    for row in study.studies("mvfer")["ablation"].rows:
        run = config_lib.check(plan.row_config(row, 0, {}))
        assert drawn_sigma(run.heatmap.spec(28), run.data.size) == run.heatmap.sigma
