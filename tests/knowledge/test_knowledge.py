"""AU-expression knowledge: the published matrices, and one's own from frames."""

import csv
import re

import clips_source as sources
import cv2
import numpy as np
import places
import pytest

from aufer_jax import cli, facs
from aufer_jax.data import batches, mixture, records, sampling, views
from aufer_jax.datasets import dfew
from aufer_jax.knowledge import estimate, frame_scores, medians
from aufer_jax.papers.audfer import knowledge
from aufer_jax.runs import Predictor
from aufer_jax.train import base

GOLDEN = places.GOLDEN / "audfer_loss_weights.csv"
NAN = np.nan


def golden(name):
    with GOLDEN.open() as file:
        return np.array([row[2:] for row in csv.reader(file) if row[0] == name], float)


# --- Published ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shift, form", [("half_range", "fig4"), ("midrange", "midrange")])
def test_both_published_forms_come_from_the_sums(shift, form):
    expressions, sums = knowledge.published()
    assert tuple(map(facs.expression, expressions)) == dfew.EXPRESSIONS
    np.testing.assert_allclose(knowledge.matrix(sums, shift), golden(form), atol=1e-15)
    assert (sums.min(), sums.max()) == (0.523147108, 4.67)


def test_au28_of_the_published_sums_is_the_mean_of_the_rest():
    _, sums = knowledge.published()
    filled, aus = knowledge.fill(sums, facs.OPENFACE_18)
    assert aus == (28,)
    np.testing.assert_allclose(filled, sums, atol=5e-10)  # they are rounded to 9 digits
    blank = sums.copy()
    blank[:, 16] = NAN
    np.testing.assert_array_equal(knowledge.fill(blank, facs.OPENFACE_18)[0], filled)
    # An expression without any other value gets none, an AU without any is filled as well.
    values = np.array([[1, 3, 9, NAN], [NAN, NAN, 9, NAN]])
    filled, aus = knowledge.fill(values, (1, 2, 28, 45))
    np.testing.assert_array_equal(filled, [[1, 3, 2, 2], [NAN] * 4])
    assert aus == (28, 45)


def test_uniform_knowledge_weighs_as_much_and_knows_nothing():
    whole = knowledge.for_orders(knowledge.published()[0], facs.OPENFACE_18, "midrange")
    found = knowledge.for_orders(("happiness", "grumpy"), (12, 43), "midrange", knowledge.UNIFORM)
    np.testing.assert_allclose(found, np.full((2, 2), golden("midrange").mean()))
    assert found[0, 0] == pytest.approx(whole.mean())


def test_the_drawn_clips_have_knowledge_of_their_own():
    expressions, aus, sums = knowledge.load("synth_clips")
    assert aus == facs.OPENFACE_18 and np.isfinite(sums).all()
    typical = {name: aus[row.argmax()] for name, row in zip(expressions, sums, strict=True)}
    assert (typical["happiness"], typical["sadness"], typical["anger"]) == (6, 4, 4)
    assert sums[expressions.index("neutral"), aus.index(12)] == 0
    found = knowledge.for_orders(("fear", "neutral"), (20,), "midrange", "synth_clips")
    assert found[0, 0] > 0.7 > 0.3 > found[1, 0]


def test_orders():
    found = knowledge.for_orders(("fearful", "contempt", "happiness"), (12, 28, 43), "midrange")
    table = golden("midrange")
    np.testing.assert_allclose(
        found, [[table[6, 8], table[6, 16], 0.5], [0.5] * 3, [table[0, 8], table[0, 16], 0.5]]
    )


def test_the_steps_of_the_text_cannot_reach_the_figure():
    extreme = [np.array([[0.0, 5.0]])] * 4
    sums = knowledge.text_sums(extreme, (1, 2))
    largest = knowledge.matrix(sums, knowledge.TEXT_SHIFT).max()
    assert largest < 1 / (1 + np.exp(-1.5)) < golden("fig4").max()


