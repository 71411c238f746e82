"""What a new user does wrong, and the one line that it is answered with."""

import os
import subprocess
import sys

import pytest

from aufer_jax import cli, main
from aufer_jax.train import devices

AUVIT = "configs/auvit.py"
CONFIGS = (
    "configs/audfer.py, configs/auvit.py, configs/mae_pretrain.py, configs/mvfer.py, "
    "configs/shipped_clean.py, configs/shipped_small.py"
)
ARGUMENTS = "target, aux, recipe, variant, naive, slip, quick"
VERBS = (
    "train, check, evaluate, predict, serve, doctor, completion, data, faces, run, paper, weights, --help, "
    "--version"
)

# Of `aufer train CONFIG ...` and of `python -m aufer_jax.main --config=CONFIG ...`.
TRAINING = {
    (): "--config: name a configuration, such as configs/auvit.py",
    ("configs/avuit.py",): f"config: 'configs/avuit.py' is not known; choose one of: {CONFIGS}. "
    "Did you mean 'configs/auvit.py'?",
    (f"{AUVIT}:quik",): f"config argument: 'quik' is not known; choose one of: {ARGUMENTS}. "
    "Did you mean 'quick'?",
    (f"{AUVIT}:axu=synth_b",): f"config argument: 'axu' is not known; choose one of: {ARGUMENTS}. "
    "Did you mean 'aux'?",
    (f"{AUVIT}:synth_x",): "dataset: 'synth_x' is not known; choose one of: synth_d, synth_c, synth_b "
    "and {others} others. Did you mean 'synth_d'?",
    (f"{AUVIT}:aux=synth_uu",): "dataset: 'synth_uu' is not known; choose one of: synth_au, synth_d, synth_c "
    "and {others} others. Did you mean 'synth_au'?",
    (f"{AUVIT}:variant=papre",): "model: 'auvit_papre' is not known; choose one of: auvit_paper, "
    "auvit_face, auvit_released and {others} others. Did you mean 'auvit_paper'?",
    (f"{AUVIT}:synth_clips",): "data.target: 'synth_clips' holds clips, method 'auvit' takes images",
    (f"{AUVIT}:rafdb",): "dataset: rafdb is not prepared in {tmp}/data; run: aufer data prepare rafdb "
    "--source DIR; ask its authors (whdeng.cn/RAF/model1.html) for EmoLabel/list_patition_label.txt "
    "and Image/aligned",
    (AUVIT, "--config.trian.epochs=3"): "key of the config: 'trian.epochs' is not known; choose one of: "
    "train.epochs, train.keep, train.peak_tflops and {others} others. Did you mean 'train.epochs'?",
    (AUVIT, "--config.train.epochs=x"): "train.epochs: 'x' is not int",
    (AUVIT, "--config.train.parallel=pmpa"): "train.parallel: 'pmpa' is not known; choose one of: jit, "
    "pmap. Did you mean 'pmap'?",
    (AUVIT, "--config.data.batch_size=83"): "data.batch_size: 83 is not a multiple of 2: "
    "train.accumulate = 1 parts of whole patterns of 2 rows",
    (AUVIT, "--config.optimizer.lr=-1"): "optimizer.lr: -1.0 must be greater than 0",
    (AUVIT, "--config.init_from=IR50.pth"): "init_from: no file or folder 'IR50.pth'",
    (AUVIT, "--config.resume=runs/before"): "resume: no file or folder 'runs/before'",
    (AUVIT, "--confg=x"): "option: '--confg' is not known; choose one of: --config, --config.KEY, "
    "--workdir, --mode, --profile, --help. Did you mean '--config'?",
    (AUVIT, "epochs=3"): "'epochs=3' is not an option; values are set by --config.KEY=VALUE",
    (AUVIT, "--mode=evla"): "--mode: 'evla' is not known; choose one of: train, eval. Did you mean 'eval'?",
    (AUVIT, "--mode=eval"): "workdir: 'runs/auvit' holds no checkpoint; train first",
    (AUVIT, "--workdir"): "argument --workdir: expected one argument",
    (AUVIT, "--workdir=file/run"): "workdir: '{tmp}/file' is not a folder",
    (AUVIT, "--config.seed=one"): "seed: 'one' is not int",
    (AUVIT, "--config.data.size=0"): "data.size: 0 must be greater than 0",
    (AUVIT, "--config.data.target=ferpluss"): "dataset: 'ferpluss' is not known; choose one of: ferplus, "
    "affectnetplus, ravdess and {others} others. Did you mean 'ferplus'?",
    (AUVIT, "--config.model.name=resnet_18"): "model: 'resnet_18' is not known; choose one of: resnet18, "
    "resnet18_lstm, resnet50 and {others} others. Did you mean 'resnet18'?",
    (AUVIT, "--config.train.epochs=0"): "train.epochs: 0 must be greater than 0",
    (AUVIT, "--config.train.compute_dtype=float16"): "train.compute_dtype: 'float16' is not known; choose "
    "one of: float32, bfloat16. Did you mean 'bfloat16'?",
    (AUVIT, "--config.train.trackers=wandbb"): "train.trackers: 'wandbb' is not known; choose one of: "
    "wandb, mlflow, trackio. Did you mean 'wandb'?",
    (AUVIT, "--config.optimizer.name=adamm"): "optimizer.name: 'adamm' is not known; choose one of: adam, "
    "adamw, sgd. Did you mean 'adam'?",
    (AUVIT, "--config.schedule.name=cosin"): "schedule.name: 'cosin' is not known; choose one of: constant, "
    "cosine, exponential, step, linear. Did you mean 'cosine'?",
    (AUVIT, "--epochs=3"): "option: '--epochs' is not known; choose one of: --config, --config.KEY, "
    "--workdir, --mode, --profile, --help. Did you mean '--profile'?",
    ("broken.py",): "broken.py, line 1: expected ':'",
    ("empty.py",): "config: 'empty.py' defines no get_config",
}  # fmt: skip
OTHERS = {
    "trian": f"verb: 'trian' is not known; choose one of: {VERBS}. Did you mean 'train'?",
    "--verison": f"verb: '--verison' is not known; choose one of: {VERBS}. Did you mean '--version'?",
    "prepare ferplus": "'prepare' is now: aufer data prepare",
    "data prepar": "data: 'prepar' is not known; choose one of: prepare, list, inspect, bias, remove. "
    "Did you mean 'prepare'?",
    "data prepare dfew": "missing: --source STR; see aufer data prepare dfew --help",
    "data prepare dfew --source x --side longr": "--side: 'longr' is not known; choose one of: longer, "
    "shorter. Did you mean 'longer'?",
    "data prepare ferplus --source x --sides": "data prepare ferplus: --sides is an option of rafau only",
    "data prepare folder --source nope --name mine": "source: 'nope' does not exist",
    "data prepare folder --source x --seed x": "--seed: 'x' is not a whole number",
    "data prepare folder --source x --columns emotion": "--columns: 'emotion' is not NAME=VALUE",
    "data inspect synth_aa": "dataset: 'synth_aa' is not known; choose one of: synth_a, synth_au, synth_d "
    "and {others} others. Did you mean 'synth_a'?",
    "data bias": "data bias: name at least one of DATASETS",
    "run explain runs/auvit": "workdir: 'runs/auvit' holds no run",
    "run explain x --cuont 3": "run explain: '--cuont' is not known; choose one of: --split, --count, "
    "--layer, --keys, --top, --out. Did you mean '--count'?",
    "run explain x --count": "--count: no value is given",
    "run curves runs/auvit": "workdir: 'runs/auvit' holds no run, it has no metrics.jsonl",
    "run pool x --state bst": "--state: 'bst' is not known; choose one of: best, last. "
    "Did you mean 'best'?",
    "evaluate": "missing: RUN; see aufer evaluate --help",
    "evaluate runs/auvit": "workdir: 'runs/auvit' holds no run",
    f"evaluate {'a' * 300}": f"{'a' * 300}/card.json: File name too long",
    "weights convert IR50.pth --model ir50 --out out": "IR50.pth: No such file or directory",
    "weights models ir50": "not known: ir50; see aufer weights models --help",
    "paper reproduce mvfr": "paper: 'mvfr' is not known; choose one of: mvfer, auvit, audfer. "
    "Did you mean 'mvfer'?",
    "paper reproduce mvfer ablatoin": "table of mvfer: 'ablatoin' is not known; choose one of: ablation, "
    "roles, labels. Did you mean 'ablation'?",
    "faces align nope --out out": "source: 'nope' does not exist",
    "completion fsh": "shell: 'fsh' is not known; choose one of: bash, zsh, fish. Did you mean 'fish'?",
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new user's folder, with a file in it and two that are no configurations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: None)  # of this process
    (tmp_path / "file").touch()
    (tmp_path / "broken.py").write_text("def get_config(argument=None)\n    return None\n")
    (tmp_path / "empty.py").touch()
    return tmp_path


def check(capsys, code, message, here):
    expected = f"aufer: {message}\n".replace("{tmp}", str(here))
    found = capsys.readouterr().err
    if "{others}" in expected:  # keys and networks, whose number is nobody's promise
        before, after = expected.split("{others}")
        assert found.startswith(before) and found.endswith(after)
    else:
        assert found == expected
    assert code == 2
    assert sorted(path.name for path in here.iterdir()) == ["broken.py", "empty.py", "file"]


@pytest.mark.parametrize("argv", TRAINING, ids=" ".join)
@pytest.mark.parametrize("entry", ["aufer train", "main"])
def test_training(entry, argv, here, capsys):
    if entry == "main":
        code = main.main([f"--config={word}" if word == argv[0] else word for word in argv])
    else:
        code = cli.main(["train", *argv])
    check(capsys, code, TRAINING[argv], here)


@pytest.mark.parametrize("words", OTHERS)
def test_other_verbs(words, here, capsys):
    check(capsys, cli.main(words.split()), OTHERS[words], here)


@pytest.mark.parametrize(
    ("module", "argv", "environment", "message"),
    [
        ("main", ["--config=nope.py"], {}, f"config: 'nope.py' is not known; choose one of: {CONFIGS}."),
        ("main", [f"--config={AUVIT}"], {"JAX_PLATFORMS": "cuda"},
         "JAX_PLATFORMS: 'cuda' cannot be used here: "),
        ("cli", ["train", AUVIT], {"AUFER_COORDINATOR": "host:1"},
         "AUFER_COORDINATOR is set but AUFER_PROCESSES, AUFER_PROCESS is not\n"),
        ("cli", ["run"] + ["tsne"], {}, "run tsne: name at least one of RUNS\n"),
    ],
)  # fmt: skip
def test_a_process_says_one_line_and_ends_with_2(module, argv, environment, message, here):
    done = subprocess.run(
        [sys.executable, "-m", f"aufer_jax.{module}", *argv],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"aufer: {message}")
    assert done.stderr.count("\n") == 1
