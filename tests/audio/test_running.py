"""Running levels against a plain loop, and what they must not depend on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.audio import running
from talkjax.audio.log_mel import log_mel
from talkjax.data.synthetic_voice import load_voice


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.asarray(log_mel(jnp.asarray(load_voice("voice_train").wav[:64000])))


@pytest.fixture(scope="module")
def normalize():
    return jax.jit(running.normalize_rows)


def plain_loop(rows: np.ndarray) -> np.ndarray:
    """The definition, row by row: weighted mean and variance with a prior that moves with the level."""
    level, weights, heard, out = running.START_LEVEL, [], [], []
    tilt = np.asarray(running.PRIOR_TILT, np.float64)
    for row in rows.astype(np.float64):
        energy = np.log(np.exp(row).sum())
        speech = 1 / (1 + np.exp(-(energy - (level - running.SPEECH_RANGE)) / 0.7))
        louder = energy > level
        level = level + running.ATTACK * (energy - level) if louder else level - running.DECAY * speech
        heard.append(np.logaddexp(row, level + tilt - running.FLOOR))
        weights = [w * np.exp(-speech / running.MEMORY_ROWS) for w in weights] + [speech]
        w, x = np.array(weights)[:, None], np.array(heard)
        n = w.sum() + running.PRIOR_ROWS
        prior = level + tilt
        mean = ((w * x).sum(0) + running.PRIOR_ROWS * prior) / n
        square = (w * (x - mean) ** 2).sum(0)
        spread = square + running.PRIOR_ROWS * ((prior - mean) ** 2 + running.PRIOR_SPREAD**2)
        out.append(np.clip((heard[-1] - mean) / np.sqrt(np.maximum(spread / n, 0.25)), -4, 4))
    return np.array(out)


def test_running_levels_are_the_plain_loop(rows, normalize) -> None:
    np.testing.assert_allclose(normalize(rows[:150]), plain_loop(rows[:150]), atol=2e-3)


def test_rows_do_not_look_ahead_and_go_on_from_a_state(rows, normalize) -> None:
    whole = np.asarray(normalize(rows))
    changed = rows.copy()
    changed[200:] += 3
    np.testing.assert_array_equal(np.asarray(normalize(changed))[:200], whole[:200])
    state = running.start_levels()
    step = jax.jit(running.normalize_row)
    for k in range(60):
        state, out = step(state, rows[k])
        np.testing.assert_allclose(out, whole[k], atol=1e-5)


@pytest.mark.parametrize("decibel", [-20, 12])
def test_loudness_hardly_matters_after_two_seconds(rows, normalize, decibel) -> None:
    """Log-mel rows of a louder recording are the same plus a constant (above the floor of digital
    silence)."""
    shifted = rows + decibel * np.log(10) / 10
    plain, other = (np.asarray(normalize(x))[200:] for x in (rows, shifted))
    assert np.abs(plain - other).mean() < 0.3
    assert np.corrcoef(plain.ravel(), other.ravel())[0, 1] > 0.96


def test_noise_50_db_down_sounds_like_silence(rows, normalize) -> None:
    """After speech, hiss 50 dB under it and nothing at all look alike."""
    level = np.log(np.exp(rows).sum(1).mean())
    hiss = np.full((200, 40), level - np.log(40) - 11.5)
    nothing = np.full((200, 40), np.log(1e-7))
    after = [
        np.asarray(normalize(np.concatenate([rows, x]).astype(np.float32)))[len(rows) :]
        for x in (hiss, nothing)
    ]
    assert np.abs(after[0] - after[1]).mean() < 0.5
    assert after[0].mean() < -1.2  # far below speech
