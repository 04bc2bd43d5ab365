"""The builder: same seed, same bytes, however many workers and kills; clear words when it cannot."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from talkjax.data.corpus_voices import SILENCE_SHARE, VOICES
from talkjax.data.generated_corpus import GeneratedConfig, build_generated
from talkjax.data.speech_corpus import SpeechCorpus
from talkjax.data.speech_deformers import lip_gap
from talkjax.data.spoken_utterance import Plan, plan_utterance, speak_utterance
from talkjax.data.synthesizers import check_installed
from talkjax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
SYNTHESIZERS = ("flite", "espeak-ng")
CONFIG = GeneratedConfig(hours=0.012, seed=5, shard_size=2, synthesizers=SYNTHESIZERS)
COMMAND = (
    *(sys.executable, "-m", "launch.build_corpus", "generated", "--hours=0.012", "--seed=5", "--workers=1"),
    *("--shard_size=2", "--synthesizers=flite,espeak-ng"),
)


def _need_synthesizers() -> None:
    try:
        check_installed((v.synthesizer, v.id, v.package) for v in CONFIG.voices)
    except InputError as error:
        pytest.skip(str(error))


def _bytes(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    _need_synthesizers()
    out = tmp_path_factory.mktemp("corpus") / "two"
    build_generated(out, CONFIG, workers=2)
    return out


def test_a_killed_build_goes_on_and_ends_the_same_with_another_number_of_workers(built, tmp_path):
    out = tmp_path / "one"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*COMMAND, f"--out={out}"], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (out / "shard_00000.npz").exists():  # the second shard is being spoken now
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    first = (out / "shard_00000.npz").stat()
    time.sleep(0.2)
    assert "shard_00002.npz" not in os.listdir(out)  # nobody goes on in the background
    build_generated(out, CONFIG, workers=1)
    kept = (out / "shard_00000.npz").stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert _bytes(out) == _bytes(built)


def test_other_settings_do_not_mix(built):
    with pytest.raises(InputError, match="other settings"):
        build_generated(built, GeneratedConfig(0.012, 6, 2, SYNTHESIZERS))


def test_what_was_built(built):
    corpus = SpeechCorpus.open(built)
    manifest = corpus.manifest
    assert manifest["hours"] >= CONFIG.hours and len(manifest["shards"]) >= 2
    assert manifest["seed"] == 5 and set(manifest["synthesizers"]) == set(SYNTHESIZERS)
    for utterance in corpus:
        assert utterance.phones[-1][1] == pytest.approx(len(utterance) / 25, abs=1e-3)
        assert np.abs(utterance.wav).max() < 32767
        if utterance.language != "zxx":
            gap = lip_gap(utterance.exp.astype(np.float64))
            loud = np.sqrt((utterance.wav.reshape(-1, 640).astype(np.float64) ** 2).mean(1))
            assert np.corrcoef(gap, np.log(loud + 30))[0, 1] > 0.3  # the mouth is open when there is sound
    assert len({e.voice for e in corpus.entries}) > 1


def test_shares_hold_over_any_stretch():
    total = sum(v.share for v in VOICES) + SILENCE_SHARE
    plans = [plan_utterance(VOICES, 3, k) for k in range(500, 1500)]
    for voice in VOICES:
        count = sum(plan.voice is voice for plan in plans)
        assert count == pytest.approx(1000 * voice.share / total, abs=4)
    silent = [plan for plan in plans if plan.voice is None]
    assert len(silent) > 10
    held = [plan for plan in plans if plan.split == "utterance_heldout"]
    assert 10 < len(held) < 60
    assert all(plan.voice is None or plan.voice.split == "train" for plan in held)
    assert plan_utterance(VOICES, 3, 77) == plan_utterance(VOICES, 3, 77)


def test_noise_without_speech_has_a_resting_mouth():
    levels = []
    for k in range(6):
        utterance = speak_utterance(Plan(k, None, "train"), seed=0)
        assert (lip_gap(utterance.exp.astype(np.float64)) < 0.001).all()
        levels.append(np.sqrt(np.mean((utterance.wav / 32768.0) ** 2)))
    assert min(levels) < 0.01 < max(levels)


def test_missing_synthesizer_is_one_clear_line(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, f"--out={tmp_path / 'c'}"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: flite is not installed") and "apt-get install flite" in line


@pytest.mark.parametrize("settings", [{"hours": 0.0}, {"synthesizers": ("say",)}, {"shard_size": 0}])
def test_bad_settings(settings):
    with pytest.raises(InputError, match="expected"):
        GeneratedConfig(**settings)