# --- From frames to sums ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how, ends, expected",
    [
        ("none", "kept", [0, 2, 0, NAN, 5, 0]),
        ("failures", "kept", [0, 2, 0, 2.5, 5, 0]),
        ("zeros", "kept", [0, 2, 3, 4, 5, 0]),
        ("zeros", "extended", [2, 2, 3, 4, 5, 5]),
    ],
)
def test_interpolation(how, ends, expected):
    gaps, empty = np.array([0, 2, 0, NAN, 5, 0]), np.array([0, 0, NAN, 0, 0, 0])
    both = np.stack([gaps, empty], 1)
    found = medians.interpolate(both, how, ends)
    np.testing.assert_allclose(found[:, 0], expected)
    filled = 0 if how == "failures" else NAN  # no value but zeros, which are none for "zeros"
    np.testing.assert_array_equal(found[:, 1], [0, 0, filled, 0, 0, 0])
    np.testing.assert_array_equal(both[:, 0], gaps)


def test_failures_at_the_ends():
    values = np.array([[NAN], [2.0], [NAN]])
    np.testing.assert_array_equal(medians.interpolate(values, "failures"), values)
    np.testing.assert_array_equal(medians.interpolate(values, "failures", "extended"), [[2]] * 3)


def clip(expression, *rows, kept=None):
    mask = None if kept is None else np.array(kept, bool)
    return medians.Clip(f"{expression}{rows}", expression, np.array(rows, float), mask)


def test_medians_of_kept_frames():
    left_out = {}
    found = medians.medians(
        "d",
        [
            clip("anger", (1, 0), (2, NAN), (9, 9), kept=(1, 1, 0)),
            clip("anger", (5, 4)),
            clip("happiness", (NAN, NAN), (3, NAN)),
            clip("happiness", (1, 1), kept=[0]),
            clip("contempt", (1, 1), kept=[0]),
        ],
        (6, 12),
        left_out,
    )
    assert found.expressions == ("happiness", "anger", "contempt")
    np.testing.assert_array_equal(found.values, [[3, NAN], [2, 2], [NAN, NAN]])
    assert found.clips.tolist() == [1, 2, 0]
    assert found.frames.tolist() == [2, 4, 1] and found.kept.tolist() == [1, 3, 0]
    assert len(left_out["no frame that counts"]) == 2
    with pytest.raises(ValueError, match=r"d: no frame of any clip counts .1 x no frame"):
        medians.medians("d", [clip("anger", (1,), kept=[0])], (6,), {})


def test_sums_over_datasets():
    one, two = np.array([[1.0, 2], [3, NAN]]), np.array([[2.0, 5], [NAN, NAN]])
    np.testing.assert_array_equal(knowledge.total([one, two]), [[3, 7], [6, NAN]])


# --- Files --------------------------------------------------------------------------------------


def test_files_go_there_and_back(tmp_path):
    sums = ("anger", "fear"), (4, 12), np.array([[1 / 3, 2.0], [NAN, 0.1]])
    knowledge.write(tmp_path / "k.csv", sums, {"midrange": np.zeros((2, 2))})
    expressions, aus, values = knowledge.load(tmp_path / "k.csv")
    assert (expressions, aus) == sums[:2]
    np.testing.assert_array_equal(values, sums[2])
    shift = (2 + 0.1) / 2
    expected = 1 / (1 + np.exp(-(np.array([0.1, 1 / 3, 2]) - shift)))
    found = knowledge.for_orders(
        ("happy", "fear", "angry"), (12, 4), "midrange", tmp_path / "k.csv"
    )
    np.testing.assert_allclose(found, [[0.5, 0.5], [expected[0], 0.5], [expected[2], expected[1]]])
    with pytest.raises(
        ValueError, match=r"none of the run's expressions.*anger, fear and AUs 4, 12"
    ):
        knowledge.for_orders(("happy",), (12,), "midrange", tmp_path / "k.csv")


