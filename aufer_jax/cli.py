"""The `aufer` command: one short subcommand a verb, each calling a function a notebook can call."""

import argparse
import difflib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from aufer_jax.errors import UserError

Run = Callable[[argparse.Namespace], Any]

_VERBS: dict[str, tuple[str, tuple[Any, ...], Run]] = {}


def _arg(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, options


def _verb(name: str, help: str, *arguments: Any) -> Callable[[Run], Run]:
    """Makes the function the subcommand `name`. Imports belong into the function: help stays fast."""

    def register(run: Run) -> Run:
        _VERBS[name] = (help, arguments, run)
        return run

    return register


# A switch that is left out stays None, so that only datasets that have it hear of it.
_FLAG: dict[str, Any] = {"action": "store_const", "const": True}


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, _list(text)))


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in _list(text)]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN,...")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _not_known(verb: str, unknown: Sequence[str]) -> str:
    """What to say of options and words that the subcommand does not take."""
    options = [names[-1] for names, _ in _VERBS[verb][1] if names[-1].startswith("-")]
    near = difflib.get_close_matches(unknown[0].split("=")[0], options, n=1)
    hint = f"did you mean {near[0]}?" if near else f"see aufer {verb} --help"
    return f"aufer: {verb} does not take {' '.join(unknown)}; {hint}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aufer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, (help_, arguments, run) in _VERBS.items():
        verb = verbs.add_parser(name, help=help_, description=help_)
        for names, options in arguments:
            verb.add_argument(*names, **options)
        verb.set_defaults(run=run)
    chosen, unknown = parser.parse_known_args(argv)
    if unknown:
        print(_not_known(chosen.verb, unknown), file=sys.stderr)
        return 2
    chosen.command = shlex.join(["aufer", *(sys.argv[1:] if argv is None else argv)])
    try:
        return chosen.run(chosen) or 0
    except ValueError as error:
        print(f"aufer: {error}", file=sys.stderr)
        return 2


@_verb(
    "train",
    "train a configuration, like python -m aufer_jax.main",
    _arg("config", help="for example configs/auvit.py"),
    _arg("flags", nargs=argparse.REMAINDER, help="flags of aufer_jax.main"),
)
def _train(arguments: argparse.Namespace) -> None:
    from aufer_jax import main as entry

    sys.argv = ["aufer", f"--config={arguments.config}", *arguments.flags]
    entry.run()


@_verb("evaluate", "evaluate the best state of a workdir", _arg("workdir"))
def _evaluate(arguments: argparse.Namespace) -> None:
    from aufer_jax import runs
    from aufer_jax.train import devices

    devices.use_compilation_cache()
    runs.evaluate(arguments.workdir)


@_verb(
    "explain",
    "ScoreCAM, attention and disagreements of one or two runs, as pictures",
    _arg("workdirs", nargs="+", metavar="WORKDIR", help="one run, or two on the same dataset"),
    _arg("--split", default="test"),
    _arg("--count", type=int, default=8, help="samples a picture shows"),
    _arg("--layer", default="", help="default: the last map before the head"),
    _arg("--keys", nargs="+", default=(), help="of records; default: the first of each class"),
    _arg("--top", type=int, help="channels ScoreCAM tries; default: all"),
    _arg("--out", help="folder; default: explain in the first workdir"),
)
def _explain(arguments: argparse.Namespace) -> None:
    from aufer_jax import explain
    from aufer_jax.train import devices

    devices.use_compilation_cache()
    names = ("split", "count", "layer", "keys", "top", "out")
    options = {name: getattr(arguments, name) for name in names}
    print("written to", explain.explain(arguments.workdirs, **options)["folder"])


@_verb(
    "tsne",
    "t-SNE maps of the features of one or several runs, on the same samples",
    _arg("workdirs", nargs="+", metavar="WORKDIR", help="runs on images or clips of one dataset"),
    _arg("--split", default="test"),
    _arg("--count", type=int, default=1000, help="samples at most"),
    _arg("--perplexity", type=float, default=30.0),
    _arg("--seed", type=int, default=0, help="of the choice of samples"),
    _arg("--out", help="folder; default: explain in the first workdir"),
)
def _tsne(arguments: argparse.Namespace) -> None:
    from aufer_jax.explain import embed
    from aufer_jax.train import devices

    devices.use_compilation_cache()
    names = ("split", "count", "perplexity", "seed", "out")
    options = {name: getattr(arguments, name) for name in names}
    found = embed.embed(arguments.workdirs, **options)
    for name, values in found["runs"].items():
        print(
            f"{name}: silhouette {values['silhouette_features']:.3f} of the features, "
            f"{values['silhouette_map']:.3f} in the map"
        )
    print("written to", found["folder"])


