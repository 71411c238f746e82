"""The launchers: processes on one machine for real, clusters with stand-ins, the notebook from end to end."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nbclient
import nbformat
import places
import pytest
import yaml

LAUNCH = places.ROOT / "launch"
TOY_RUN = [sys.executable, str(places.ROOT / "tests" / "toy_run.py")]


def launch(command, count=2):
    """`launch/local.py` around a command of ours, in a process of its own."""
    code = "import json, sys, local; sys.exit(local.run(int(sys.argv[1]), json.loads(sys.argv[2])))"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(count), json.dumps(command)],
        env={
            **os.environ,
            "PYTHONPATH": str(LAUNCH),
            "XLA_FLAGS": places.xla_flags(),
        },
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process, expected=0):
    output = process.communicate(timeout=240)[0]
    assert process.returncode == expected, output
    return output


def test_local_tells_every_process_of_the_others():
    code = "import os; print(*(os.environ['AUFER_' + k] for k in ('COORDINATOR', 'PROCESSES', 'PROCESS')))"
    lines = finish(launch([sys.executable, "-c", code], count=3)).splitlines()
    found = {re.fullmatch(r"\[(\d)\] 127\.0\.0\.1:(\d+) 3 (\d)", line).groups() for line in lines}
    assert sorted((prefix, index) for prefix, _, index in found) == [
        ("0", "0"), ("1", "1"), ("2", "2"),
    ]  # fmt: skip
    assert len({port for _, port, _ in found}) == 1


def test_local_ends_with_the_first_failure_and_leaves_nobody_behind():
    code = (
        "import os, sys, time\n"
        "print(os.getpid(), flush=True)\n"
        "sys.exit(7) if os.environ['AUFER_PROCESS'] == '1' else time.sleep(60)"
    )
    lines = finish(launch([sys.executable, "-c", code]), expected=7).splitlines()
    lines.remove("process 1 ended with exit code 7; the others are ended too")
    assert len(lines) == 2
    for line in lines:
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_passes_signals_on(number):
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(0))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = launch([sys.executable, "-c", code])
    assert sorted(process.stdout.readline() for _ in range(2)) == ["[0] ready\n", "[1] ready\n"]
    process.send_signal(number)
    finish(process)


def test_local_runs_main_with_all_other_arguments(tmp_path):
    process = subprocess.run(
        [
            *(sys.executable, "launch/local.py", "--processes=2", f"--workdir={tmp_path}"),
            "--config=configs/auvit.py:synth_q",
        ],
        cwd=places.ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert process.returncode == 2
    for index in range(2):
        assert re.search(rf"^\[{index}\] aufer: .*'synth_q'.*", process.stdout, re.MULTILINE)


def test_local_stops_all_processes_at_the_same_step(tmp_path):
    workdir = tmp_path / "run"
    command = [*TOY_RUN, str(workdir), "train__epochs=2000", "train__save_every=5"]
    process = launch(command)
    while not (workdir / "checkpoints" / "latest" / "5").exists():
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stopped = re.findall(r"^\[(\d)\] stopped at step (\d+)", finish(process), re.MULTILINE)
    (step,) = {step for _, step in stopped}
    assert {index for index, _ in stopped} == {"0", "1"}
    assert (workdir / "checkpoints" / "latest" / step).is_dir()
    assert not (workdir / "summary.json").exists()


def stand_in(folder, name, script):
    """An executable of that name, found before any other."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def shell(command, tmp_path, **environment):
    return subprocess.run(
        command,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **environment},
        cwd=places.ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_gpus_refuses_a_host_without_gpus(tmp_path):
    stand_in(
        tmp_path / "bin", "python", 'if [[ $1 == -c ]]; then exit 1; fi; echo "ran" >&2; exit 0'
    )
    assert shell([LAUNCH / "gpus.sh"], tmp_path).returncode == 1


