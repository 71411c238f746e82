"""Arguments and keys of a configuration: what is wrong is named before anything compiles."""

import copy
import math

import pytest

from aufer_jax.train import base, config


def test_argument_string_takes_the_types_of_the_defaults():
    arg = config.parse_argument(
        "synth_b,aux=synth_au+synth_c,lr=0.5,quick", target="synth_a", aux=(), lr=1.0, quick=False
    )
    assert arg.target == "synth_b"
    assert arg.aux == ("synth_au", "synth_c")
    assert arg.lr == 0.5
    assert arg.quick is True


def test_no_argument_gives_the_defaults():
    assert config.parse_argument(None, target="synth_a", quick=False).target == "synth_a"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("axu=synth_au", "config argument: 'axu' .* Did you mean 'aux'"),
        ("synth_a,qiuck", "config argument: 'qiuck' .* Did you mean 'quick'"),
        ("lr=fast", "config argument lr: 'fast' is not float"),
        ("quick=perhaps", "config argument quick: 'perhaps'"),
    ],
)
def test_wrong_arguments_are_named(argument, message):
    with pytest.raises(ValueError, match=message):
        config.parse_argument(argument, target="synth_a", aux=(), lr=1.0, quick=False)


def changed(path, value):
    values = config.default("auvit").to_dict()
    section, _, leaf = path.rpartition(".")
    (values[section] if section else values)[leaf] = value
    return values


def test_the_default_is_valid():
    run = config.check(config.default("auvit"))
    assert run.optimizer.name == "adamw"
    assert run.loss.alpha == 1.0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "optimizer.weigth_decay",
            0.1,
            "key of optimizer: 'weigth_decay' .* Did you mean 'weight_decay'",
        ),
        ("loss.bata", 1.0, "key of loss: 'bata' .* Did you mean 'beta'"),
        ("trian", {}, "key of the config: 'trian' .* Did you mean 'train'"),
        ("train.parallel", "pmpa", "train.parallel: 'pmpa' .* Did you mean 'pmap'"),
        (
            "train.compute_dtype",
            "float16",
            "train.compute_dtype: 'float16' .* Did you mean 'bfloat16'",
        ),
        ("train.epochs", 0, "train.epochs: 0 must be greater than 0"),
        ("optimizer.clip_norm", -1.0, "optimizer.clip_norm: -1.0 must not be negative"),
        ("optimizer.betas", ("a", "b"), "optimizer.betas: 'a' is not float"),
        ("optimizer.betas", (0.9,), "must have 2 values"),
        ("optimizer.layer_decay", 0.5, "optimizer.layers: name the layers"),
        ("schedule.unit", "epochs", "Did you mean 'epoch'"),
        ("train.ema_decay", 1.5, "train.ema_decay: 1.5"),
        ("train.best_metric", "urar", "Did you mean 'uar'"),
        ("data.ratio", (0, 0), "data.ratio"),
        ("data.sizes", {"test": 0}, "data.sizes.test: 0"),
        ("train.epochs", "ten", "train.epochs: 'ten' is not int"),
        ("data.aux", "synth_au", "data.aux: 'synth_au' is not a list"),
        ("data.labels", "cross_entropy", "data.labels: .* Did you mean 'crossentropy'"),
        ("augment.erase", 1.5, "augment.erase: got 1.5"),
        ("train.accumulate", 7, "data.batch_size: 64 is not a multiple of 7"),
        ("optimizer.lr", math.nan, "optimizer.lr: nan must be a finite number"),
        ("loss.beta", math.inf, "loss.beta: inf must be a finite number"),
        ("loss.beta", -0.5, r"loss\.beta: -0\.5 must be at least 0"),
        ("optimizer.lr", 10**400, "optimizer.lr: inf must be a finite number"),
        ("augment.hue", 0.7, r"augment\.hue: 0\.7 must be from 0 to 0\.5"),
        ("augment.crop", (0.9, 0.5), "must begin with the smaller number"),
        ("erase.area", (0.0, 0.5), r"erase\.area: \(0\.0, 0\.5\) must be from 1e-06 to 1"),
        ("optimizer.betas", (0.9, 1.0), r"optimizer\.betas: \(0\.9, 1\.0\) must be from 0"),
        ("model.dropout", math.nan, r"model\.dropout: nan must be a finite number"),
        ("seed", -1, "seed: -1 must be from 0"),
        ("seed", 1.5, r"seed: 1\.5 is not int"),
        ("loss.label_smoothing", -1.0, r"loss\.label_smoothing: -1\.0 must be from 0 up to 1"),
        ("note", 3, "note: 3 is not str"),
    ],
)
def test_wrong_keys_and_values_are_named(path, value, message):
    with pytest.raises(ValueError, match=message):
        config.check(changed(path, value))


def test_every_number_of_the_default_is_checked():
    """NaN anywhere in any configuration is refused."""
    for method in base.names():
        default = config.default(method).to_dict()
        for path, value in _leaves(default):
            if isinstance(value, float):
                *parents, leaf = path.split(".")
                values = copy.deepcopy(default)
                section = values
                for parent in parents:
                    section = section[parent]
                section[leaf] = math.nan
                with pytest.raises(ValueError, match=f"^{path}: nan must be"):
                    config.check(values)


def _leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_smoothing_does_not_go_with_many_targets():
    values = changed("data.labels", "multi_target")
    assert config.check(values).data.labels == "multi_target"
    values["loss"]["label_smoothing"] = 0.1
    with pytest.raises(
        ValueError, match=r"'multi_target' is a loss of its own; loss\.label_smoothing .* must be 0"
    ):
        config.check(values)


def test_whole_numbers_serve_where_fractions_are_meant():
    assert config.check(changed("optimizer.lr", 1)).optimizer.lr == 1.0


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match="Did you mean 'auvit'"):
        config.default("auvitt")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("schedule.milestones", "3+4.5", (3.0, 4.5)),
        ("data.aux", "synth_b+2024", ("synth_b", "2024")),
        ("loss.slips", "a", ("a",)),
    ],
)
def test_a_list_that_was_empty_takes_the_type_of_its_key(key, text, value):
    there = config.default("auvit")
    config.set_value(there, key, text)
    section, leaf = key.split(".")
    assert there[section][leaf] == value


def test_a_section_has_no_value():
    with pytest.raises(
        ValueError, match=r"^erase: is a section; set one of erase\.area, erase\.first"
    ):
        config.set_value(config.default("auvit"), "erase", "0.5")
