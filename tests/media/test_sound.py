"""Sound: length, level, channels, and its place against the picture."""

from __future__ import annotations

import struct

import av
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from talkjax.errors import InputError
from talkjax.media import sound
from talkjax.media.reader import probe, read_audio
from tests.media import clips
from tests.media.test_reader import code_of


def tone(seconds: float, rate: int, hz: float = 300.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_wav_of_any_rate_and_sample_type(tmp_path, rate, dtype):
    wave = tone(0.5, rate)
    kind = np.dtype(dtype)
    data = {"u": np.round(wave * 127 + 128), "i": wave * (2.0 ** (8 * kind.itemsize - 1) - 1), "f": wave}[
        kind.kind
    ]
    got = read_audio(clips.write_wav(tmp_path / "a.wav", data.astype(kind), rate))
    assert got.dtype == np.float32
    assert len(got) == round(len(wave) * 16_000 / rate)
    want = tone(0.5, 16_000)[: len(got)]
    inner = slice(800, -800)
    assert np.abs(got[inner] - want[inner]).max() < (0.015 if dtype == "u1" else 1e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rate=st.integers(1000, 192_000),
    channels=st.integers(1, 8),
    kind=st.sampled_from(["i2", "i4", "f4"]),
    seconds=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_wav_properties(tmp_path_factory, rate, channels, kind, seconds, seed):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    mono = np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate))
    mono = mono if kind == "f4" else mono * np.iinfo(kind).max
    clips.write_wav(path, np.repeat(mono[:, None], channels, 1).astype(kind), rate)
    if len(mono) < 0.2 * rate:
        assert code_of(read_audio, path) == "empty_audio"
        return
    got = read_audio(path)
    assert len(got) == round(len(mono) * 16_000 / rate)
    assert np.isfinite(got).all() and np.abs(got).max() <= 1
    clips.write_wav(path, mono.astype(kind), rate)
    np.testing.assert_allclose(got, read_audio(path), atol=1e-6)


def test_resampling_keeps_speech_and_removes_what_would_alias(tmp_path):
    rate = 48_000
    low, high = tone(1, rate, 1000), tone(1, rate, 12_000)  # 12 kHz would fold to 4 kHz
    got = read_audio(clips.write_wav(tmp_path / "a.wav", (low + high).astype("f4") / 2, rate))
    want = scipy.signal.resample_poly(low / 2, 1, 3)
    assert np.abs(got - want)[500:-500].max() < 2e-3


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(0.5, 16_000), np.zeros(8000)], 1).astype("f4")
    got = read_audio(clips.write_wav(tmp_path / "a.wav", stereo, 16_000))
    np.testing.assert_allclose(got, stereo.mean(1), atol=1e-7)


def test_bad_samples(tmp_path):
    wave = tone(0.5, 16_000).astype("f4")
    loud = read_audio(clips.write_wav(tmp_path / "a.wav", wave * 8, 16_000))
    np.testing.assert_allclose(loud, wave * 2, atol=1e-6)  # scaled as a whole to a peak of 1
    for poison in (np.nan, np.inf):
        wave[100] = poison
        assert code_of(read_audio, clips.write_wav(tmp_path / "a.wav", wave, 16_000)) == "not_finite"
    assert code_of(read_audio, clips.write_wav(tmp_path / "a.wav", wave[:0], 16_000)) == "empty_audio"


def test_wav_with_a_false_size_gives_what_is_there(tmp_path):
    path = clips.write_wav(tmp_path / "a.wav", (tone(1, 16_000) * 32_000).astype("i2"), 16_000)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, 40, 0xFFFFFFFF)
    path.write_bytes(bytes(data))
    assert len(read_audio(path)) == 16_000


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("picture_from", "sound_from"), [(0, 0.0), (0, 0.32), (1, 0.0), (1, 0.4)])
def test_sample_zero_is_the_first_picture(tmp_path, suffix, picture_from, sound_from):
    shift = picture_from * 10  # frames of 40 ms
    times = [t + clips.Fraction(shift, 25) for t in clips.steady(40)]
    wav = clips.click(1.0 - sound_from, 1.6 - sound_from)
    path = clips.write_clip(tmp_path / f"a{suffix}", times, wav=wav, wav_start=sound_from)
    got = read_audio(path)
    assert clips.click_time(got) == pytest.approx(1.0 - shift / 25, abs=2e-3)
    assert len(got) / 16_000 == pytest.approx(1.6 - shift / 25, abs=0.07)
    assert probe(path).n_frames == 40


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_aac_stereo_in_video(tmp_path, rate):
    mono = clips.click(0.5, 1.0, rate)
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(25), wav=np.stack([mono, mono]), wav_rate=rate)
    assert clips.click_time(read_audio(path)) == pytest.approx(0.5, abs=3e-3)
    assert clips.click_time(read_audio(path, 48_000), 48_000) == pytest.approx(0.5, abs=3e-3)


def test_video_without_sound(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(5))
    with pytest.raises(InputError, match="no sound") as caught:
        read_audio(path)
    assert caught.value.code == "no_audio"


def test_lost_packets_keep_the_rest_in_time(tmp_path):
    wav = np.concatenate([clips.click(0.2, 1.0), clips.click(0.5, 1.0)])
    path = clips.write_clip(tmp_path / "a.mkv", clips.steady(50), wav=wav)
    out = tmp_path / "b.mkv"
    with av.open(str(path)) as source, av.open(str(out), "w") as sink:
        streams = {s.index: sink.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            lost = packet.stream.type == "audio" and packet.pts is not None and 400 < packet.pts < 800
            if packet.dts is not None and not lost:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
    got = read_audio(out)
    assert clips.click_time(got[16_000:]) == pytest.approx(0.5, abs=3e-3)


def test_more_channels_than_two(tmp_path):
    path = tmp_path / "a.m4a"
    mono = clips.click(0.3, 0.6, 48_000)
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="7.1")
        for at in range(0, len(mono), 1024):
            block = np.repeat(mono[at : at + 1024], 8)[None]
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="7.1")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, at, clips.Fraction(1, 48_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    got = read_audio(path, 48_000)
    assert clips.click_time(got, 48_000) == pytest.approx(0.3, abs=3e-3)
    burst = slice(14_400, 14_640)
    assert np.corrcoef(got[burst], mono[burst])[0, 1] > 0.9


def test_planar_sound_with_too_many_channels_is_refused(tmp_path, monkeypatch):
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(5), wav=clips.click(0.1, 0.4))
    monkeypatch.setattr(sound, "_MAX_PLANES", 0)
    assert code_of(read_audio, path) == "decode_error"
