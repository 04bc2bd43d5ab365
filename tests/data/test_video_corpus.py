"""Real videos as a corpus: LRW's layout and any folder, with broken clips set aside.

`goldens/synthetic_person.mp4` is 29 frames with sound of the project's drawn person, 160 x 160
(`synthesize_clip(seconds=1.16, size=(160, 160))`).
"""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.data.speech_corpus import SpeechCorpus
from talkjax.data.video_corpus import build_video, folder_clips, lrw_clips
from talkjax.errors import InputError
from talkjax.media.reader import read_audio
from talkjax.media.writer import VideoWriter
from talkjax.track.landmark_models import build_models

CLIP = pathlib.Path(__file__).parents[1] / "goldens" / "synthetic_person.mp4"


@pytest.fixture(scope="module")
def models():
    try:
        files = landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    return build_models(files["detector"].read_bytes(), files["mesh"].read_bytes())


def _write(path: pathlib.Path, sound: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(np.arange(19_200) / 20).astype(np.float32) / 4
    with VideoWriter(path, 64, 64, audio=(tone, 16_000) if sound else None) as out:
        for _ in range(29):
            out.write(np.full((64, 64, 3), 90, np.uint8))


@pytest.fixture(scope="module")
def lrw(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("lrw")
    good = root / "ABOUT" / "train" / "ABOUT_00001.mp4"
    good.parent.mkdir(parents=True)
    shutil.copy(CLIP, good)
    good.with_suffix(".txt").write_text("Duration: 0.4 seconds\n")
    (good.parent / "ABOUT_00002.mp4").write_bytes(CLIP.read_bytes()[:9000])
    _write(root / "ABOUT" / "val" / "ABOUT_00001.mp4", sound=False)
    _write(root / "MAYBE" / "test" / "MAYBE_00001.mp4", sound=True)
    (root / "MAYBE" / "train").mkdir()
    return root


def test_lrw_layout(lrw):
    clips = lrw_clips(lrw)
    assert [(c.name, c.split, c.text) for c in clips] == [
        ("ABOUT/train/ABOUT_00001.mp4", "train", "about"),
        ("ABOUT/train/ABOUT_00002.mp4", "train", "about"),
        ("ABOUT/val/ABOUT_00001.mp4", "utterance_heldout", "about"),
        ("MAYBE/test/MAYBE_00001.mp4", "utterance_heldout", "maybe"),
    ]


@pytest.mark.slow
def test_lrw_corpus_sets_broken_clips_aside(lrw, models, tmp_path):
    manifest = build_video(lrw, tmp_path / "out", "lrw", shard_size=2, workers=0, models=models)
    reasons = {entry["clip"]: entry["code"] for entry in manifest["quarantine"]}
    assert set(reasons) == {c.name for c in lrw_clips(lrw)[1:]}
    assert reasons["ABOUT/val/ABOUT_00001.mp4"] == "no_audio"
    assert reasons["MAYBE/test/MAYBE_00001.mp4"] == "no_face"
    assert sum(manifest["quarantine_counts"].values()) == 3
    corpus = SpeechCorpus.open(tmp_path / "out")
    assert (len(corpus), corpus.source) == (1, "lrw")
    utterance = corpus[0]
    assert (utterance.key, utterance.text, len(utterance)) == ("ABOUT/train/ABOUT_00001.mp4", "about", 29)
    assert utterance.valid.all() and np.isfinite(utterance.exp).all() and np.ptp(utterance.exp) > 0.3
    assert np.isnan(utterance.channels).all()
    assert np.abs(utterance.euler).max() < 0.5 and np.isfinite(utterance.translation).all()
    heard = read_audio(CLIP)[: len(utterance.wav)]
    np.testing.assert_allclose(utterance.wav[: len(heard)] / 32767, heard, atol=2e-4)
    before = (tmp_path / "out" / "shard_00000.npz").stat().st_mtime_ns
    build_video(lrw, tmp_path / "out", "lrw", shard_size=2, workers=0)  # finished: needs no models
    assert (tmp_path / "out" / "shard_00000.npz").stat().st_mtime_ns == before


def test_folder_of_clips(lrw, models, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(lrw / "ABOUT" / "train" / "ABOUT_00002.mp4", tmp_path / "in" / "sub" / "b.mp4")
    _write(tmp_path / "in" / "a.mp4", sound=True)
    (tmp_path / "in" / "notes.txt").write_text("no video")
    assert [c.name for c in folder_clips(tmp_path / "in")] == ["a.mp4", "sub/b.mp4"]
    with pytest.raises(InputError, match=r"none of the 2 clips can be used.*no_face: 1"):
        build_video(tmp_path / "in", tmp_path / "out", "video_folder", workers=0, models=models)


def test_heldout_clips_are_chosen_by_name(tmp_path):
    for k in range(200):
        (tmp_path / f"{k}.mp4").touch()
    clips = folder_clips(tmp_path)
    held = [c.name for c in clips if c.split == "voice_heldout"]
    assert 8 < len(held) < 40
    assert len({c.voice for c in clips}) == 200
    for k in range(100):
        (tmp_path / f"{k}.mp4").unlink()
    still = [c.name for c in folder_clips(tmp_path) if c.split == "voice_heldout"]
    assert still == [name for name in held if int(name[:-4]) >= 100]


@pytest.mark.parametrize("source", ["lrw", "video_folder"])
def test_a_folder_without_clips_is_refused(tmp_path, source):
    with pytest.raises(InputError, match="no clips"):
        build_video(tmp_path, tmp_path / "out", source)
    with pytest.raises(InputError, match="no folder"):
        build_video(tmp_path / "none", tmp_path / "out", source)