def test_classes_of_ones_own_need_knowledge_of_ones_own(tmp_path):
    with pytest.raises(ValueError, match=r"the published one says nothing of grumpy, .*au=none"):
        knowledge.for_orders(("happiness", "grumpy"), (12,), "midrange")
    (tmp_path / "k.csv").write_text("expression,AU12\nGrumpy,0\nhappy,2\n")
    found = knowledge.for_orders(("happiness", "grumpy"), (12,), "midrange", tmp_path / "k.csv")
    np.testing.assert_allclose(found, 1 / (1 + np.exp([[-1], [1]])))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "begins with nothing"),
        ("file,AU01\na,1\n", "begins with file, AU01"),
        ("expression,AU99\nanger,1\n", "'AU99' is not known"),
        ("expression,AU01\nanger,x\n", "not a number.*'x'"),
        ("expression,AU01\nanger,1\nangry,1\n", "twice"),
        ("expression,AU01\nangr,1\n", "Did you mean 'anger'"),
        ("matrix,expression,AU01\nfig4,anger,1\n", "has no sums"),
        ("expression,AU01,AU02\nanger,1\n", "rows shorter"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "k.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        knowledge.load(tmp_path / "k.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        knowledge.load(tmp_path / "other.csv")


# --- A folder of tracks -------------------------------------------------------------------------


def folder(place):
    """Three clips with AU06 and AU12 at 2.5 or 0, one that fails, one without a label."""
    sources.write(
        place / "a.csv", sources.openface([(1, 1, {6}), (2, 1, {6, 12}), (3, 1, {6, 28})])
    )
    sources.write(place / "b.csv", sources.openface([(1, 1, {4}), (2, 0.3, {12})]))
    sources.write(place / "c.csv", sources.openface([(1, 1, set()), (2, 1, set())]))
    sources.write(place / "d.csv", "frame,x_0\n1,2\n")
    sources.write(place / "e.csv", sources.openface([(1, 1, {1})]))
    rows = ("a.mp4,happy", "b.mp4,Anger", "c.mp4,bored", "f.mp4,fear")
    sources.write(place / "labels.csv", "\n".join(["file,expression", *rows]))


def test_knowledge_of_a_folder(tmp_path, capsys):
    folder(tmp_path / "in")
    out = tmp_path / "out"
    command = [
        "paper",
        "knowledge",
        str(tmp_path / "in"),
        "--out",
        str(out),
        "--interpolate",
        "none",
    ]
    assert cli.main([*command, "--aus", "4,6,12,28"]) == 0, capsys.readouterr().err
    expressions, aus, sums = knowledge.load(out / "knowledge.csv")
    assert expressions == ("happiness", "anger") and aus == (4, 6, 12, 28)
    mean = 5 / 6
    np.testing.assert_allclose(sums, [[0, 2.5, 0, mean], [2.5, 0, 0, mean]])
    report = (out / "knowledge.md").read_text()
    for line in (
        "| happiness | 1 | 3 of 3 | 0.00 | 2.50 | 0.00 | - |",
        "| anger | 1 | 1 of 1 |",
        "1 left out, not readable: d.csv: d.csv: no column such as AU06_r",
        "1 left out, label 'bored' is not an expression: c",
        "1 left out, in labels.csv, without a track: f.mp4",
        "1 left out, expression unknown: e",
        "The mean of all other cells of S stands in for AU28",
        "`loss.shift` is midrange",
        "| happiness | AU06 | 0.78 | 0.69 | +0.08 |",  # sigmoid(1.25)
    ):
        assert line in report, line
    image = cv2.imread(str(out / "knowledge.png"))
    assert image is not None and image.std() > 10
    # In training: the loss's rows come from it.
    found = knowledge.for_orders(("anger", "happiness"), (6,), "midrange", out / "knowledge.csv")
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp([1.25, -1.25])))


