"""What `talkjax track` refuses, each in one line, before it looks for a face."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from talkjax import errors
from talkjax.assets.mediapipe import landmark_model_files
from talkjax.assets.model_file import save_model
from talkjax.cli import main
from talkjax.face.person import person_model
from talkjax.media.writer import VideoWriter
from talkjax.track.model_choice import choose_model
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> pathlib.Path:
    """A second of gray."""
    path = tmp_path_factory.mktemp("clip") / "gray.mp4"
    with VideoWriter(path, 64, 48) as writer:
        for _ in range(25):
            writer.write(np.full((48, 64, 3), 90, np.uint8))
    return path


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALKJAX_ASSETS", str(tmp_path / "assets"))


def _refused(capsys, words: list[str], *texts: str) -> None:
    code = main.run(words)
    out, err = capsys.readouterr()
    assert code == errors.EXIT_INPUT and out == "", err
    assert err.startswith("talkjax: ") and err.count("\n") == 1, err
    for text in texts:
        assert text in err


def test_settings_that_do_not_exist(capsys, clip, tmp_path):
    _refused(capsys, ["track", str(clip)], "--out")
    for flag, text in (
        ("--every=0", "every"),
        ("--max_seconds=0.2", "max_seconds"),
        ("--texture=photo", "texture"),
        ("--texture_modes=65", "texture_modes"),
    ):
        _refused(capsys, ["track", str(clip), "--out=o", flag], text)
    assert not list(tmp_path.iterdir())


def test_models_that_are_none(capsys, clip, tmp_path):
    out = f"--out={tmp_path / 'o'}"
    _refused(capsys, ["track", str(clip), out, "--model=nobody"], "nobody", "assets")
    _refused(capsys, ["track", str(clip), out, "--model=../nobody"], "nobody")
    _refused(capsys, ["track", str(clip), out, "--model=gone.npz"], "gone.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 cut off")
    _refused(capsys, ["track", str(clip), out, "--model=bad.npz"], "bad.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros((4, 3)))
    _refused(capsys, ["track", str(clip), out, "--model=other.npz"], "other.npz")
    _refused(capsys, ["track", str(clip), out, "--texture=model"], "no texture of its own")
    assert not (tmp_path / "o").exists()


def test_a_model_is_found_by_file_and_by_name(tmp_path):
    model = person_model(drawn_neutral(), n_id=2)
    folder = tmp_path / "assets" / "face_models"
    folder.mkdir(parents=True)
    save_model(folder / "mine.npz", model)
    by_name, by_file = choose_model("mine"), choose_model(str(folder / "mine.npz"))
    for choice in (by_name, by_file):
        assert choice.model is not None and choice.model.id_basis.shape == (2, 468, 3)
        assert len(choice.record["sha256"]) == 64 and choice.record["license"]
    assert choose_model("lifted").model is None


def test_clips_and_folders_that_cannot_be_used(capsys, clip, tmp_path):
    (tmp_path / "text.mp4").write_bytes(b"no clip " * 50)
    _refused(capsys, ["track", "text.mp4", "--out=o"], "text.mp4")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("precious")
    _refused(capsys, ["track", str(clip), "--out=mine", "--overwrite"], "mine holds other files")
    _refused(capsys, ["track", str(clip), "--out=text.mp4"], "text.mp4 is a file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "text.mp4"]


def test_a_clip_without_a_face(capsys, clip, tmp_path):
    try:
        landmark_model_files()
    except errors.InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    _refused(capsys, ["track", str(clip), "--out=o"], "a face in 0% of 25 frames")
    assert not list(tmp_path.iterdir())
