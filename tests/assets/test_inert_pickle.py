"""A pickle is data: whatever it names beyond arrays, nothing runs and it is refused."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import subprocess

import numpy as np
import pytest
import scipy.sparse

from talkjax.assets import inert_pickle
from talkjax.assets.inert_pickle import RefusedPickle
from talkjax.assets.pickled import read_pickle
from talkjax.errors import InputError
from tests.assets.generated_models import python2_pickle


class _Call:
    """Pickled, it is a call of a function on unpickling."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _bombs(canary: pathlib.Path) -> dict[str, bytes]:
    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    text = canary.as_posix().encode()
    return {
        "os.system": pickle.dumps({"x": _Call(os.system, touch)}),
        "eval": pickle.dumps({"x": _Call(eval, f"[{code}]")}, protocol=2),
        "exec inside an array": pickle.dumps({"x": np.array([_Call(exec, code)], dtype=object)}),
        "Popen": pickle.dumps(_Call(subprocess.Popen, ["touch", str(canary)])),
        "protocol 0": b"cposix\nsystem\n(S'touch " + text + b"'\ntR.",
        "getattr chain": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "another of numpy": b"cnumpy\nsave\n(S'" + text + b"'\nI1\ntR.",
        "extension code": b"\x80\x02\x82\x01.",
        "persistent id": b"Pwhatever\n.",
        "rebuild of any class": b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
    }


def test_nothing_of_a_bomb_runs(tmp_path):
    canary = tmp_path / "canary"
    for name, data in _bombs(canary).items():
        with pytest.raises(RefusedPickle):
            inert_pickle.load(io.BytesIO(data))
        assert not canary.exists(), name
    # the canary does sing where pickles are trusted
    pickle.loads(_bombs(canary)["os.system"])
    assert canary.exists()


def test_the_child_refuses_in_one_line_and_the_parent_never_unpickles(tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "model.pkl"
    path.write_bytes(_bombs(canary)["os.system"])
    with pytest.raises(InputError, match=r"names (posix|nt)\.system, which is not on the list") as caught:
        read_pickle(path, ("x",))
    assert not canary.exists() and "\n" not in str(caught.value)


def test_damaged_and_foreign_pickles_are_refused(tmp_path):
    whole = pickle.dumps({"x": np.arange(1000.0)})
    plain = io.BytesIO()
    np.save(plain, np.arange(3))
    for data, text in (
        (whole[: len(whole) // 2], "is not a whole pickle"),
        (b"", "is not a whole pickle"),
        (b"\x80\x02plain text", "is not a whole pickle"),
        (pickle.dumps([1, 2]), "holds a list, not a dict"),
        (plain.getvalue(), "npy file without a dict"),
    ):
        with pytest.raises(RefusedPickle, match=text):
            inert_pickle.load(io.BytesIO(data))
    with pytest.raises(InputError, match="No such file"):
        read_pickle(tmp_path / "nowhere.pkl", ("x",))


@pytest.mark.parametrize("form", ["csc", "csr"])
def test_arrays_come_out_as_they_went_in(form):
    rng = np.random.default_rng(0)
    sparse = scipy.sparse.random(7, 11, 0.3, form, random_state=1)
    sparse = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix}[form](sparse)
    value = {
        "a": rng.normal(size=(2, 3)),
        "fortran": np.asfortranarray(rng.normal(size=(4, 5))),
        "index": np.array([[4294967295, 0]], np.uint32),
        "sparse": sparse,
        "number": np.float64(2.5),
        "text": "lbs",
    }
    keys = ["a", "fortran", "index", "sparse", "number", "nowhere"]
    wanted = {**value, "sparse": sparse.toarray()}
    streams = [python2_pickle({k: v for k, v in value.items() if k != "number"}, chumpy=("a",))]
    streams += [pickle.dumps(value, protocol=p) for p in (0, 2, 4, 5)]
    for stream in streams:
        found = inert_pickle.extract(inert_pickle.load(io.BytesIO(stream)), keys)
        assert set(found) >= {"a", "fortran", "index", "sparse"}
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(
    "harm",
    [
        {"indices": np.array([0, 99])},
        {"indptr": np.array([0, 2, 1, 2])},
        {"indptr": np.array([0, 2])},
        {"_shape": (1 << 20, 1 << 20)},
        {"data": np.array(["a", "b"])},
    ],
)
def test_a_forged_sparse_matrix_is_refused(harm):
    matrix = inert_pickle.Sparse()
    state = {
        "data": np.ones(2),
        "indices": np.array([0, 1]),
        "indptr": np.array([0, 1, 2, 2]),
        "_shape": (2, 3),
    }
    matrix.__setstate__(state)
    assert inert_pickle.numbers(matrix).shape == (2, 3)
    matrix.__setstate__({**state, **harm})
    with pytest.raises(RefusedPickle, match="sparse matrix"):
        inert_pickle.numbers(matrix)