@_verb(
    "curves",
    "training curves of one or several runs in one picture",
    _arg("workdirs", nargs="+", metavar="WORKDIR", help="finished or not"),
    _arg("--out", default="curves.png"),
)
def _curves(arguments: argparse.Namespace) -> None:
    from aufer_jax.report import figures

    print("written to", figures.write_comparison(arguments.workdirs, arguments.out))


@_verb(
    "pool",
    "pool the test results of a cross-validation's folds",
    _arg("workdirs", nargs="+", metavar="WORKDIR", help="finished runs, one a fold"),
    _arg("--split", default="test"),
    _arg("--state", default="best", help="best or last"),
    _arg("--out", default="pool", help="folder for pool.md, pool.json and the confusion matrix"),
)
def _pool(arguments: argparse.Namespace) -> None:
    from aufer_jax.report import pool

    found = pool.write(
        arguments.workdirs, split=arguments.split, kind=arguments.state, out=arguments.out
    )
    for name in ("pooled", "mean"):
        war, uar = (100 * found[name][score] for score in ("accuracy", "uar"))
        print(f"{name:6}  WAR {war:.2f}  UAR {uar:.2f}")
    print("written to", arguments.out)


@_verb(
    "bias",
    "compare the faces and AUs of datasets, expression by expression",
    _arg("datasets", nargs="+", metavar="DATASET", help="see `aufer datasets`"),
    _arg("--data-dir", help="prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax"),
    _arg("--split", default="train", help="or a piece of it, such as train[:1000]"),
    _arg("--aus", default="common_13", help="which AUs, a name of facs.AU_ORDERS"),
    _arg("--threshold", type=float, default=1.0, help="intensity from which an AU is present"),
    _arg("--intensities", action="store_true", help="compare intensities, not presence"),
    _arg("--out", default="bias", help="folder for bias.md, bias.json and the pictures"),
)
def _bias(arguments: argparse.Namespace) -> None:
    from aufer_jax import bias

    bias.measure(
        arguments.datasets,
        data_dir=arguments.data_dir,
        split=arguments.split,
        out=arguments.out,
        aus=arguments.aus,
        threshold=None if arguments.intensities else arguments.threshold,
    )
    print("written to", arguments.out)


@_verb(
    "knowledge",
    "AU-expression knowledge from clips or AU files, as loss weights of AU-DFER",
    _arg("sources", nargs="+", metavar="SOURCE", help="dataset, NAME:SPLIT, or folder of AU files"),
    _arg("--out", default="knowledge", help="folder for knowledge.csv, .md and .png"),
    _arg("--interpolate", default="zeros", help="zeros, failures or none"),
    _arg("--ends", default="kept", help="gaps at the ends of a clip: kept or extended"),
    _arg(
        "--select", default="none", help="frames that count: none, repeat or window; needs --host"
    ),
    _arg("--host", default="", metavar="WORKDIR", help="run on clips that scores the frames"),
    _arg("--theta", type=float, default=0.5, help="least score; the paper gives none"),
    _arg("--shift", default="midrange", help="midrange, half_range, text, or a number"),
    _arg("--aus", default="openface_18", help="a name of facs.AU_ORDERS, or numbers: 1,2,4"),
    _arg("--confidence", type=float, default=0.8, help="AU rows that are less sure are unknown"),
    _arg("--closed-as-blink", action="store_true", help="py-feat's AU43 stands in for AU45"),
    _arg("--data-dir", help="prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax"),
)
def _knowledge(arguments: argparse.Namespace) -> None:
    from aufer_jax.knowledge import report
    from aufer_jax.train import devices

    devices.use_compilation_cache()
    options = {k: v for k, v in vars(arguments).items() if k not in ("verb", "run", "command")}
    report.knowledge_of(options.pop("sources"), options.pop("out"), **options)
    print("written to", arguments.out)


