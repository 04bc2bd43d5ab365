"""Checkpoints and weight files: equal after a round trip, and never silently something else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from talkjax.errors import InputError
from talkjax.train.checkpoint import checkpoint_steps, restore_checkpoint, save_checkpoint

HASH = "c0ffee"


def make_state(step: int):
    return {
        "params": {"w": jnp.arange(6.0).reshape(2, 3) + step, "half": jnp.full((3,), step, jnp.bfloat16)},
        "key": jax.random.key(step),
        "keys": jax.random.split(jax.random.key(step), 2),
        "step": step,
        "rate": 0.1 * step,
        "moments": (jnp.zeros((0, 2)), np.int32(step), jnp.ones((2,), jnp.uint8)),
    }


def as_numpy(state):
    def raw(leaf):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(raw, state)


def assert_equal(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(as_numpy(a)), jax.tree.leaves(as_numpy(b)), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_round_trip_of_every_kind_of_leaf(tmp_path) -> None:
    state = make_state(7)
    save_checkpoint(tmp_path, 7, state, config_hash=HASH)
    like = jax.eval_shape(lambda: {k: v for k, v in state.items() if k not in ("step", "rate")})
    restored, step = restore_checkpoint(tmp_path, {**like, "step": 0, "rate": 0.0}, config_hash=HASH)
    assert step == 7 and type(restored["step"]) is int and type(restored["rate"]) is float
    assert_equal(restored, state)
    assert jax.random.normal(restored["key"]) == jax.random.normal(state["key"])


def test_nothing_there_is_none(tmp_path) -> None:
    assert restore_checkpoint(tmp_path / "none", make_state(0), config_hash=HASH) is None


def test_only_the_newest_are_kept_and_leftovers_go(tmp_path) -> None:
    (tmp_path / "tmp-123-step_00000009").mkdir()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"a": jnp.ones(2)}, config_hash=HASH, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step_00000002", "step_00000003"]
    assert checkpoint_steps(tmp_path) == [2, 3]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: {**s, "params": {**s["params"], "w": jnp.zeros((3, 2))}}, r"float32\[2, 3\]"),
        (lambda s: {**s, "params": {**s["params"], "w": jnp.zeros((2, 3), jnp.bfloat16)}}, "float32"),
        (lambda s: {**s, "params": {**s["params"], "half": jnp.zeros((3,))}}, "bfloat16"),
        (lambda s: {**s, "more": jnp.zeros(1)}, r"\['more'\]"),
        (lambda s: {k: v for k, v in s.items() if k != "rate"}, r"\['rate'\]"),
        (lambda s: {**s, "step": jnp.int32(1)}, "int"),
        (lambda s: {**s, "key": jax.random.key(0, impl="rbg")}, "key<fry>"),
    ],
    ids=["shape", "narrower", "wider", "extra", "missing", "number", "key kind"],
)
def test_another_state_is_refused(change, found, saved_once) -> None:
    with pytest.raises(InputError, match=found) as caught:
        restore_checkpoint(saved_once, change(make_state(5)), config_hash=HASH)
    assert caught.value.code == "checkpoint_mismatch"


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    save_checkpoint(folder, 5, make_state(5), config_hash=HASH)
    return folder


def test_another_configuration_is_refused(saved_once) -> None:
    with pytest.raises(InputError, match="configuration c0ffee; expected beef") as caught:
        restore_checkpoint(saved_once, make_state(5), config_hash="beef")
    assert caught.value.code == "checkpoint_mismatch"


def damages():
    """(name, what to do to a file's bytes; None removes it)."""

    def flip(position):
        def change(data: bytes) -> bytes:
            i = min(int(position * len(data)), len(data) - 1)
            return data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 :]

        return change

    return {
        "gone": None,
        "empty": lambda data: b"",
        "cut": lambda data: data[: len(data) // 2],
        "flip .1": flip(0.1),
        "flip .5": flip(0.5),
        "flip end": flip(1.0),
    }


# Orbax's own threads complain when a restore fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_damage_falls_back_or_is_harmless(tmp_path) -> None:
    """Every file of the newest checkpoint, damaged in every way: the state is that of step 2 or of step 1."""
    source = tmp_path / "source"
    states = {step: {"w": jnp.arange(40.0) + step, "n": step} for step in (1, 2)}
    for step, state in states.items():
        save_checkpoint(source, step, state, config_hash=HASH)
    newest = source / "step_00000002"
    files = sorted(p.relative_to(newest) for p in newest.rglob("*") if p.is_file())
    assert len(files) > 4
    fallbacks = 0
    for file in files:
        for name, change in damages().items():
            trial = tmp_path / "trial"
            shutil.copytree(source, trial)
            victim = trial / "step_00000002" / file
            if change is None:
                victim.unlink()
            else:
                victim.write_bytes(change(victim.read_bytes()))
            restored, step = restore_checkpoint(trial, states[1], config_hash=HASH)
            assert_equal(restored, states[step])
            fallbacks += step == 1
            if file.name == "manifest.json":
                assert step == 1, name
            shutil.rmtree(trial)
    assert fallbacks > 6


def test_a_flipped_weight_is_noticed(tmp_path, monkeypatch) -> None:
    """Whatever the storage layer lets through (a changed value), the digest stops."""
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"w": jnp.ones((4,))}, config_hash=HASH)
    real = ocp.StandardCheckpointer.restore

    def tampered(self, path, *args, **kwargs):
        stored = real(self, path, *args, **kwargs)
        if "step_00000002" in str(path):
            stored = {name: array + 1e-6 for name, array in stored.items()}
        return stored

    monkeypatch.setattr(ocp.StandardCheckpointer, "restore", tampered)
    assert restore_checkpoint(tmp_path, {"w": jnp.ones((4,))}, config_hash=HASH)[1] == 1


def test_when_none_is_whole_it_stops(tmp_path) -> None:
    save_checkpoint(tmp_path, 1, {"w": jnp.ones(2)}, config_hash=HASH)
    (tmp_path / "step_00000001" / "manifest.json").unlink()
    (tmp_path / "step_00000007").mkdir()
    with pytest.raises(InputError, match="none of the 2 checkpoints") as caught:
        restore_checkpoint(tmp_path, {"w": jnp.ones(2)}, config_hash=HASH)
    assert caught.value.code == "checkpoint_damaged"


def test_unwritable_folder_fails_at_once(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        save_checkpoint(tmp_path / "file" / "run", 1, {"w": jnp.ones(2)}, config_hash=HASH)


SAVER = """
import sys, talkjax, numpy as np
from talkjax.train.checkpoint import save_checkpoint
for step in range(1, 10_000):
    save_checkpoint(sys.argv[1], step, {"w": np.full((1 << 21,), step, np.float32)}, config_hash="h")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_in_the_middle_of_saving(tmp_path) -> None:
    child = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)])
    try:
        deadline = time.monotonic() + 120
        while len(checkpoint_steps(tmp_path)) < 2 or not list(tmp_path.glob("tmp-*")):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    state, step = restore_checkpoint(tmp_path, {"w": np.zeros((1 << 21,), np.float32)}, config_hash="h")
    assert step >= 2
    np.testing.assert_array_equal(state["w"], np.full((1 << 21,), step, np.float32))
