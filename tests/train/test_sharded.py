"""One device and eight simulated ones: the same losses, gradients and memory, whatever the layout."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.train import sharding

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens" / "shardings"
STEPS = 20
TASKS = ("mapping", "lite", "paper", "reconstruction")
PAIRS = [
    ("mapping", "data"),
    ("mapping", "fsdp"),
    ("mapping", "model"),
    ("lite", "data"),
    ("lite", "fsdp"),
    ("paper", "data"),
    ("paper", "model"),
    ("reconstruction", "data"),
]


@pytest.fixture(scope="module")
def report() -> dict:
    """What `sharded_run` says of all tasks, in a process with eight devices."""
    command = [sys.executable, "-m", "tests.train.sharded_run", str(STEPS)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.sharded
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("task", "layout"), PAIRS)
def test_every_layout_computes_what_one_device_computes(report, task, layout) -> None:
    one, many = report[task]["one"], report[task][layout]
    for name, value in one["losses"][0].items():
        if name != "gradient":
            assert many["losses"][0][name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
    assert one["gradients"]
    for network in {name.split("[")[0] for name in one["gradients"]}:
        # against the network's largest: before a norm, some gradients are zero but for rounding
        leaves = [name for name in one["gradients"] if name.startswith(network)]
        largest = max(one["gradients"][name][0] for name in leaves)
        for name in leaves:
            difference = np.abs(np.subtract(many["gradients"][name], one["gradients"][name])).max()
            assert difference <= 1e-4 * largest, name
    apart = sum(a != b for a, b in zip(one["slots"], many["slots"], strict=True))
    assert apart == 0  # no near-tie in a look-up fell otherwise
    for a, b in zip(one["losses"], many["losses"], strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
    assert one["traced"] == many["traced"] == 1  # nothing is traced again after the first step
    assert many["cut"] < 1 if layout != "data" else many["cut"] == 1


@pytest.mark.sharded
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("task", "layout"), PAIRS)
def test_shardings_are_those_of_the_golden_file(report, task, layout) -> None:
    """Made by `sharded_run`; write a new one only when a change of layout is meant."""
    path = GOLDENS / f"{task}_{layout}.txt"
    lines = report[task][layout]["shardings"]
    if os.environ.get("TALKJAX_WRITE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    assert lines == path.read_text().splitlines()


@pytest.mark.sharded
@pytest.mark.timeout(1500)
def test_accumulated_parts_make_one_update(report) -> None:
    one, two = report["mapping"]["accumulated_one"], report["mapping"]["accumulated"]
    losses = [[row["loss"] for row in run["losses"]] for run in (one, two)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert len(set(losses[0])) == 4  # every step is another update


def test_the_mesh_must_fit_the_devices() -> None:
    mesh = sharding.make_mesh(sharding.MeshShape())
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "model": 1}
    for shape in (sharding.MeshShape(-1, 3, 1), sharding.MeshShape(2, 1, 1), sharding.MeshShape(0, 1, 1)):
        with pytest.raises(InputError, match="does not fit 1 devices"):
            sharding.make_mesh(shape)


def test_a_batch_must_divide() -> None:
    mesh = sharding.make_mesh(sharding.MeshShape())
    assert sharding.rows_of_process(mesh, 6, accumulate=3) == sharding.Rows(0, 1)
    with pytest.raises(InputError, match=r"multiple of 4; fix: --set=batch=8"):
        sharding.rows_of_process(mesh, 6, accumulate=4)


def test_big_leaves_have_logical_axes() -> None:
    axes = sharding.logical_axes
    assert axes(".task.params['params']['Dense_0']['kernel']", 2) == ("in", "out")
    assert axes(".task.opt_g[0].mu['Conv_1']['kernel']", 4) == ("tap", "tap", "in", "channel")
    assert axes(".task.bank.keys", 2) == ("slots", "feature") and axes(".task.bank.age", 1) == ("slots",)
    assert axes(".task.params['bias']", 1) == ("other",)
    assert set(sharding.RULES) >= {"in", "out", "channel", "slots", "tap", "feature", "other"}