def test_gpus_sets_the_environment_and_forwards_arguments(tmp_path):
    stand_in(
        tmp_path / "bin", "python",
        'if [[ $1 == -m ]]; then echo "$XLA_PYTHON_CLIENT_MEM_FRACTION $XLA_FLAGS"; printf "%s\\n" "$@"; fi',
    )  # fmt: skip
    done = shell(
        [LAUNCH / "gpus.sh", "--config=configs/auvit.py", "--workdir=a b"],
        tmp_path,
        XLA_FLAGS="--x=1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0.9 --x=1 --xla_gpu_enable_latency_hiding_scheduler=true",
        "-m", "aufer_jax.main", "--config=configs/auvit.py", "--workdir=a b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "code", "requeued"),
    [("stopped", 0, True), ("finished", 0, False), ("failed", 3, False)],
)
def test_slurm_puts_a_stopped_run_back_into_the_queue(tmp_path, outcome, code, requeued):
    tools, workdir, calls = tmp_path / "bin", tmp_path / "run", tmp_path / "calls"
    ends = {"stopped": "exit 0", "finished": f"touch {workdir}/summary.json", "failed": "exit 3"}
    stand_in(tools, "srun", f'echo "srun $*" >> {calls}; mkdir -p {workdir}; {ends[outcome]}')
    stand_in(tools, "scontrol", f'echo "scontrol $*" >> {calls}')
    stand_in(tools, "python", 'if [[ $2 == aufer_jax.remote ]]; then test -e "$3"; fi')
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "activate").touch()
    done = shell(
        ["bash", LAUNCH / "slurm.sbatch", workdir, "--config=configs/auvit.py"],
        tmp_path, VENV=str(venv), SLURM_SUBMIT_DIR=str(places.ROOT), SLURM_JOB_ID="17",
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    expected = [
        "srun --kill-on-bad-exit=1 python -m aufer_jax.main "
        f"--workdir={workdir} --config=configs/auvit.py"
    ]
    assert calls.read_text().splitlines() == expected + ["scontrol requeue 17"] * requeued


@pytest.fixture(scope="module")
def jobset():
    return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


def pod(jobset):
    """The job that JobSet makes of each host, and its container."""
    (hosts,) = jobset["spec"]["replicatedJobs"]
    (container,) = hosts["template"]["spec"]["template"]["spec"]["containers"]
    return hosts, container


def in_pod(jobset, tmp_path, index, python, **options):
    """The pod's command, with what Kubernetes and JobSet would have set; Python is a stand-in."""
    _, container = pod(jobset)
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given.pop("JOBSET") is None  # comes from an annotation
    stand_in(tmp_path / "bin", "python", python)
    environment = {
        **os.environ, **given, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "JOBSET": jobset["metadata"]["name"], "JOB_COMPLETION_INDEX": str(index), **options,
    }  # fmt: skip
    return subprocess.Popen(
        [*container["command"], *container["args"]], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_jobset_gives_every_pod_the_others_names(jobset, tmp_path):
    hosts, container = pod(jobset)
    job = hosts["template"]["spec"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert job["completions"] == job["parallelism"] == int(given["AUFER_PROCESSES"])
    assert job["completionMode"] == "Indexed"
    assert jobset["spec"]["network"]["enableDNSHostnames"]
    says = 'echo "$AUFER_COORDINATOR $AUFER_PROCESSES $AUFER_PROCESS"; printf "%s\\n" "$@"'
    out, error = in_pod(jobset, tmp_path, 1, says).communicate(timeout=60)
    assert out.splitlines() == [
        f"aufer-{hosts['name']}-0-0.aufer:{container['ports'][0]['containerPort']} 2 1",
        "-m", "aufer_jax.main", "--workdir=gs://my-bucket/runs/auvit", "--config=configs/auvit.py",
    ], error  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "index", "code"),
    [
        ("stopped", 0, 75),
        ("stopped", 1, 0),
        ("finished", 0, 0),
        ("failed", 0, 2),
        ("killed", 1, 137),
    ],
)
def test_jobset_starts_anew_what_was_stopped(jobset, tmp_path, outcome, index, code):
    ends = {
        "stopped": "exit 0",
        "finished": "touch $WORKDIR/summary.json",
        "failed": "exit 2",
        "killed": "kill -9 $$",
    }
    python = f'if [[ $2 == aufer_jax.remote ]]; then test -e "$3"; else {ends[outcome]}; fi'
    process = in_pod(jobset, tmp_path, index, python, WORKDIR=str(tmp_path))
    process.communicate(timeout=60)
    assert process.returncode == code
    job = pod(jobset)[0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {
        "action": "FailJob",
        "onExitCodes": {"containerName": "train", "operator": "In", "values": [2]},
    }
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("begun", ["echo ready", "kill -TERM $PPID"])
def test_jobset_brings_the_signal_to_the_training_and_waits_for_it(jobset, tmp_path, begun):
    """The second time the signal comes while the shell has hardly started the training."""
    python = (
        "if [[ $2 == aufer_jax.remote ]]; then exit 1; fi\n"
        "trap 'sleep 0.3; echo saved; exit 0' TERM\n"
        f"{begun}; while true; do sleep 0.1; done"
    )
    process = in_pod(jobset, tmp_path, 0, python)
    if begun == "echo ready":
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "saved\n"
    assert process.returncode == 75


def test_slurm_asks_for_a_process_a_gpu_and_a_signal_in_time():
    asked = re.findall(
        r"^#SBATCH --(\S+?)(?:=(\S+))?$", (LAUNCH / "slurm.sbatch").read_text(), re.M
    )
    asked = dict(asked)
    assert asked["gpus-per-node"] == asked["ntasks-per-node"]
    assert asked["signal"] == "TERM@120"
    assert "requeue" in asked


def test_tpu_vm_starts_every_worker_with_its_number(tmp_path):
    """The stand-in for gcloud runs what it is given as worker 1 of a slice of two would."""
    tools, home = tmp_path / "bin", tmp_path / "home"
    home.mkdir()
    stand_in(
        tools, "gcloud",
        'case "$*" in\n'
        f'*" scp "*) cp "$5" {home}/aufer.tar.gz; echo "${{@:7}}";;\n'
        f'*" ssh "*) echo "${{@:6:2}}"; cd {home}; bash -c "${{8#--command=}}";;\n'
        "esac",
    )  # fmt: skip
    stand_in(
        tools, "curl",
        'case "$*" in\n'
        "*agent-worker-number) echo 1;;\n"
        "*worker-network-endpoints) echo unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3;;\n"
        "esac",
    )  # fmt: skip
    stand_in(tools, "pip", 'echo "pip $*"; test -e pyproject.toml')
    stand_in(
        tools, "python",
        'echo "$AUFER_COORDINATOR $AUFER_PROCESSES $AUFER_PROCESS"; printf "%s\\n" "$@"',
    )  # fmt: skip
    stand_in(tools, "my_python", 'mkdir -p "$3/bin"; touch "$3/bin/activate"')
    done = shell(
        [LAUNCH / "tpu_vm.sh", "--config=configs/auvit.py:synth_a,aux=synth_b", "--workdir=/mnt/a b"],
        tmp_path, TPU="slice", ZONE="zone", PYTHON="my_python", EXTRAS="tpu,gcs",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "--zone=zone --worker=all",
        "--zone=zone --worker=all",
        "pip install --quiet -e .[tpu,gcs] -c constraints.txt",
        "10.0.0.2:8476 2 1",
        "-m", "aufer_jax.main", "--config=configs/auvit.py:synth_a,aux=synth_b", "--workdir=/mnt/a b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "script", ["gpus.sh", "slurm.sbatch", "tpu_vm.sh", "local.py", "jobset.yaml"]
)
def test_every_script_begins_with_its_command(script):
    head = (LAUNCH / script).read_text()[:400]
    assert re.search(rf"^#?\s+.*launch/{re.escape(script)} .*--config=configs/", head, re.MULTILINE)


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(LAUNCH / "colab.ipynb", as_version=4)


def test_notebook_is_stored_clean(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
        assert not re.search(r"/(home|root|work|Users|content)/", cell.source)


def test_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("AUFER_QUICK", "1")
    monkeypatch.setenv("AUFER_DATA", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("XLA_FLAGS", places.xla_flags())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    client = nbclient.NotebookClient(
        notebook.copy(),
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": LAUNCH}},
    )
    done = client.execute()
    pictures = [
        output
        for cell in done.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4  # faces, curves, confusion, predictions
    printed = "".join(o.text for c in done.cells for o in c.get("outputs", []) if "text" in o)
    assert re.search(r"^right on \d+% of the faces shown$", printed, re.MULTILINE)
    assert re.search(r"^accuracy 0\.\d{3}, uar 0\.\d{3}, au_f1 0\.\d{3}$", printed, re.MULTILINE)
