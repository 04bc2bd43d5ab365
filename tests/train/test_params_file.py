"""Weight files: round trip, reproducible bytes, and no damaged byte gets through."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.train.checkpoint import load_params, save_params

TREE = {
    "params": {
        "Dense_0": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3, jnp.bfloat16)},
        "n": np.int32(4),
        "flags": np.array([True, False]),
    },
    "batch_stats": {"mean": np.zeros((0,), np.float16)},
}


def test_round_trip(tmp_path) -> None:
    path = tmp_path / "sub" / "weights.npz"
    digest = save_params(path, TREE, {"preset": "lite", "steps": 3})
    tree, metadata = load_params(path)
    assert metadata == {"preset": "lite", "steps": 3} and len(digest) == 64
    kernel, bias = tree["params"]["Dense_0"]["kernel"], tree["params"]["Dense_0"]["bias"]
    np.testing.assert_array_equal(kernel, TREE["params"]["Dense_0"]["kernel"])
    assert bias.dtype == jnp.bfloat16 and (bias == 1).all()
    assert tree["params"]["n"] == 4 and tree["params"]["n"].shape == ()
    assert tree["params"]["flags"].dtype == bool
    assert tree["batch_stats"]["mean"].shape == (0,) and tree["batch_stats"]["mean"].dtype == np.float16
    assert [p.name for p in path.parent.iterdir()] == ["weights.npz"]


def test_equal_input_gives_equal_bytes(tmp_path) -> None:
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    assert save_params(a, TREE, {"x": 1}) == save_params(b, dict(reversed(TREE.items())), {"x": 1})
    assert a.read_bytes() == b.read_bytes()
    assert save_params(b, TREE, {"x": 2}) != save_params(a, TREE, {"x": 1})


def test_no_damaged_byte_changes_what_is_read(tmp_path) -> None:
    path = tmp_path / "w.npz"
    save_params(path, {"a": np.arange(3.0)}, {"v": 1})
    whole = path.read_bytes()
    errors = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x01]) + whole[i + 1 :])
        errors += not reads_the_same(path)
    assert errors > 0.5 * len(whole)
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert not reads_the_same(path)


def reads_the_same(path) -> bool:
    """True: equal to what was saved. False: refused. Anything else fails the test."""
    try:
        tree, metadata = load_params(path)
    except InputError as error:
        assert error.code == "weights_damaged"
        return False
    assert metadata == {"v": 1} and list(tree) == ["a"]
    np.testing.assert_array_equal(tree["a"], np.arange(3.0))
    return True


def test_pickled_objects_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "evil.npz", __header__=np.array([print], object))
    with pytest.raises(InputError, match="damaged"):
        load_params(tmp_path / "evil.npz")


def test_missing_file_and_bad_names(tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        load_params(tmp_path / "no.npz")
    assert caught.value.code == "weights_missing"
    with pytest.raises(ValueError, match="cannot be named"):
        save_params(tmp_path / "w.npz", {"a/b": np.ones(1)})
