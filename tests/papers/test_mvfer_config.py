"""MV-FER's configurations: mistakes, recipes and the rows of the ablation."""

import pytest

from aufer_jax.data.heatmaps import drawn_sigma
from aufer_jax.papers import study
from aufer_jax.papers.mvfer import method
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


def test_the_ablation_draws_the_sigma_it_asks_for():
    for row in study.studies("mvfer")["ablation"].rows:
        run = config_lib.check(plan.row_config(row, 0, {}))
        assert drawn_sigma(run.heatmap.spec(28), run.data.size) == run.heatmap.sigma