@_verb(
    "reproduce",
    "run a paper's experiments and write which claims held",
    _arg("paper", help="mvfer, auvit or audfer"),
    _arg("tables", nargs="*", help="default: all of the paper"),
    _arg("--target", default="", help="a prepared dataset; default: synthetic faces"),
    _arg("--aux", nargs="+", default=(), help="auxiliary datasets; default: the paper's"),
    _arg("--full", action="store_true", help="the dataset's own recipe, not sizes for two cores"),
    _arg("--rows", nargs="+", default=(), help="only these rows"),
    _arg("--seeds", type=int, default=3),
    _arg("--jobs", type=int, default=0, help="runs at a time; default: one a core, one on a GPU"),
    _arg("--set", nargs="+", default=(), metavar="KEY=VALUE", help="for example train.epochs=3"),
    _arg("--runs", default="runs/reproduce", help="folder of the runs"),
    _arg("--out", default="", help="default: docs/results/PAPER.md"),
)
def _reproduce(arguments: argparse.Namespace) -> None:
    from aufer_jax import reproduce

    changes = {}
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set: {item!r} is not KEY=VALUE")
        changes[key] = value
    reproduce.reproduce(
        arguments.paper,
        arguments.tables,
        command=arguments.command,
        target=arguments.target,
        aux=arguments.aux,
        full=arguments.full,
        rows=arguments.rows,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        changes=changes,
        runs=arguments.runs,
        out=arguments.out,
    )


@_verb(
    "convert",
    "turn a published PyTorch checkpoint into our format",
    _arg("checkpoint", help=".pth, .pt, .bin, .pkl or .safetensors"),
    _arg("--model", required=True, help="architecture, see `aufer models`"),
    _arg("--out", required=True, help="folder for weights.safetensors and card.json"),
)
def _convert(arguments: argparse.Namespace) -> None:
    from aufer_jax import weights

    print(weights.convert(arguments.checkpoint, arguments.model, arguments.out))


@_verb(
    "prepare",
    "make a dataset ready for training, and say what was found in it",
    _arg("dataset", help="folder, clips, or one that `aufer datasets` names"),
    _arg("--source", required=True, help="its folder, or a .zip"),
    _arg("--name", default="", help="what to call it; folder and clips need one"),
    _arg("--data-dir", help="prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax"),
    _arg("--expressions", type=_list, help="classes to keep, in label order: a,b,c"),
    _arg("--labels", help="CSV file; default: labels.csv, if there is one"),
    _arg("--columns", type=_pairs, help="columns of other names: expression=emotion,file=image"),
    _arg("--landmarks", help=".npy or .npz; default: landmarks_68.npy, if there is one"),
    _arg(
        "--au",
        help="CSV file with AUs, joined by file name, or a folder or .zip with one CSV each",
    ),
    _arg("--au-values", help="intensity or presence, where the file has both"),
    _arg("--au-confidence", type=float, help="AUs of less confident rows are unknown"),
    _arg("--au-frames", help="clips: AU rows belong to frames by order or by number"),
    _arg("--closed-as-blink", **_FLAG, help="clips: take AU43 of py-feat for AU45"),
    _arg("--frame-order", help="clips: frames that are files are sorted natural or by name"),
    _arg("--step", type=int, help="clips: keep every n-th frame"),
    _arg("--most-frames", type=int, help="clips: double the step until so many are left"),
    _arg("--size", type=int, help="clips: shrink frames to so many pixels"),
    _arg("--side", help="clips: of the longer or the shorter side"),
    _arg("--lists", help="folder or .zip with RAN's lists, or with the split lists of clips"),
    _arg("--variant", help="clips: the folder whose frames are taken, where there are several"),
    _arg("--drop-calm", **_FLAG, help="ravdess: leave calm out"),
    _arg("--modality", help="ravdess: video or audio-video"),
    _arg("--channel", help="ravdess: speech, song or both"),
    _arg("--window", type=int, help="affwild2: most frames of a clip, 0 for whole runs"),
    _arg("--shortest", type=int, help="affwild2: fewest frames of a run"),
    _arg("--skip-missing", **_FLAG, help="go on without images that are named but not there"),
    _arg("--undecided", **_FLAG, help="ferplus: keep training faces without a majority"),
    _arg("--sides", **_FLAG, help="rafau: note one-sided AUs"),
    _arg("--cut", type=_numbers, help="emotionet: left,top,right,bottom to keep, as shares"),
    _arg("--margin", type=float, help="affectnet: widens the face boxes, as a share"),
    _arg("--validation", type=float, default=0.1, help="share of the validation split"),
    _arg("--test", type=float, help="share of the test split; default: 0.2, or 0 for AU datasets"),
    _arg("--seed", type=int, default=0, help="of the splits"),
    _arg("--workers", type=int, help="threads; default: one a core"),
    _arg("--beam", **_FLAG, help="check and write by Apache Beam, for very large sets"),
    _arg("--beam-options", help='its flags in one text: "--runner=... --direct_num_workers=8"'),
)
def _prepare(arguments: argparse.Namespace) -> None:
    from aufer_jax.datasets.prepare import prepare

    given = {k: v for k, v in vars(arguments).items() if v is not None}
    print(prepare(**{k: v for k, v in given.items() if k not in ("verb", "run", "command")}))