def test_class_folders_and_probabilities(tmp_path):
    text = (
        "FaceRectX,FaceScore,AU06,AU12,AU43,frame\n" + "1,0.9,0.25,0.5,1,0\n1,0.9,0.75,0.5,0.5,1\n"
    )
    sources.write(tmp_path / "in/happy/a.csv", text)
    options = estimate.Options(aus=(6, 45), interpolate="none", closed_as_blink=True)
    found = estimate.estimate([str(tmp_path / "in")], options)
    np.testing.assert_allclose(found.sums, [[2.5, 3.75]])  # 5 times the medians
    with pytest.raises(ValueError, match=r"neither labels\.csv"):
        estimate.estimate([str(tmp_path / "in/happy")], options)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--select", "repeat"], "'repeat' with host ''"),
        (["--host", "run"], "'none' with host 'run'"),
        (["--select", "windows"], "Did you mean 'window'"),
        (["--shift", "midrnge"], "Did you mean 'midrange'"),
        (["--shift", "nan"], "not a finite number"),
        (["--interpolate", "zero"], "Did you mean 'zeros'"),
        (["--ends", "keep"], "Did you mean 'kept'"),
        (["--theta", "1.5"], "theta: 1.5"),
        (["--aus", "openface"], "Did you mean 'openface_1"),
        (["--aus", "28"], "besides AU28"),
        (["--aus", "1,1"], "twice"),
    ],
)
def test_options_are_checked(tmp_path, capsys, options, message):
    folder(tmp_path)
    assert (
        cli.main(["paper", "knowledge", str(tmp_path), "--out", str(tmp_path / "out"), *options])
        == 2
    )
    assert re.search(message, capsys.readouterr().err)


# --- Datasets of clips --------------------------------------------------------------------------


def frames(*levels):
    """Grey pictures, as bytes."""
    return [
        sources.faces.encoded(np.full((16, 16, 3), level, np.uint8), ".png") for level in levels
    ]


def dataset(aus=(6, 12), scale=1.0):
    info = records.DatasetInfo("mine", records.CLIP, ("anger", "happiness"), aus, {}, "", "", "")

    def record(key, label, au, levels, known=(True, True)):
        whole = {"key": key, "frames": frames(*levels), "expression": label, "au_known": known}
        return records.complete(whole | {"au": scale * np.array(au, float)}, records.CLIP)

    found = [
        record("a", 0, [(1, 0), (3, 0), (NAN, NAN)], (0, 100, 200)),
        record("b", 1, [(0, 2.5), (4, 5)], (200, 100)),
        record("c", 1, [(5, 5)], (0,), (False, True)),
        record("d", -1, [(5, 5)], (0,)),
        record("e", 0, [(NAN, NAN)], (0,), (False, False)),
    ]
    return records.MemorySource(info, found)


def test_medians_of_records():
    options = estimate.Options(aus=(12, 6, 45), interpolate="none")
    found = estimate.from_records(dataset(), options)
    assert found.expressions == ("happiness", "anger")
    np.testing.assert_allclose(found.values, [[5, 2, NAN], [0, 2, NAN]])
    assert found.left_out == {"expression unknown": ["d"], "AUs unknown": ["e"]}
    assert found.frames.tolist() == [3, 2]
    # Whole numbers up to 1 are presences.
    with pytest.raises(ValueError, match=r"not intensities.*--au-values intensity"):
        ones = records.MemorySource(dataset().info, dataset().records[:1])
        ones.records[0]["au"][:] = 1
        estimate.from_records(ones, options)
    with pytest.raises(ValueError, match="has AUs 6, 12, none of 1"):
        estimate.from_records(dataset(), estimate.Options(aus=(1,)))


def host(monkeypatch, way, rule="dense", step=1, count=3):
    """A host whose logits are the brightness of a clip's last frame, in hundreds, and 0."""
    spec = views.Spec(
        size=8, aus=(6,), clip=sampling.Sampling(count, rule, step), train=False, align=None
    )

    def predict(params, model_state, batch):
        del params, model_state
        bright = batch["clip"][:, -1].mean((1, 2, 3)) / 100
        return {"expression": bright[:, None] * np.array([0.0, 1.0], np.float32)}

    labels = base.Labels(records.CLIP, ("angry", "happy"), ())
    scorer = Predictor("run", base.Inference(predict, spec), labels, {}, {})
    monkeypatch.setattr(Predictor, "load", lambda workdir: scorer)
    return frame_scores.Host("run", way)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.array(x)))


