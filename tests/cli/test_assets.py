"""talkjax assets list and convert as a person meets them."""

from __future__ import annotations

import hashlib
import pathlib
import pickle

import numpy as np
import pytest

from talkjax.assets.catalogue import FACE_MODELS, NETWORKS
from talkjax.assets.face_models import find_model
from talkjax.assets.model_manifest import read_manifest
from tests.assets import generated_models as made
from tests.cli.command import refused, run


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TALKJAX_ASSETS", str(tmp_path / "assets"))


def _refused(capsys, line: str, *texts: str) -> None:
    refused(capsys, line, *texts)
    assert not list(pathlib.Path("assets").rglob("*.npz"))


class _Bomb:
    def __reduce__(self):
        return (eval, ("open('canary', 'w').close()",))


def test_convert_list_find(capsys, tmp_path):
    made.write_bfm09(tmp_path / "bfm")
    code, out, _ = run(capsys, "assets list")
    assert code == 0 and out.count("here: not converted") == len(FACE_MODELS) - 1 + len(NETWORKS)
    for kind, model in FACE_MODELS.items():
        assert f"\n{kind}: {model.title}\n  terms: {model.license}" in out
    assert "sha256 not recorded" in out and "http" not in out
    code, out, err = run(capsys, "assets convert --kind=bfm09 --source=bfm --license_accepted --n_exp=5")
    assert (code, err) == (0, "") and "80 identity, 5 expression, 80 texture axes" in out
    stored = tmp_path / "assets" / "face_models" / "bfm09.npz"
    manifest = read_manifest(stored)
    expected = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "bfm").iterdir()
    }
    assert manifest["sources"] == expected and manifest["terms_accepted"] is True
    assert manifest["license"] == FACE_MODELS["bfm09"].license and manifest["kind"] == "bfm09"
    assert find_model("bfm09").exp_basis.shape == (5, 468, 3)
    assert f"bfm09: {stored} (80 identity, 5 expression axes" in run(capsys, "assets list")[1]
    stored.write_bytes(stored.read_bytes()[:1000])
    assert "not usable: face model" in run(capsys, "assets list")[1]
    code, _, _ = run(capsys, "assets convert --kind=bfm09 --source=bfm --license_accepted --out=new/b.npz")
    assert code == 0 and find_model("new/b.npz").exp_basis.shape == (64, 468, 3)


def test_bad_files_end_with_code_2_and_one_line(capsys, tmp_path):
    source = "assets convert --kind=flame --source=model.pkl"
    _refused(capsys, source, "FLAME model license", "--license_accepted")
    source += " --license_accepted"
    _refused(capsys, source, "model.pkl: No such file")
    pathlib.Path("model.pkl").write_bytes(pickle.dumps({"v_template": _Bomb()}))
    _refused(capsys, source, "names builtins.eval", "nothing of this one was executed")
    assert not pathlib.Path("canary").exists()
    pathlib.Path("model.pkl").write_bytes(made.python2_pickle(made.flame_arrays())[:200_000])
    _refused(capsys, source, "is not a whole pickle")
    pathlib.Path("model.pkl").write_bytes(pickle.dumps({"v_template": np.zeros((3, 3))}))
    _refused(capsys, source, "lacks f, shapedirs")
    _refused(capsys, f"{source} --sha256={'0' * 64}", "model.pkl has sha256", "0" * 64)
    _refused(capsys, f"{source} --n_tex=3", "--n_tex means nothing for --kind=flame")
    _refused(capsys, f"{source} --out=../x", "cannot name a face model")
    _refused(capsys, "assets convert --kind=flame", "needs --source")
    _refused(capsys, "assets convert --kind=smpl --source=x", "smpl")
    _refused(
        capsys, "assets convert --kind=bfm09 --source=. --license_accepted", "01_MorphableModel.mat: No such"
    )
    _refused(capsys, "assets convert --kind=ict --source=.", "generic_neutral_mesh.obj: No such file")


def test_flame_without_landmarks_says_what_to_do(capsys, tmp_path):
    made.write_flame(tmp_path)
    pathlib.Path("flame_static_embedding.pkl").rename("marks.pkl")
    line = "assets convert --kind=flame --source=generic_model.pkl --license_accepted --n_id=3 --n_exp=2"
    _refused(capsys, line, "no landmarks beside it", "--landmarks=FILE")
    code, out, _ = run(capsys, f"{line} --landmarks=marks.pkl --out=small")
    assert code == 0 and "3 identity, 11 expression, 0 texture axes" in out
    assert sorted(read_manifest("assets/face_models/small.npz")["sources"]) == [
        "generic_model.pkl",
        "marks.pkl",
    ]
    assert find_model("small").skeleton.moving == (2, 3, 4)
