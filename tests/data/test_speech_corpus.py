"""The corpus on disk: read what was written, refuse what is damaged, sound and face in step."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from talkjax.data.speech_corpus import (
    SAMPLE_RATE,
    SpeechCorpus,
    Utterance,
    shard_plan_key,
    write_manifest,
    write_shard,
)
from talkjax.data.speech_deformers import lip_gap
from talkjax.errors import InputError

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "speech_corpus"  # by make_golden_corpus.py


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(GOLDEN, tmp_path / "corpus")


def _utterance(key: str, t: int, **changes) -> Utterance:
    rng = np.random.default_rng(t)
    nothing = np.full((t, 3), np.nan, np.float32)
    made = Utterance(
        wav=rng.integers(-32768, 32768, 640 * t).astype(np.int16),
        exp=rng.uniform(0, 1, (t, 43)).astype(np.float16),
        channels=rng.uniform(0, 1, (t, 7)).astype(np.float16),
        euler=nothing,
        translation=nothing + 1,
        valid=rng.uniform(size=t) < 0.5,
        phones=(("pau", 0.1), ("m", 0.25), ("aa", t / 25)),
        voice="v",
        language="en",
        split="train",
        key=key,
        text="ma",
        style={"amplitude": 1.5},
    )
    return dataclasses.replace(made, **changes)


def _same(a: Utterance, b: Utterance) -> None:
    for field in dataclasses.fields(Utterance):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        elif field.name == "phones":
            assert [p for p, _ in x] == [p for p, _ in y]
            np.testing.assert_allclose([e for _, e in x], [e for _, e in y], atol=1e-6)
        else:
            assert x == y


def test_what_is_written_is_read(tmp_path):
    first = [_utterance("a", 9), _utterance("b", 14, voice="w", split="voice_heldout", phones=())]
    second = [_utterance("c", 11, language="fi", split="language_heldout")]
    write_shard(tmp_path / "shard_00000.npz", first, "k")
    write_shard(tmp_path / "shard_00001.npz", second)
    manifest = write_manifest(tmp_path, "lrw", ["shard_00000.npz", "shard_00001.npz"], {"note": 1})
    corpus = SpeechCorpus.open(tmp_path)
    assert (len(corpus), corpus.source, manifest["note"]) == (3, "lrw", 1)
    assert manifest["hours"] == pytest.approx(34 / 25 / 3600, abs=1e-4)
    for read, made in zip(corpus, first + second, strict=True):
        _same(read, made)
    _same(corpus[-1], second[0])
    assert [u.key for u in corpus.select("voice_heldout")] == ["b"]
    assert corpus.where(language="en") == [0, 1] and corpus.where("train", voice="v") == [0]
    assert [e.seconds for e in corpus.entries] == [9 / 25, 14 / 25, 11 / 25]
    with pytest.raises(IndexError):
        corpus[3]
    assert shard_plan_key(tmp_path / "shard_00000.npz") == "k"


def test_equal_utterances_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_shard(tmp_path / name, [_utterance("a", 9)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"wav": np.zeros(639, np.int16)},
        {"channels": np.zeros((9, 6), np.float16)},
        {"split": "test"},
        {"phones": (("m", 0.2), ("aa", 0.1))},
        {"exp": np.full((9, 43), np.nan, np.float16), "valid": np.ones(9, bool)},
    ],
)
def test_broken_utterances_are_not_written(tmp_path, changes):
    with pytest.raises(ValueError):
        write_shard(tmp_path / "a.npz", [_utterance("a", 9, **changes)])
    assert not list(tmp_path.iterdir())


def test_damaged_shard_is_refused_by_name(copy):
    shard = copy / "shard_00001.npz"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    corpus = SpeechCorpus.open(copy)
    assert corpus[0].key == "golden-0"
    with pytest.raises(InputError, match=r"shard_00001\.npz is damaged.*run the corpus builder again"):
        corpus[1]
    assert shard_plan_key(shard) is None
    shard.unlink()
    with pytest.raises(InputError, match="missing"):
        SpeechCorpus.open(copy)


def test_unfinished_and_foreign_folders_are_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        SpeechCorpus.open(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no finished corpus.*launch\.build_corpus"):
        SpeechCorpus.open(copy)


def _stops(utterance: Utterance) -> list[tuple[float, float]]:
    """(start, end) of every b and p that follows a vowel or another voiced sound."""
    found, start, before = [], 0.0, "pau"
    for phone, end in utterance.phones:
        if phone in ("b", "p") and before not in ("pau", "b", "p"):
            found.append((start, end))
        start, before = end, phone
    return found


def test_the_sound_dips_when_the_lips_close():
    """Real synthesized speech: the energy minimum of each b and p falls on the frame of the closure."""
    offsets = []
    for utterance in SpeechCorpus.open(GOLDEN):
        assert len(utterance.wav) == 640 * len(utterance)
        gap = lip_gap(utterance.exp.astype(np.float64))
        energy = np.convolve(utterance.wav.astype(np.float64) ** 2, np.ones(160) / 160, "same")
        for start, end in _stops(utterance):
            low, high = round((start - 0.05) * SAMPLE_RATE), round((end + 0.05) * SAMPLE_RATE)
            quiet = (low + int(np.argmin(energy[low:high]))) / SAMPLE_RATE
            assert gap[int(quiet * 25)] < 0.25 * np.median(gap[gap > 0.01])
            frames = np.arange(int((start - 0.05) * 25), int((end + 0.05) * 25) + 1)
            offsets.append((frames[np.argmin(gap[frames])] + 0.5) / 25 - quiet)
    assert len(offsets) >= 8
    assert abs(np.median(offsets)) < 0.04  # seconds: one frame


def test_silence_has_closed_resting_lips():
    for utterance in SpeechCorpus.open(GOLDEN):
        gap = lip_gap(utterance.exp.astype(np.float64))
        assert (gap[:3] < 0.001).all() and (gap[-3:] < 0.001).all()  # dm
        assert utterance.phones[0][0] == utterance.phones[-1][0] == "pau"
        assert gap.max() > 0.1
