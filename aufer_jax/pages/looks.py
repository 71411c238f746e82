"""The parts of a report that need the network and its data: a map of the features, and what it looked at."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.explain import panels, samples
from aufer_jax.pages import files, html
from aufer_jax.pages.html import Section
from aufer_jax.runs import Predictor
from aufer_jax.train import checkpoints

_MAPPED, _SHOWN, _CHANNELS = 500, 12, 64
_BESIDE = 7  # faces that several runs look at
_SEED = 0


def sections(run: files.Run) -> Iterator[Section]:
    """What the network itself says: features, ScoreCAM; nothing of runs without classes."""
    predictor = Predictor.load(run.folder)
    if not predictor.expressions:
        return
    split = next(iter(run.splits))
    if "features" in predictor.shapes:
        yield Section("features", f"Features: {split}", _or_why(_features, run, split))
    if predictor.kind == "image":
        yield Section(
            "looked",
            f"Surest mistakes, and what the network looked at: {split}",
            _or_why(_looked, predictor, split),
        )


def beside(runs: Sequence[files.Run]) -> Section:
    """What the first runs looked at in the same faces, one of each class first."""
    split, first = next(iter(runs[0].splits)), [run.folder for run in runs[: samples.MOST]]
    try:
        drawn = samples.figures(first, split, _BESIDE, top=_CHANNELS)
    except UserError as error:  # they have no classes, read clips, or have different records
        body = html.paragraph(str(error))
    else:
        labels = {
            "score_cam": "ScoreCAM of the class that each run predicts, which is below",
            "attention": "Attention of the transformers among them, with the same classes below",
        }
        body = "".join(html.figure(figure, labels[name]) for name, figure in drawn.items())
    return Section("looked", f"What they looked at: {split}", body)


def samples_now(run: files.Run) -> Iterator[Section]:
    """What the best state so far says of some validation records; nothing before there is one."""
    if checkpoints.Reader(run.folder).latest_step("best") is None:
        return
    predictor = Predictor.load(run.folder)
    if predictor.kind != "image" or not predictor.expressions:
        return
    names, body = predictor.expressions, ""
    rows = np.arange(min(_SHOWN, len(predictor.split("validation").source)))
    for batch in predictor.read("validation", rows):
        probabilities = predictor.apply(batch)["expression_probability"]
        for i in np.flatnonzero(batch["mask"]):
            label, probability = batch["expression"][i], probabilities[i]
            true = names[label] if label >= 0 else "unknown"
            words = f"{true}, predicted as {names[probability.argmax()]} ({probability.max():.2f})"
            picture = html.picture(batch["image"][i], words)
            body += f"<li>{picture}<span>{html.escape(words)}</span></li>"
    title = f"Validation records at step {predictor.step}"
    yield Section("samples", title, f'<ul class="faces">{body}</ul>')


def _or_why(body: Callable[..., str], *given: Any) -> str:
    """The body of a section, or why there is none: too few records, or a library that is not installed."""
    try:
        return body(*given)
    except UserError as error:
        return html.paragraph(str(error))


def _features(run: files.Run, split: str) -> str:
    from aufer_jax.explain import embed, tsne

    def mapped(found: dict[str, Any]) -> np.ndarray:
        perplexity = embed.fitting(30.0, len(found["id"]))
        return tsne.tsne(found["features"], perplexity=perplexity)

    note = ""
    if run.config.get("data", {}).get("aux"):
        try:
            found = embed.with_auxiliaries(run.folder, split, _MAPPED, _SEED)
        except UserError as error:  # they are not on this machine
            note = html.paragraph(f"Without the auxiliary datasets: {error}")
        else:
            places = mapped(found)
            several = ", ".join(found["datasets"])
            words = (
                f"t-SNE of the features of {len(places)} records of {several}, in the colours of"
            )
            drawn = embed.by_dataset(places, found)
            return html.figure(drawn, f"{words} their classes, and of their datasets")
    found = embed.read(run.folder, split, _MAPPED, _SEED)
    places = mapped(found)
    apart = {run.name: embed.apart(found["features"], places, found["label"])}
    drawn = embed.figure({run.name: places}, found["label"], found["names"], apart)
    words = f"t-SNE of the features of {len(places)} records, in the colours of their classes"
    return note + html.figure(drawn, words)


def _looked(predictor: Predictor, split: str) -> str:
    found = predictor.collect(split, ["expression_probability"])
    probability, label = found["expression_probability"], found["label"]
    said = probability.argmax(1)
    wrong = np.flatnonzero((said != label) & (label >= 0))
    wrong = wrong[np.argsort(-probability.max(1)[wrong], kind="stable")][:_SHOWN]
    if not len(wrong):
        return html.paragraph("No mistakes.")
    seen = samples.look(predictor, split, found["row"][wrong], top=_CHANNELS)
    source, names = predictor.split(split).source, predictor.expressions
    body = ""
    for image, heat, place in zip(seen.image, seen.heat, wrong, strict=True):
        true, predicted = names[label[place]], names[said[place]]
        words = f"{true}, predicted as {predicted} ({probability[place].max():.2f})"
        key = source[int(found["row"][place])]["key"]
        over = (255 * panels.overlay(image, heat)).astype(np.uint8)
        body += (
            f"<li>{html.picture(image, f'{key}: {words}')}{html.picture(over, f'ScoreCAM of {predicted}')}"
            f"<span>{html.escape(words)}</span><span>{html.escape(key)}</span></li>"
        )
    return f'<ul class="faces">{body}</ul>'
