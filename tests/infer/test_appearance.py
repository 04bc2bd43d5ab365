"""The memory of appearance against the textbook's Gaussian process, and what it may not look at."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from talkjax.infer import appearance
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.track.texture import ALBEDO_SCALE, TextureBank
from talkjax.types import MOUTH, SKIN

T, N = 90, 60


def drawn() -> tuple[TextureBank, ZoneFeatures, tuple[np.ndarray, ...], np.ndarray]:
    """Textures that follow slow features smoothly, with grain; half of the strip is unseen at times."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.25, (T, 3)), 0)
    features = ZoneFeatures(walk[:, :2], walk[:, 1:], walk)
    waves = rng.normal(size=(3, N, 3)), rng.uniform(0, 6, (N, 3))
    albedo = 0.5 + 0.1 * np.sin(np.einsum("td,dnc->tnc", walk, 0.5 * waves[0]) + waves[1])
    albedo += rng.normal(0, 0.01, albedo.shape)
    region = np.where(np.arange(N) < 20, MOUTH, SKIN)
    weights = np.full((T, N), 64, np.uint8)
    weights[::3, :10] = 0
    frames = np.clip(albedo * ALBEDO_SCALE + 0.5, 0, 255).astype(np.uint8)
    bank = TextureBank(albedo.mean(0).astype(np.float32), frames, weights, np.zeros((T, 3, 9)))
    mouth = np.clip(1.3 - np.arange(N) / 20, 0, 1).astype(np.float32)
    eyes = np.where(np.arange(N) > 50, 1 - mouth, 0).astype(np.float32)
    return bank, features, (mouth, eyes, 1 - mouth - eyes), region


@pytest.fixture(scope="module")
def fitted():
    bank, features, zones, region = drawn()
    valid = np.ones(T, bool)
    valid[7] = False
    return bank, features, appearance.fit_appearance(bank, features, zones, region, valid)


def kernel(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * length**2))


def test_it_remembers_valid_frames_and_parts_of_the_zones(fitted):
    bank, _, memory = fitted
    assert 7 not in memory.frames and len(memory.frames) == T - 1
    share = np.zeros(N)
    for zone in memory.zones:
        share[zone.texels] += zone.share
    assert_allclose(share, 1, atol=1e-6)
    flat = memory.zones[0].basis.reshape(len(memory.zones[0].basis), -1)
    assert_allclose((flat**2).sum(1), 1, atol=1e-4)
    assert bank.mean.shape == (N, 3)


def test_reads_are_the_posterior_mean(fitted):
    """Kernel row times gain, with the kernel written out another way; far from all frames: the mean."""
    _, features, memory = fitted
    rng = np.random.default_rng(1)
    for zone, described in zip(memory.zones, features, strict=True):
        wanted = described[:5] + rng.normal(0, 0.2, (5, described.shape[1]))
        read = kernel(wanted, zone.keys, zone.length) @ zone.gain
        assert_allclose(zone.read(wanted), read, atol=1e-4 * np.abs(read).max())
        far = zone.read(np.full((1, described.shape[1]), 1e3))
        assert_allclose(far, 0, atol=1e-6)  # the mean


def test_own_reads_leave_out_the_neighbors(fitted):
    """The closed form against solving again without the frames; noise and codes are recovered from the
    gain."""
    _, features, memory = fitted
    zone, frames = memory.zones[2], memory.frames
    keys = np.asarray(features.skin[frames])
    for noise in appearance.NOISES:  # the one that was chosen reproduces the gain
        matrix = kernel(keys, keys, zone.length) + noise * np.eye(len(keys))
        codes = matrix @ zone.gain
        if _reads_back(fitted, zone, codes):
            break
    else:
        pytest.fail("no candidate noise explains the gain")
    own = memory.codes(features, np.arange(T))[2]
    for k in (0, 30, 61, T - 1):
        rest = np.abs(frames - k) > appearance.EXCLUDE
        gain = np.linalg.solve(matrix[np.ix_(rest, rest)], codes[rest])
        read = kernel(np.asarray(features.skin[k : k + 1]), keys[rest], zone.length) @ gain
        assert_allclose(own[k], read[0], atol=1e-3 * np.abs(codes).max())
    # frame 7 is not remembered: an ordinary read
    assert_allclose(own[7], zone.read(features.skin[7:8])[0], atol=1e-5)


def _reads_back(fitted, zone, codes: np.ndarray) -> bool:
    """Whether codes times the basis give the stored textures."""
    bank, _, memory = fitted
    truth = bank.frames[memory.frames][:, zone.texels] / ALBEDO_SCALE - bank.mean[zone.texels]
    made = (codes @ zone.basis.reshape(len(zone.basis), -1)).reshape(len(codes), -1, 3)
    return bool(np.abs(made - truth)[:, 20:].std() < 0.02)


def test_it_predicts_unseen_frames_better_than_the_mean_or_the_nearest_frame(fitted):
    bank, features, memory = fitted
    codes = memory.codes(features, np.arange(T))
    rests = memory.rests(codes, np.arange(T))
    read = np.stack([memory.albedo(bank.mean, rests, k) for k in range(T)])
    truth = bank.frames / ALBEDO_SCALE
    far = np.abs(np.arange(T)[:, None] - np.arange(T)) <= appearance.EXCLUDE
    distance = ((features.skin[:, None] - features.skin) ** 2).sum(-1) + 1e9 * far
    nearest = truth[distance.argmin(1)]
    seen = slice(20, None)

    def error(x: np.ndarray) -> float:
        return float(((x - truth)[:, seen] ** 2).mean())

    assert error(read) < 0.8 * min(error(np.broadcast_to(bank.mean, truth.shape)), error(nearest))


def test_a_file_keeps_what_reads_need(fitted):
    _, features, memory = fitted
    again = appearance.appearance_from(memory.tree())
    for a, b, c in zip(again.codes(features), memory.codes(features), again.zones, strict=True):
        assert_array_equal(a, b)
        assert c.basis.dtype == np.float32
    rows = np.arange(3)
    pairs = zip(
        again.rests(again.codes(features), rows), memory.rests(memory.codes(features), rows), strict=True
    )
    for a, b in pairs:
        assert_allclose(a, b, atol=2e-3)
