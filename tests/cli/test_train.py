"""`launch/train.py` on a corpus of two utterances: trains, stops, goes on, and writes weights that load."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from launch import mapping_general, train
from talkjax.config import GeneralMappingConfig
from talkjax.errors import InputError, ResumableStop
from talkjax.infer.general_weights import load_general
from talkjax.train.metrics import read_rows
from talkjax.train.pretrain import pretrain
from talkjax.train.runtime import StopRequests

ROOT = pathlib.Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "goldens" / "speech_corpus"
CONFIG = GeneralMappingConfig(steps=4, batch=2, versions=1, save_every=2, eval_every=2, log_every=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A run that was stopped after two steps and gone on with."""
    broken = tmp_path_factory.mktemp("run")

    def stop_after_two(self, step: int) -> bool:
        return step >= 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequests, "at", stop_after_two)
        with pytest.raises(ResumableStop):
            run(CONFIG, broken)
    assert (broken / "checkpoints" / "step_00000002").is_dir() and not (broken / "weights.npz").exists()
    run(CONFIG, broken)
    return broken


def run(config: GeneralMappingConfig, folder: pathlib.Path) -> None:
    pretrain(mapping_general.make_job(config, str(CORPUS)), config, folder)


@pytest.mark.long
def test_what_a_run_tells(finished) -> None:
    told = {name: read_rows(finished / f"{name}.jsonl")[0] for name in ("metrics", "events")}
    assert [row["step"] for row in told["metrics"]] == [1, 2, 3, 4]
    assert all(row["step_seconds"] > 0 and 0 <= row["input_wait_share"] <= 1 for row in told["metrics"])
    names = [row["event"] for row in told["events"]]
    assert names == [
        *("start", "save", "save", "evaluate", "stop"),
        *("resume", "save", "done"),
    ]
    described = json.loads((finished / "run.json").read_text())
    assert described["n_params"] > 200_000 and described["mesh"] == {"data": 1, "fsdp": 1, "model": 1}
    assert described["config"]["steps"] == 4 and described["task"] == "mapping_general"


@pytest.mark.long
def test_weights_load_and_tell_how_they_came_to_be(finished) -> None:
    network = load_general(finished / "weights.npz")
    assert network.metadata["config"]["steps"] == 4 and len(network.metadata["corpus_manifest_sha256"]) == 64
    gap = network.lip_gap(np.random.default_rng(0).normal(size=(80, 40)))
    assert gap.shape == (20,) and np.isfinite(gap).all()
    assert (finished / "report.json").is_file()


@pytest.mark.long
def test_another_configuration_is_refused(finished) -> None:
    with pytest.raises(InputError, match=r"does not fit this run .*batch 2 -> 3"):
        run(dataclasses.replace(CONFIG, batch=3), finished)


def test_settings_are_checked() -> None:
    path = str(ROOT / "configs" / "mapping_general.py")
    assert train.load_config(path, ["steps=12", "learning_rate=0.01"]).steps == 12
    for setting, match in (
        ("speed=1", "names no setting"),
        ("steps=many", "type int"),
        ("steps=0", "out of range"),
    ):
        with pytest.raises(InputError, match=match):
            train.load_config(path, [setting])
    with pytest.raises(InputError, match="is no file"):
        train.load_config("configs/nothing.py", [])


def test_the_command_says_what_is_wrong() -> None:
    command = [
        sys.executable,
        "-m",
        "launch.train",
        "--config=configs/mapping_general.py",
        "--workdir=unused",
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "no speech corpus is given" in done.stderr
