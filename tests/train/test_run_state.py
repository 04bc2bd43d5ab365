"""What `talkjax runs show` says of run folders: written by the real writers, then harmed."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.cli.main import run as talkjax
from talkjax.errors import InputError
from talkjax.train.metrics import MetricsWriter
from talkjax.train.run_checkpoint import RunCheckpoints
from talkjax.train.run_lock_view import lock_is_held
from talkjax.train.run_state import current_rows, find_runs, read_run, trend

RECORD = {
    "task": "mapping", "config_class": "PretrainConfig", "n_params": 1234567, "steps": 40,
    "command": ["/x/launch/train.py", "'--config=a b.py'", "--distributed=env", "--host_devices=4"],
    "platform": "cpu", "devices": 8, "hosts": 2, "mesh": {"data": 4, "fsdp": 2, "model": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> pathlib.Path:
    """A run stopped at step 20 of 40, with checkpoints of steps 10 and 20."""
    folder = tmp_path_factory.mktemp("work") / "a"
    checkpoints = RunCheckpoints(folder / "checkpoints", {"lr": 1}, keep=3)
    with MetricsWriter(folder) as writer:
        writer.event("start", 0)
        for step in range(1, 21):
            noise = 0.01 * (-1) ** step
            values = {"loss": 1 / step + noise, "l1": 2.0, "bad_steps": 0.0, "step_seconds": 0.5, "mfu": None}
            writer.scalars(step, {**values, "examples_per_second": 64.0, "input_wait_share": 0.02})
            if step % 10 == 0:
                checkpoints.save(step, {"w": jnp.arange(300.0) + step}, {"data_offset": 0})
        writer.event("skip", 15, loss="nan")
        writer.event("stop", 20)
    checkpoints.wait()
    (folder / "run.json").write_text(json.dumps(RECORD))
    return folder


@pytest.fixture
def folder(stopped, tmp_path) -> pathlib.Path:
    """A copy that a test may harm."""
    return shutil.copytree(stopped, tmp_path / "work" / "a")


def _event(folder: pathlib.Path, name: str, step: int, **facts) -> None:
    with MetricsWriter(folder) as writer:
        writer.event(name, step, **facts)


def _flip(folder: pathlib.Path, step: int) -> None:
    """One bit of the largest array file of a checkpoint."""
    files = (p for p in (folder / f"checkpoints/step_{step:08d}/arrays").rglob("*") if p.is_file())
    path = max(files, key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_stopped_run_tells_where_it_goes_on(folder, capsys):
    assert talkjax(["runs", "show", str(folder.parent), "--run_id=a", "--verify"]) == 0
    text = capsys.readouterr().out
    for part in (
        "a: stopped", "mapping, 1,234,567 parameters, 8 cpu devices, 2 processes",
        "mesh data 4 x fsdp 2 x model 1",
        "20 of 40 (50.0 %)", "falling", "terms    l1 2", "0.5 s a step, 64 examples/s, input wait 2 %",
        "steps skipped 1x", "step 20", "whole",
        "from step 20: bash launch/local.sh --processes=2 --devices=4 -- '--config=a b.py'",
    ):  # fmt: skip
        assert part in text, part
    assert "MFU" not in text and "bad_steps" not in text and "damaged" not in text


def test_states_follow_the_last_word(folder):
    assert read_run(folder).state == "stopped"
    _event(folder, "resume", 20)
    assert read_run(folder).state == "killed"
    _event(folder, "error", 22, code="diverged")
    run = read_run(folder)
    assert (run.state, run.why, run.resume_step, run.counts["resume"]) == ("failed", "diverged", 20, 1)
    _event(folder, "resume", 20)
    (folder / "LOCK").write_text("host elsewhere, pid 7, since now\n")
    now = run.last_row_time
    assert read_run(folder, now=now + 60).state == "running"  # its lock can't be seen from here
    assert read_run(folder, now=now + 6000).state == "killed"
    _event(folder, "done", 40)
    run = read_run(folder)
    assert (run.state, run.steps, run.resume_step) == ("finished", 40, None)


def test_a_held_lock_is_seen_without_taking_it(folder):
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "LOCK")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() and lock_is_held(folder / "LOCK")
        run = read_run(folder)
        assert run.state == "running" and run.resume_step == 20
    finally:
        holder.communicate(b"\n")
    assert not lock_is_held(folder / "LOCK") and read_run(folder).state == "stopped"


def test_damage_is_found_and_the_older_checkpoint_is_named(folder, capsys):
    _flip(folder, 20)
    assert read_run(folder).resume_step == 20  # the manifest alone does not show it
    run = read_run(folder, verify=True)
    assert [bool(c.problem) for c in run.checkpoints] == [True, False]
    assert "differs from its sha256" in run.checkpoints[0].problem
    assert (run.state, run.resume_step) == ("stopped", 10)
    (folder / "checkpoints/step_00000010/manifest.json").write_text("{}")
    run = read_run(folder, verify=True)
    assert (run.state, run.resume_step) == ("damaged", None) and "none of 2 checkpoints is whole" in run.why
    talkjax(["runs", "show", str(folder)])  # the folder of one run itself
    assert "step 10" in (text := capsys.readouterr().out) and "damaged: no readable manifest" in text


def test_torn_and_lost_files(folder, capsys):
    with open(folder / "metrics.jsonl", "a") as f:
        f.write('{"step": 21, "lo')
    (folder / "run.json").write_text("{")
    (folder / "checkpoints/tmp-step_00000030").mkdir()
    run = read_run(folder)
    assert run.state == "damaged" and "run.json is damaged" in run.why
    assert (run.steps, run.torn_lines, run.leftovers) == (20, 1, ("tmp-step_00000030",))
    talkjax(["runs", "show", str(folder)])
    assert "1 rows were cut" in (text := capsys.readouterr().out) and "unfinished: tmp-step_00000030" in text


def test_json_and_picture(folder, tmp_path, capsys):
    shutil.copytree(folder, folder.parent / "b")
    out = tmp_path / "losses.png"
    record = RECORD | {"command": ["train.py", "--config=a.py"]}
    (folder / "run.json").write_text(json.dumps(record))
    assert talkjax(["runs", "show", str(folder.parent), "--json", f"--plot={out}"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data[0]["command"] == "python -m launch.train --config=a.py"
    assert [(r["run_id"], r["state"], r["resume_step"]) for r in data] == [
        ("a", "stopped", 20),
        ("b", "stopped", 20),
    ]
    assert data[0]["losses"]["loss"]["change"] < 0 and data[0]["checkpoints"][0]["step"] == 20
    assert data[0]["disk"]["checkpoints"] > 300 * 4
    from talkjax.media.image import read_image

    colors = {tuple(c) for c in read_image(out).reshape(-1, 3)}
    assert {(31, 119, 180), (255, 127, 14)} <= colors  # two curves


def test_errors_are_one_line(folder, tmp_path, capsys):
    for words, message in (
        ([str(tmp_path / "no")], "no is no folder; expected the --workdir"),
        ([str(tmp_path)], "no run in"),
        ([str(folder.parent), "--run_id=c"], "no run c in"),
        ([str(folder.parent), "--plot=x.txt"], "--plot=x.txt is no .png file"),
        ([str(folder.parent), "--plot=/no/where.png"], "/no/where.png cannot be written"),
        (
            [str(folder.parent), f"--plot={tmp_path}/x.png", "--metric=nothing"],
            "no run has a row with nothing",
        ),
        ([], "talkjax runs show needs WORKDIR"),
    ):
        assert talkjax(["runs", "show", *words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    with pytest.raises(InputError, match="one of: a"):
        find_runs(folder.parent, "z")


def test_rows_that_were_written_again_replace_the_old():
    rows = [{"step": s, "n": n} for s, n in ((1, 0), (2, 0), (3, 0), (2, 1), (4, 1), (3, 2))]
    assert [(r["step"], r["n"]) for r in current_rows(rows)] == [(1, 0), (2, 1), (3, 2)]


def test_trend_is_clear_only_beyond_the_noise():
    rng = np.random.default_rng(0)
    noise = [(k, 1 + 0.1 * z) for k, z in enumerate(rng.normal(size=40))]
    falling = [(k, v - 0.02 * k) for k, v in noise]
    assert not trend(noise).clear and trend(falling).clear
    assert trend(falling).change == pytest.approx(
        -0.02 * 20 / np.mean([v for _, v in falling[:20]]), abs=0.05
    )
    assert trend([(1, 2.0)]).change is None and trend([]) is None
