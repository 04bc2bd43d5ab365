"""The cluster wrappers with stand-ins for gcloud, kubectl, srun and scontrol that write down their words."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml

from launch.gke_jobset import JobSet, common_environment, render
from talkjax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = ["--config=configs/x.py", "--workdir=/mnt/runs", "--run_id=a b"]
_STAND_IN = (
    f"#!{sys.executable}\nimport json, os, subprocess, sys\n"
    + """
with open(os.environ["RECORD"], "a") as f:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=f)
"""
)


@pytest.fixture
def cluster(tmp_path):
    """Runs commands with stand-ins on PATH; `.words` is what they were called with."""

    class Cluster:
        record = tmp_path / "record"
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(record), "TALKJAX_PYTHON": "PYTHON",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip

        def stand_in(self, name: str, then: str = "") -> None:
            (tmp_path / name).write_text(_STAND_IN + then)
            (tmp_path / name).chmod(0o755)

        def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                words, cwd=more.pop("cwd", str(ROOT)), env=self.environment | more,
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip

        @property
        def words(self) -> list[list[str]]:
            lines = self.record.read_text().splitlines() if self.record.exists() else []
            return [json.loads(line) for line in lines]

    return Cluster()


# ----------------------------------------------------------------------------------------------------- slurm

JOB = {"SLURM_JOB_ID": "42", "SLURM_RESTART_COUNT": "0"}


def _submit(cluster, tmp_path, code: int, **more: str):
    cluster.stand_in("srun", f"sys.exit({code})")
    cluster.stand_in("scontrol")
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    if not (project / "launch").exists():
        (project / "launch").symlink_to(ROOT / "launch")
    # as SLURM does: a copy of the script, started somewhere else
    script = tmp_path / "slurm_script"
    script.write_text((ROOT / "launch" / "slurm.sbatch").read_text())
    where = {"SLURM_SUBMIT_DIR": str(project)}
    done = cluster.run("bash", str(script), *TRAIN, cwd=str(tmp_path), **JOB, **where, **more)
    requeued = ["scontrol", "requeue", "42"] in cluster.words
    cluster.words_of_srun = next(w for w in cluster.words if w[0] == "srun")
    cluster.record.unlink()
    return done.returncode, requeued, done.stderr


def test_slurm_gives_every_task_the_same_command(cluster, tmp_path):
    assert _submit(cluster, tmp_path, 0)[:2] == (0, False)
    step = cluster.words_of_srun
    assert step[1:4] == ["--kill-on-bad-exit=1", "--open-mode=append", "--output=talkjax-%j-%t.log"]
    assert step[4:] == ["PYTHON", "-m", "launch.train", *TRAIN, "--distributed=auto"]


def test_slurm_queues_again_what_can_go_on(cluster, tmp_path):
    assert [_submit(cluster, tmp_path, code)[:2] for code in (2, 3)] == [(2, False), (3, False)]
    assert _submit(cluster, tmp_path, 75)[:2] == (0, True)
    assert _submit(cluster, tmp_path, 137)[:2] == (0, True)
    (count,) = (tmp_path / "project").glob("*.crashes")
    assert count.read_text() == "1\n"
    count.write_text("9\n")
    assert _submit(cluster, tmp_path, 137)[:2] == (0, True)
    code, requeued, err = _submit(cluster, tmp_path, 137)
    assert (code, requeued) == (137, False) and "11 crashes so far" in err
    assert not list((tmp_path / "project").glob("*.crashes"))


def test_slurm_asks_for_the_signal_on_the_processes_and_for_equal_tasks_and_gpus():
    text = (ROOT / "launch" / "slurm.sbatch").read_text()
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in text.splitlines()
        if "#SBATCH " in line[:8]
    )
    assert asked["signal"] == "TERM@120" and asked["requeue"] == "" and asked["open-mode"] == "append"
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]


def test_slurm_shell_outlives_the_signal_that_stops_its_step(cluster, tmp_path):
    cluster.stand_in(
        "srun", "import signal, time\nsignal.signal(15, lambda *_: sys.exit(75))\n"
        f"open('{tmp_path}/ready', 'w').close()\ntime.sleep(30)\n",
    )  # fmt: skip
    cluster.stand_in("scontrol")
    process = subprocess.Popen(
        ["bash", str(ROOT / "launch/slurm.sbatch"), *TRAIN], cwd=tmp_path, start_new_session=True,
        env=cluster.environment | JOB | {"SLURM_SUBMIT_DIR": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert cluster.words[-1] == ["scontrol", "requeue", "42"]


def test_jax_finds_the_coordinator_of_a_slurm_job(monkeypatch):
    """What `--distributed=auto` relies on: first host of the step, a port from the job's number."""
    from jax._src.clusters.slurm_cluster import SlurmCluster

    for name, value in {
        "JOB_ID": "123456", "STEP_NODELIST": "tpu[007-010],x1", "NTASKS": "4", "PROCID": "2", "LOCALID": "0",
        "STEP_NUM_NODES": "4",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert SlurmCluster.is_env_present()
    assert SlurmCluster.get_coordinator_address(10, None) == f"tpu007:{61440 + 123456 % 4096}"
    assert (SlurmCluster.get_process_count(), SlurmCluster.get_process_id()) == (4, 2)


# -------------------------------------------------------------------------------------------------- tpu_vm

# runs what it is told to run on the hosts, in a folder that stands for their home
_SSH = """
script = [w.partition("=")[2] for w in sys.argv if w.startswith("--command=")]
if script:
    sys.exit(subprocess.run(["bash", "-c", script[0]], cwd=os.environ["HOST"]).returncode)
"""
_SLICE = ["--name=first", "--zone=us-west4-a"]


def test_a_tpu_slice_from_creation_to_deletion(cluster, tmp_path):
    cluster.stand_in("gcloud", _SSH)
    host = tmp_path / "host"
    (host / "talkjax").mkdir(parents=True)
    (host / "talkjax" / "launch").symlink_to(ROOT / "launch")
    # the job: retry.sh of the host, whose training only says what it was given, and waits
    job = "trap 'exit 75' TERM; echo started; for ((k = 0; k < 1000; k++)); do sleep 0.05; done"

    def tpu(*words: str):
        return cluster.run("bash", "launch/tpu_vm.sh", words[0], *_SLICE, *words[1:], HOST=str(host))

    assert tpu("create", "--spot").returncode == 0
    assert cluster.words[-1][1:] == [
        "compute", "tpus", "tpu-vm", "create", "first", "--zone=us-west4-a", "--accelerator-type=v5litepod-8",
        "--version=v2-alpha-tpuv5-lite", "--spot",
    ]  # fmt: skip
    assert tpu("run", "--", "bash", "-c", job).returncode == 0
    log = host / "talkjax" / "job.log"
    end = time.monotonic() + 30
    while not (log.exists() and "started" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    again = tpu("run", "--", *TRAIN)
    assert again.returncode == 2 and "a job runs already" in again.stderr
    assert "started" in tpu("logs", "--worker=0").stdout
    pid = int((host / "talkjax" / "job.pid").read_text())
    assert tpu("stop").returncode == 0
    end = time.monotonic() + 30
    while pathlib.Path(f"/proc/{pid}/cmdline").exists() and pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "the job did not stop"
        time.sleep(0.05)
    assert tpu("delete").returncode == 0
    assert cluster.words[-1][4:] == ["delete", "first", "--zone=us-west4-a", "--quiet"]
    workers = [w for words in cluster.words for w in words if w.startswith("--worker=")]
    assert set(workers) == {"--worker=all", "--worker=0"} and workers.count("--worker=0") == 1


# ------------------------------------------------------------------------------------------------------ gke

COMMAND = ["python", "-m", "launch.train", *TRAIN, "--distributed=auto"]


def test_the_jobset_restarts_what_can_go_on_and_nothing_else():
    spec = yaml.safe_load(render(JobSet("first", "r.io/p/i:1", COMMAND, topology="4x8", chips_per_host=4)))[
        "spec"
    ]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert job["completions"] == job["parallelism"] == 4 * 8 // 4 and job["completionMode"] == "Indexed"
    # any other end of a pod (75, 1, 134, 137) fails the Job without a rule, which restarts the set
    assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "In"
    assert rule["onExitCodes"]["values"] == [2, 3]
    assert spec["failurePolicy"]["rules"] == [
        {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    ]
    assert spec["failurePolicy"]["maxRestarts"] == 100
    assert pod["terminationGracePeriodSeconds"] == 120
    (container,) = pod["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert container["command"] == COMMAND  # no shell before it: it is process 1 and gets the signal
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert "tolerations" not in pod


def test_the_jobset_has_the_common_environment():
    wanted = common_environment((ROOT / "launch" / "common.env").read_text())
    assert wanted["PYTHONUNBUFFERED"] == "1" and len(wanted) == 4
    shell = subprocess.run(
        ["env", "-i", "HOME=/tmp", "bash", "-c", ". launch/common.env; env"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {f"{name}={value}" for name, value in wanted.items()} <= set(shell)
    pod = yaml.safe_load(render(JobSet("on", "i:1", COMMAND, spot=True)))
    assert pod["metadata"]["name"] == "on"  # text, though YAML reads a bare `on` as true
    spec = pod["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert {e["name"]: e["value"] for e in spec["containers"][0]["env"]} == wanted
    assert spec["nodeSelector"]["cloud.google.com/gke-spot"] == spec["tolerations"][0]["value"] == "true"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "My_Run"}, "no name for a JobSet"),
        ({"image": "x y"}, "--image=x y cannot be used"),
        ({"topology": "8"}, "--topology=8; expected chips, as 2x4"),
        ({"topology": "3x3"}, "9 chips .* do not divide over hosts of 4"),
        ({"command": []}, "nothing to run"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(changes, message):
    with pytest.raises(InputError, match=message):
        render(JobSet("first", "i:1", COMMAND)._replace(**changes))


def test_apply_gives_the_same_text_to_kubectl(cluster, tmp_path):
    cluster.stand_in("kubectl", f"open('{tmp_path}/given', 'w').write(sys.stdin.read())")
    words = [sys.executable, "-m", "launch.gke_jobset", "--name=first", "--image=i:1"]
    done = cluster.run(*words, "--apply", "--", *TRAIN)
    assert done.returncode == 0 and cluster.words == [["kubectl", "apply", "-f", "-"]]
    assert (tmp_path / "given").read_text() == done.stdout == render(JobSet("first", "i:1", COMMAND))
    assert cluster.run(*words, "--apply", "--dry_run", "--", *TRAIN).stdout == done.stdout
    assert len(cluster.words) == 1
    refused = cluster.run(*words)
    assert (
        refused.returncode == 2
        and refused.stderr == "nothing to run; expected -- and the flags of launch.train\n"
    )
