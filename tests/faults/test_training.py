"""Training that is harmed: real processes over gloo, killed, stopped, frozen, starved; what they leave, and
that a resumed run ends with the very same losses as one that nobody touched."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from tests.faults.harness import (
    ROOT,
    Cluster,
    checkpoints,
    events,
    losses,
)

pytestmark = pytest.mark.faults
STEPS = 30
FAULTY = ("-m", "tests.faults.faulty")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def untouched(place) -> dict[int, str]:
    """Losses of a run of two processes that nobody harmed; its folder is `place / "untouched"`."""
    with Cluster(place / "untouched", 2, steps=STEPS, keep=10) as run:
        assert run.wait(180) == [0, 0], run.text()
    assert len(losses(run.folder)) == STEPS
    return losses(run.folder)


def begun(place: pathlib.Path, name: str, last: int = 10) -> pathlib.Path:
    """A run folder as a kill after checkpoint `last` leaves it; its name is `place / name`."""
    folder = place / name / "run"
    shutil.copytree(place / "untouched" / "run", folder)
    for step in checkpoints(folder):
        if step > last:
            shutil.rmtree(folder / "checkpoints" / f"step_{step:08d}")
    (folder / "metrics.jsonl").unlink()
    (folder / "events.jsonl").unlink()
    return folder


def test_a_killed_host_takes_the_others_along_and_nothing_is_lost(place, untouched) -> None:
    begun(place, "killed")
    with Cluster(place / "killed", 2, steps=STEPS) as run:
        run.wait_for_step(17)
        run.signal(1, signal.SIGKILL)
        codes = run.wait(30)
    assert codes[1] == -signal.SIGKILL and codes[0] in (1, -signal.SIGABRT), codes
    # the coordinator goes next, in the run that goes on
    with Cluster(place / "killed", 2, steps=STEPS) as run:
        run.wait_for(lambda: events(run.folder, "resume")[1:])
        start = events(run.folder, "resume")[-1]["step"]
        assert start >= 10
        run.wait_for_step(start + 6)
        run.signal(0, signal.SIGKILL)
        codes = run.wait(30)
    assert codes[0] == -signal.SIGKILL and codes[1] in (1, -signal.SIGABRT), codes
    # and it ends on one process with two devices: another topology
    with Cluster(place / "killed", 1, devices=2, steps=STEPS) as run:
        assert run.wait(120) == [0], run.text()
    assert losses(run.folder) == {k: v for k, v in untouched.items() if k in losses(run.folder)}
    assert losses(run.folder)[STEPS] == untouched[STEPS] and min(losses(run.folder)) == 11
    assert "2 processes" in events(run.folder, "resume")[-1]["topology_before"]


def test_all_killed_in_the_middle_of_a_save(place, untouched) -> None:
    folder = begun(place, "save")
    with Cluster(place / "save", 2, steps=STEPS) as run:
        run.wait_for(lambda: list((folder / "checkpoints").glob("tmp-*")))
        for k in (0, 1):
            run.signal(k, signal.SIGKILL)
        run.wait(30)
    left = list((folder / "checkpoints").glob("tmp-*"))
    assert left and checkpoints(folder)[-1] in (10, 15)
    with Cluster(place / "save", 2, steps=STEPS) as run:
        assert run.wait(120) == [0, 0], run.text()
    assert losses(folder)[STEPS] == untouched[STEPS]
    assert not list((folder / "checkpoints").glob("tmp-*"))


def test_sigterm_to_one_host_saves_on_all_and_ends_with_75(place, untouched) -> None:
    folder = begun(place, "term")
    with Cluster(place / "term", 2, steps=STEPS) as run:
        run.wait_for_step(17)
        run.signal(1, signal.SIGTERM)
        assert run.wait(30) == [75, 75], run.text()
    step = events(folder, "stop")[-1]["step"]
    assert step in checkpoints(folder) and step > 17
    with Cluster(place / "term", 2, steps=STEPS) as run:
        assert run.wait(120) == [0, 0], run.text()
    assert events(folder, "resume")[-1]["step"] == step
    assert losses(folder)[STEPS] == untouched[STEPS]


def test_an_exception_on_one_host_ends_all_within_30_seconds(place, untouched, monkeypatch) -> None:
    begun(place, "bug")
    monkeypatch.setenv("TALKJAX_FAULT", "raise:16:99:1")
    with Cluster(place / "bug", 2, main=FAULTY, steps=STEPS) as run:
        run.wait_for_step(15)
        codes = run.wait(30)
    assert codes[1] == 1 and codes[0] in (1, -signal.SIGABRT), codes
    assert "a bug on this host" in run.logs[1].read_text()


def test_a_frozen_host_is_left_by_the_watchdog(place, untouched, monkeypatch) -> None:
    begun(place, "frozen")
    monkeypatch.setenv("TALKJAX_FAULT", "slow:15:99:-")
    settings = {"steps": STEPS, "watchdog_seconds": 10, "heartbeat": 100}
    with Cluster(place / "frozen", 2, main=FAULTY, **settings) as run:
        run.wait_for_step(12)
        run.signal(1, signal.SIGSTOP)
        run.processes[0].wait(60)
        assert run.processes[0].returncode == 1
    assert "Timeout" in run.logs[0].read_text()  # faulthandler's stack dump


def test_damaged_checkpoints_are_passed_over_never_restarted_from_scratch(place, untouched) -> None:
    folder = begun(place, "damaged")
    newest, older = (folder / "checkpoints" / f"step_{step:08d}" for step in (10, 5))
    flip_a_bit(newest)
    with Cluster(place / "damaged", 1, devices=2, steps=STEPS) as run:
        assert run.wait(120) == [0], run.text()
    assert "differs from its sha256" in events(folder, "fallback")[0]["damaged"]
    assert events(folder, "resume")[0]["step"] == 5
    assert losses(folder)[STEPS] == untouched[STEPS]
    for path in (newest, older):
        shutil.rmtree(path, ignore_errors=True)
    for path in (folder / "checkpoints").glob("step_*"):
        (path / "manifest.json").write_bytes(b"")
    with Cluster(place / "damaged", 1, devices=2, steps=STEPS) as run:
        assert run.wait(60) == [2] and "is whole" in run.text()


def flip_a_bit(checkpoint: pathlib.Path) -> None:
    """In the middle of the largest file."""
    path = max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_another_configuration_is_refused_with_the_difference(place, untouched) -> None:
    folder = begun(place, "other")
    with Cluster(place / "other", 2, steps=STEPS, learning_rate=0.001) as run:
        assert run.wait(60) == [2, 2], run.text()
    assert "learning_rate 0.003 -> 0.001" in run.text()
    assert checkpoints(folder) == [0, 5, 10]


def test_two_runs_in_one_folder_and_hosts_that_disagree(place, untouched, monkeypatch) -> None:
    begun(place, "shared")
    monkeypatch.setenv("TALKJAX_FAULT", "slow:10:99:-")
    with Cluster(place / "shared", 1, devices=2, main=FAULTY, steps=STEPS) as first:
        first.wait_for_step(11)
        with Cluster(place / "shared", 1, devices=2, steps=STEPS) as second:
            assert second.wait(60) == [2], second.text()
        assert f"pid {first.processes[0].pid}" in second.text() and "is in use" in second.text()
        assert first.processes[0].poll() is None
        other = place / "other_corpus"
        shutil.copytree(ROOT / "tests" / "goldens" / "speech_corpus", other)
        manifest = other / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")
        corpora = (ROOT / "tests" / "goldens" / "speech_corpus", other)
        with Cluster(place / "disagree", 2, corpora=corpora, steps=STEPS) as run:
            assert run.wait(60) == [2, 2], run.text()
        assert "disagree on corpus" in run.text()


def test_nan_is_skipped_then_rolled_back_then_the_end(place, untouched, monkeypatch) -> None:
    folder = begun(place, "nan")
    monkeypatch.setenv("TALKJAX_FAULT", "nan:11:12:-")
    settings = {"steps": STEPS, "max_bad_steps": 3}
    with Cluster(place / "nan", 1, devices=2, main=FAULTY, **settings) as run:
        assert run.wait(120) == [0], run.text()
    assert [e["step"] for e in events(folder, "skip")] == [12, 13] and not events(folder, "rollback")
    folder = begun(place, "nan_long")
    monkeypatch.setenv("TALKJAX_FAULT", "nan:12:14:-")
    with Cluster(place / "nan_long", 1, devices=2, main=FAULTY, **settings) as run:
        assert run.wait(120) == [0], run.text()
    (rollback,) = events(folder, "rollback")
    assert rollback["to"] == 10 and rollback["batches_passed_over"] == [10, 15]
    assert max(losses(folder)) == STEPS
    folder = begun(place, "nan_for_ever")
    monkeypatch.setenv("TALKJAX_FAULT", "nan:12:999:-")
    settings["max_bad_steps"] = 8  # longer than from checkpoint to checkpoint: none may be made in between
    with Cluster(place / "nan_for_ever", 1, devices=2, main=FAULTY, **settings) as run:
        assert run.wait(120) == [3], run.text()
    assert len(events(folder, "rollback")) == 1 and "learning rate" in run.text()
    assert checkpoints(folder)[-1] == 10


NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def mounted(options: str, folder: pathlib.Path) -> tuple[str, ...]:
    """A command prefix: a mount namespace of its own, in which `folder` is mounted so.

    Root ignores permission bits, so nothing less than a mount is read-only or full for it.
    """
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("this machine allows no mount namespaces (unshare): read-only and full disks not tried")
    script = f'mount {options} "{folder}" && exec "$@"'
    return (*NAMESPACE, "sh", "-c", script, "sh")


def test_a_read_only_folder_is_refused_before_any_work(place, untouched) -> None:
    folder = begun(place, "read_only")
    mount = mounted(f'--bind "{folder.parent}" "{folder.parent}" && mount -o remount,ro,bind', folder.parent)
    with Cluster(place / "read_only", 1, prefix=mount, steps=STEPS) as run:
        assert run.wait(60) == [2], run.text()
    assert "cannot be written" in run.text() and "Read-only" in run.text()


def test_a_full_disk_ends_the_run_and_leaves_whole_checkpoints(place, untouched, monkeypatch) -> None:
    small = place / "small"
    small.mkdir()
    monkeypatch.setenv("TALKJAX_FAULT", "slow:5:99:-")
    mount = mounted("-t tmpfs -o size=24m tmpfs", small)
    with Cluster(small / "run", 1, devices=2, main=FAULTY, prefix=mount, steps=STEPS) as run:
        inside = pathlib.Path(f"/proc/{run.processes[0].pid}/root{small}/run/run")
        run.wait_for(lambda: 5 in checkpoints(inside) and max(losses(inside)) < 10)
        usage = shutil.disk_usage(inside)
        with open(inside / "filler", "wb") as file:
            file.write(b"x" * max(usage.free - 600_000, 0))
        kept = place / "kept"
        run.wait_for(lambda: max(losses(inside)) >= 9)
        shutil.copytree(inside, kept, ignore=shutil.ignore_patterns("filler"))  # the mount ends with the run
        assert run.wait(60) == [2], run.text()
    assert "no space left" in run.text() or "No space left" in run.text()
    assert checkpoints(kept)[-1] == 5
    (place / "after").mkdir()
    shutil.copytree(kept, place / "after" / "run")
    with Cluster(place / "after", 1, devices=2, steps=STEPS) as run:
        assert run.wait(120) == [0], run.text()
    assert losses(run.folder)[STEPS] == untouched[STEPS]


def test_a_full_disk_is_seen_before_the_first_step(place) -> None:
    tiny = place / "tiny"
    tiny.mkdir()
    mount = mounted("-t tmpfs -o size=4m tmpfs", tiny)
    with Cluster(tiny / "run", 1, prefix=mount, steps=STEPS) as run:
        assert run.wait(60) == [2], run.text()
    assert "bytes free" in run.text()


def test_ctrl_c_saves_and_ends_with_130(place, untouched, monkeypatch) -> None:
    folder = begun(place, "interrupted")
    monkeypatch.setenv("TALKJAX_FAULT", "slow:10:99:-")
    with Cluster(place / "interrupted", 1, devices=2, main=FAULTY, steps=STEPS) as run:
        run.wait_for_step(12)
        run.signal(0, signal.SIGINT)
        assert run.wait(30) == [130], run.text()
    assert events(folder, "stop")[-1]["step"] in checkpoints(folder)


def test_runs_show_tells_where_a_run_can_go_on(place, untouched) -> None:
    begun(place, "shown")
    command = [sys.executable, "-m", "talkjax.cli.main", "runs", "show", str(place / "shown"), "--verify"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0 and "10" in done.stdout, done.stdout + done.stderr
