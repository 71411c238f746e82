"""Folds pooled, against the published MAE-DFER matrix and hand-worked numbers; curves of several runs."""

import json

import numpy as np
import pytest
from matplotlib.image import imread
from published import MAE_DFER_FOLD_1

from aufer_jax import cli
from aufer_jax.report import figures, pool

DFEW = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")


def fold(name, confusion, names=DFEW):
    return pool.Fold(name, names, np.array(confusion))


def test_scores_of_the_published_fold():
    scores = fold("fold 1", MAE_DFER_FOLD_1).scores
    assert round(100 * scores["accuracy"], 2) == 74.88
    assert round(100 * scores["uar"], 2) == 62.59
    assert round(scores["weighted_f1"], 4) == 0.7441
    assert round(scores["macro_f1"], 4) == 0.6357


def test_pooling_weighs_samples_and_the_mean_weighs_folds():
    """3 of 4 right, then 8 of 16: 11/20 pooled, 0.625 in the mean; class b 1/2 and 0/8."""
    names = ("a", "b")
    folds = [fold("one", [[2, 0], [1, 1]], names), fold("two", [[8, 0], [8, 0]], names)]
    found = pool.pool(folds)
    assert found["confusion"] == [[10, 0], [9, 1]] and found["samples"] == 20
    assert found["pooled"]["accuracy"] == pytest.approx(11 / 20)
    assert found["mean"]["accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["std"]["accuracy"] == pytest.approx(0.25 / 2**0.5)
    assert found["pooled"]["uar"] == pytest.approx((1 + 1 / 10) / 2)
    assert found["mean"]["recall/b"] == pytest.approx((1 / 2 + 0) / 2)
    text = pool.markdown(found, folds)
    assert "| **mean of folds** |  | 62.50 ± 17.68 | 62.50 ± 17.68 |" in text
    assert "| **pooled** | 20 | 55.00 | 55.00 |" in text
    assert "| b | 10 | 10.00 | 25.00 |" in text
    assert "| b | 9 | 1 |" in text


def test_five_equal_folds_pool_to_one():
    found = pool.pool([fold(f"fold {i}", MAE_DFER_FOLD_1) for i in range(5)])
    assert found["samples"] == 5 * 2341
    for name in ("accuracy", "uar", "macro_f1"):
        assert found["pooled"][name] == pytest.approx(found["mean"][name])
        assert found["std"][name] == pytest.approx(0)


def test_a_class_that_a_fold_lacks_is_left_out_of_its_mean():
    names = ("a", "b")
    found = pool.pool([fold("one", [[2, 2], [0, 0]], names), fold("two", [[4, 0], [1, 3]], names)])
    assert found["mean"]["uar"] == pytest.approx((1 / 2 + (1 + 3 / 4) / 2) / 2)
    assert found["mean"]["recall/b"] == pytest.approx(3 / 4)
    assert found["pooled"]["recall/a"] == pytest.approx(6 / 8)


# --- runs ---------------------------------------------------------------------------------------


def run(folder, number, confusion=MAE_DFER_FOLD_1, **summary):
    folder.mkdir(parents=True)
    values = {"accuracy": 0.5, "confusion": np.asarray(confusion).tolist()}
    summary = {"expressions": DFEW, "test_last": values, "test_best": values, **summary}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.json").write_text(json.dumps({"data": {"target": "dfew", "fold": number}}))
    return str(folder)


def test_the_command(tmp_path, capsys):
    workdirs = [run(tmp_path / f"fold{i}", i) for i in (1, 2)]
    out = tmp_path / "out"
    assert cli.main(["run", "pool", *workdirs, "--state", "last", "--out", str(out)]) == 0
    assert "pooled  WAR 74.88  UAR 62.59" in capsys.readouterr().out
    text = (out / "pool.md").read_text()
    assert text.startswith("# 2 folds, test, last epoch") and "| fold1 | 2341 | 74.88 |" in text
    assert (
        json.loads((out / "pool.json").read_text())["confusion"] == (2 * MAE_DFER_FOLD_1).tolist()
    )
    for name in ("confusion.png", "confusion_counts.png"):
        assert imread(out / name).std() > 0.05  # something is drawn


def test_folds_of_one_name_stay_apart(tmp_path):
    workdirs = [run(tmp_path / f"fold{i}" / "run", i) for i in (1, 2)]
    found = pool.write(workdirs, out=tmp_path / "out")
    assert list(found["folds"]) == ["fold1/run", "fold2/run"]
    assert "| fold2/run | 2341 |" in (tmp_path / "out" / "pool.md").read_text()
    with pytest.raises(ValueError, match="at least two folds"):
        pool.write([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: [run(p / "a", 1)], "at least two folds"),
        (lambda p: [run(p / "a", 1), run(p / "b", 1)], "'dfew' with data.fold = 1"),
        (lambda p: [run(p / "a", 1), str(p / "b")], "holds no finished run"),
        (
            lambda p: [run(p / "a", 1), run(p / "b", 2, expressions=DFEW[::-1])],
            "'b' has the classes fear, disgust",
        ),
    ],
)
def test_what_cannot_be_pooled(tmp_path, capsys, make, message):
    assert cli.main(["run", "pool", *make(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_evaluation_is_named(tmp_path):
    workdir = run(tmp_path / "a", 1)
    with pytest.raises(ValueError, match="Did you mean 'test_best'"):
        pool.read(workdir, "tests")
    with pytest.raises(ValueError, match="Did you mean 'last'"):
        pool.read(workdir, "test", "lst")


# --- curves -------------------------------------------------------------------------------------


def log(folder, offset, **losses):
    folder.mkdir()
    lines = []
    for epoch in (1, 2, 3):
        train = {
            "epoch": epoch,
            "split": "train",
            "loss": offset / epoch,
            "seconds": 5.0,
            "uar": 0.3,
        }
        lines.append(train | {name: value / epoch for name, value in losses.items()})
        lines.append({"epoch": epoch, "split": "validation", "accuracy": epoch / 4, "uar": 0.1})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder)


def test_curves_of_two_runs_share_their_panels(tmp_path):
    workdirs = [log(tmp_path / "base", 2.0), log(tmp_path / "au", 3.0, au_loss=1.0)]
    runs = {path.rsplit("/", 1)[1]: figures.read_lines(path) for path in workdirs}
    axes = {a.get_title(): a for a in figures.compare(runs).axes}
    assert list(axes) == [
        "training loss", "training au_loss", "training UAR", "validation WAR", "validation UAR",
        "seconds an epoch",
    ]  # fmt: skip
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in axes["training loss"].lines}
    np.testing.assert_allclose(drawn["base"], [2, 1, 2 / 3])
    np.testing.assert_allclose(drawn["au"], [3, 1.5, 1])
    assert [line.get_label() for line in axes["training au_loss"].lines] == ["au"]
    assert len(axes["validation WAR"].lines) == 2
    out = tmp_path / "curves.png"
    assert cli.main(["run", "curves", *workdirs, "--out", str(out)]) == 0
    assert imread(out).std() > 0.05


def test_curves_of_no_run(tmp_path, capsys):
    assert cli.main(["run", "curves", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
