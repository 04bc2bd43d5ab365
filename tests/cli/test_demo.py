"""The demo's own part: drawing the clip once. (The stages have their tests; `launch/demo.sh` runs it all.)"""

from __future__ import annotations

import pathlib

import pytest

from talkjax.cli import demo
from talkjax.data import synthetic_person, synthetic_voice
from talkjax.progress import SILENT


@pytest.fixture
def drawn(monkeypatch) -> list[pathlib.Path]:
    """Stands in for the renderer; collects what it was asked to draw."""
    calls: list[pathlib.Path] = []

    def draw(path, *, seed, seconds, progress):
        calls.append(path)
        path.write_bytes(f"clip {seed} {seconds}".encode())
        if seed == 13:
            raise KeyboardInterrupt
        progress(1, 1)

    monkeypatch.setattr(synthetic_person, "synthesize_clip", draw)
    return calls


def test_the_clip_is_drawn_once_until_seed_length_or_file_change(drawn, tmp_path):
    clip = tmp_path / "person.mp4"
    for seed, seconds, draws in ((0, 5.0, 1), (0, 5.0, 1), (1, 5.0, 2), (1, 6.0, 3)):
        demo._synthesize(clip, seed, seconds, SILENT)
        assert clip.read_text() == f"clip {seed} {seconds}" and len(drawn) == draws
    clip.write_bytes(b"something else")
    demo._synthesize(clip, 1, 6.0, SILENT)
    assert clip.read_text() == "clip 1 6.0" and len(drawn) == 4


def test_an_interrupted_drawing_leaves_the_old_clip(drawn, tmp_path):
    clip = tmp_path / "person.mp4"
    demo._synthesize(clip, 0, 5.0, SILENT)
    with pytest.raises(KeyboardInterrupt):
        demo._synthesize(clip, 13, 5.0, SILENT)
    assert clip.read_text() == "clip 0 5.0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["person.json", "person.mp4"]
    assert drawn[-1] != clip and drawn[-1].suffix == ".mp4"


def test_the_new_voice_is_not_the_one_of_the_clip():
    assert synthetic_voice.voice_path(demo.VOICE).is_file()
    assert demo.VOICE != "voice_train" and demo.VOICE in synthetic_voice.VOICES