@_verb(
    "align",
    "cut the faces out of photographs and align them",
    _arg("source", help="folder or .zip"),
    _arg("--out", required=True, help="a new folder"),
    _arg("--detector", default="haar", help="haar, mediapipe or files"),
    _arg("--landmarks", help="files: landmarks of another program; see docs/faces.md"),
    _arg("--model", help="mediapipe: a FaceLandmarker .task"),
    _arg("--size", type=int, default=224, help="height and width of the crops"),
    _arg("--margin", type=float, default=0.0, help="more on each side, as a share of the size"),
    _arg("--choose", default="largest", help="of several faces: largest, score or centre"),
    _arg("--aus", action="store_true", help="also tell AUs from the landmarks, into aus.csv"),
)
def _align(arguments: argparse.Namespace) -> None:
    from aufer_jax.faces import crops

    given = {"path": arguments.landmarks, "model": arguments.model}
    names = ("out", "detector", "size", "margin", "choose", "aus")
    options = {name: getattr(arguments, name) for name in names}
    options |= {name: value for name, value in given.items() if value is not None}
    print(crops.align_folder(arguments.source, **options))


@_verb(
    "aus",
    "tell AUs roughly from landmarks, into a CSV file that prepare --au reads",
    _arg("landmarks", help="file, folder or .zip of landmarks; see docs/faces.md"),
    _arg("--out", required=True, help="CSV file"),
    _arg("--neutral", nargs="+", default=(), help="images of this one person at rest"),
)
def _aus(arguments: argparse.Namespace) -> None:
    from aufer_jax.faces import geometric

    count, unknown = geometric.from_files(arguments.landmarks, arguments.out, arguments.neutral)
    print(f"{count} images, {unknown} of them without all 68 points; written to {arguments.out}")


@_verb(
    "inspect",
    "show what a dataset holds: counts, AU base rates, sizes, sheets of samples",
    _arg("dataset", help="see `aufer datasets`"),
    _arg("--data-dir", help="prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax"),
    _arg("--splits", nargs="+", default=(), help="default: all; train[:1000] will do"),
    _arg("--samples", type=int, default=5, help="of each class in the pictures; 0 draws none"),
    _arg("--threshold", type=float, default=1.0, help="intensity from which an AU is present"),
    _arg("--present", action="store_true", help="heatmaps of the AUs present, not of all"),
    _arg("--out", help="folder; default: inspect/DATASET"),
)
def _inspect(arguments: argparse.Namespace) -> None:
    from aufer_jax.datasets import inspection

    out = arguments.out or f"inspect/{arguments.dataset}"
    found = inspection.inspect(
        arguments.dataset,
        data_dir=arguments.data_dir,
        splits=arguments.splits,
        out=out,
        samples=arguments.samples,
        threshold=arguments.threshold,
        present_only=arguments.present,
    )
    print(found, end="")
    print("written to", out)


@_verb(
    "datasets",
    "list the datasets",
    _arg("--data-dir", help="prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax"),
)
def _datasets(arguments: argparse.Namespace) -> None:
    from aufer_jax.datasets import catalog

    for name in catalog.names(arguments.data_dir):
        info = catalog.info(name, arguments.data_dir)
        classes = ", ".join(info.expressions) or "no expression labels"
        images = sum(count or 0 for count in info.splits.values())
        print(f"{name:14} {info.kind:6} {images:7} {len(info.aus):3} AUs  {classes}")
    for name in catalog.unprepared(arguments.data_dir):
        print(f"{name:14} not prepared: aufer prepare {name} --source DIR")
    print("and your own faces: aufer prepare folder --name NAME --source DIR")
    print("or your own clips: aufer prepare clips --name NAME --source DIR")


@_verb("models", "list the architectures with their exact size and multiply-adds")
def _models(arguments: argparse.Namespace) -> None:
    from aufer_jax.models import table

    for line in table.markdown():
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