def test_frames_are_scored(monkeypatch):
    a, b = dataset().records[:2]
    repeat = host(monkeypatch, "repeat")
    np.testing.assert_allclose(repeat.scores(a, "anger"), sigmoid([0, -1, -2]), rtol=1e-5)
    np.testing.assert_allclose(repeat.scores(b, "happiness"), sigmoid([2, 1]), rtol=1e-5)
    window = host(monkeypatch, "window")  # the last of three frames is the next one
    np.testing.assert_allclose(window.scores(a, "happiness"), sigmoid([1, 2, 2]), rtol=1e-5)
    # A broken frame has no score; in the windows of others the nearest stands for it.
    a["frames"][2] = b"broken"
    np.testing.assert_allclose(window.scores(a, "happiness"), [*sigmoid([1, 1]), NAN], rtol=1e-5)
    # More frames than a batch has.
    long = dict(a, frames=frames(*range(40)), landmarks=np.full((40, 68, 2), NAN, np.float32))
    expected = sigmoid(np.arange(40) / 100)
    np.testing.assert_allclose(repeat.scores(long, "happiness"), expected, rtol=1e-5)


def test_a_frame_is_drawn_as_evaluation_draws_it(monkeypatch):
    source = dataset()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 30, 3), np.uint8)
    record = source.records[0] | {"frames": [sources.faces.encoded(picture, ".png")] * 3}
    record["landmarks"] = np.broadcast_to(rng.uniform(5, 30, (68, 2)), (3, 68, 2)).astype(
        np.float32
    )
    found = host(monkeypatch, "repeat")
    found._spec = views.Spec(size=24, aus=(), align="5pt", train=False)
    drawn, readable = found._draw(record, np.array([1]))
    spec = views.Spec(size=24, aus=(), align="5pt", train=False, clip=sampling.Sampling(1))
    part = mixture.Part(records.MemorySource(source.info, [record]), spec)
    batch, _ = batches.assemble([batches.Row(part, 0, None)], spec)
    assert readable.all()
    np.testing.assert_array_equal(drawn, batch["clip"][0])


def test_windows():
    assert frame_scores.windows(3, sampling.Sampling(4), "repeat").tolist() == [
        [0] * 4,
        [1] * 4,
        [2] * 4,
    ]
    found = frame_scores.windows(9, sampling.Sampling(4, "dense", 2), "window")
    assert found[4].tolist() == [0, 2, 4, 6] and found[0].tolist() == [0, 0, 0, 2]
    assert found[8].tolist() == [4, 6, 8, 8]


def test_frames_are_selected(monkeypatch):
    options = estimate.Options(
        aus=(6, 12), interpolate="none", select="repeat", host="run", theta=0.8
    )
    scorer = host(monkeypatch, "repeat")
    source = records.MemorySource(dataset().info, dataset().records[1:3])
    found = estimate.from_records(source, options, scorer)
    # Of b the first frame has sigmoid(2) = 0.88 and the second 0.73; of c the only one 0.5.
    np.testing.assert_array_equal(found.values, [[0, 2.5]])
    assert found.kept.tolist() == [1] and found.frames.tolist() == [3]
    assert found.left_out == {"no frame that counts": ["c"]}
    scorer.expressions = ("anger", "happiness", "fear")[:1]
    with pytest.raises(ValueError, match="2 x expression unknown to the host"):
        estimate.from_records(source, options, scorer)


def test_sources_are_checked(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'synth_clips'"):
        estimate.estimate(["synth_clip"], estimate.Options(data_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="synth_a is not a dataset of clips"):
        estimate.estimate(["synth_a"], estimate.Options(data_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="none given"):
        estimate.estimate([], estimate.Options())
