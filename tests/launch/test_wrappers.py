"""launch/local.sh and launch/retry.sh with small stand-ins for the training process."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# says who it is; fails, or waits until it is told to stop, then saves
RANK = """
trap 'echo saved; exit 75' TERM
trap 'echo saved; exit 130' INT
echo "rank $TALKJAX_PROCESS_ID of $TALKJAX_NUM_PROCESSES at $TALKJAX_COORDINATOR"
[ "$TALKJAX_PROCESS_ID" != "$FAILS" ] || { sleep 0.3; exit 7; }
for ((k = 0; k < $TURNS; k++)); do sleep 0.05; done
"""


def _local(folder, *flags, fails="none", turns=4, processes=2):
    words = [
        "bash",
        "launch/local.sh",
        f"--processes={processes}",
        f"--logs={folder}",
        *flags,
        "--",
        "bash",
        "-c",
    ]
    rank = RANK.replace("$FAILS", fails).replace("$TURNS", str(turns))
    return subprocess.Popen(
        [*words, rank],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _session(process) -> list[int]:
    """Processes that the wrapper started and that still run (its session, whatever their group)."""
    words = ["ps", "-s", str(process.pid), "-o", "pid=,stat="]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if "Z" not in line]


def _wait_for_line(path: pathlib.Path, text: str) -> None:
    end = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"{text!r} never came"
        time.sleep(0.05)


def test_every_process_knows_its_place_and_has_a_log(tmp_path):
    process = _local(tmp_path / "logs", processes=3)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "all processes ended: done" in err
    logs = [(tmp_path / f"logs/rank_{k}.log").read_text().splitlines()[-1] for k in range(3)]
    assert [line.split(" at ")[0] for line in logs] == [f"rank {k} of 3" for k in range(3)]
    assert len({line.split(" at ")[1] for line in logs}) == 1  # one coordinator
    assert out.splitlines() == [logs[0]]  # rank 0 also shows here


def test_all_die_when_one_dies(tmp_path):
    begin = time.monotonic()
    process = _local(tmp_path, "--grace=1", fails="1", turns=1000)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7 and time.monotonic() - begin < 20
    assert "rank 1 of 2 ended with 7" in err and "1 of 2 still run 1 s later: killed" in err
    assert "rank 0 of 2 ended" not in err and "Killed" not in err  # its end is no news
    assert _session(process) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signals_reach_every_process(tmp_path, number, code):
    process = _local(tmp_path, turns=1000)
    for k in range(2):
        _wait_for_line(tmp_path / f"rank_{k}.log", f"rank {k} of")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code and _session(process) == []
    for k in range(2):
        assert (tmp_path / f"rank_{k}.log").read_text().endswith("saved\n")


def test_the_third_signal_kills(tmp_path):
    rank = "trap '' TERM; echo deaf; for ((k = 0; k < 1000; k++)); do sleep 0.05; done"
    words = ["bash", "launch/local.sh", f"--logs={tmp_path}", "--", "bash", "-c", rank]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    for k in range(2):
        _wait_for_line(tmp_path / f"rank_{k}.log", "deaf\n")
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
    process.communicate(timeout=60)
    assert process.returncode == 137 and _session(process) == []


# ends with the codes of a list, one a try
TRIES = 'n=$(($(cat n) + 1)); echo "$n" >n; set -- CODES; exit "${!n}"'


def _retry(folder, codes, *flags):
    (folder / "n").write_text("0")
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    sleep = tools / "sleep"  # no test waits for a pause
    sleep.write_text(f'#!/bin/bash\necho "$1" >>{folder}/pauses\n')
    sleep.chmod(0o755)
    words = [
        "bash",
        "launch/retry.sh",
        *flags,
        "--",
        "bash",
        "-c",
        f"cd {folder}; " + TRIES.replace("CODES", codes),
    ]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    pauses = (folder / "pauses").read_text().split() if (folder / "pauses").exists() else []
    return done.returncode, int((folder / "n").read_text()), [int(p) for p in pauses], done.stderr


@pytest.mark.parametrize("code", [0, 2, 3, 130])
def test_what_cannot_help_is_not_tried_again(tmp_path, code):
    assert _retry(tmp_path, f"{code} 0")[:2] == (code, 1)


def test_stopped_runs_go_on_without_limit_and_crashes_with_pauses(tmp_path):
    codes = "75 75 75 1 75 134 137 139 0"
    code, tries, pauses, err = _retry(tmp_path, codes, "--max_crashes=4", "--backoff=5", "--max_backoff=12")
    assert (code, tries) == (0, 9)
    assert pauses == [1, 1, 1, 5, 1, 10, 12, 12]
    assert "ended with 137: signal KILL (crash 3 of at most 4): again in 12 s" in err


def test_too_many_crashes_end_it(tmp_path):
    code, tries, _, err = _retry(tmp_path, "1 137 134 0", "--max_crashes=2")
    assert (code, tries) == (134, 3) and "more than --max_crashes=2, giving up" in err


def test_who_stops_the_wrapper_stops_the_job_and_nothing_starts_again(tmp_path):
    job = f"trap 'exit 75' TERM; echo >>{tmp_path}/starts; for ((k = 0; k < 1000; k++)); do sleep 0.05; done"
    process = subprocess.Popen(
        ["bash", "launch/retry.sh", "--", "bash", "-c", job], cwd=ROOT, start_new_session=True
    )
    _wait_for_line(tmp_path / "starts", "\n")
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "starts").read_text() == "\n" and _session(process) == []
