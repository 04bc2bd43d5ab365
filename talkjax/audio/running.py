"""Log-mel rows made comparable without a look at the whole recording: level and channel are followed as they
come.

Each row is compared with a running level and a running mean and spread per band, which start from a prior and
forget within seconds of speech. So a voice of any length needs constant memory, a stream and a whole file
give the same rows, and a long pause is not mistaken for speech: only rows near the voice's own level count.
All levels are natural logs of power, as in `audio/log_mel.py`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from talkjax.audio.log_mel import N_BANDS

START_LEVEL = 5.0
"""Level of loud vowels before anything is heard: speech of about -28 dB of full scale."""
ATTACK = 0.3
"""Share of the way to a louder row that the level goes within 10 ms."""
DECAY = 0.004
"""Fall of the level per row of speech: 1.7 dB per second."""
SPEECH_RANGE = 5.8
"""A row this far (25 dB) below the level counts half."""
MEMORY_ROWS = 500.0
"""Rows of speech after which older ones count 1/e: 5 s."""
PRIOR_ROWS = 60.0
"""The prior weighs as much as 0.6 s of speech."""
PRIOR_SPREAD = 3.0
FLOOR = 6.0
"""Depth under a band's usual level below which nothing is heard any more: hides room noise 50 dB down."""
LIMIT = 4.0


def _prior_tilt() -> np.ndarray:
    """[40] usual level of speech in each band under the total level of loud vowels (three speakers,
    rounded)."""
    return np.interp(np.arange(N_BANDS), [0, 3, 10, N_BANDS - 1], [-5.0, -5.0, -10.0, -13.0]).astype(
        np.float32
    )


PRIOR_TILT = _prior_tilt()


@struct.dataclass
class LevelState:
    """What the past has told: level `[*b]`, weight of the rows heard `[*b]`, their weighted sums of band
    levels relative to the level's start and of their squares `[*b 40]`."""

    level: Array
    weight: Array
    total: Array
    square: Array


def start_levels(shape: tuple[int, ...] = ()) -> LevelState:
    """Nothing heard yet, for any batch."""
    zeros = jnp.zeros((*shape, N_BANDS))
    return LevelState(jnp.full(shape, START_LEVEL), jnp.zeros(shape), zeros, zeros)


def normalize_row(state: LevelState, row: Float[Array, "*b 40"]) -> tuple[LevelState, Float[Array, "*b 40"]]:
    """One row of `log_mel` -> (state, normalised row, about zero mean and unit spread while someone
    speaks)."""
    energy = jax.nn.logsumexp(row, axis=-1)
    speech = jax.nn.sigmoid((energy - (state.level - SPEECH_RANGE)) / 0.7)
    level = jnp.where(
        energy > state.level, state.level + ATTACK * (energy - state.level), state.level - DECAY * speech
    )
    heard = jnp.logaddexp(row, level[..., None] + PRIOR_TILT - FLOOR)
    fade = jnp.exp(-speech / MEMORY_ROWS)
    # sums of differences to a constant: float32 holds them, and the prior moves with the level
    offset = heard - START_LEVEL - PRIOR_TILT
    weight = fade * state.weight + speech
    total = fade[..., None] * state.total + speech[..., None] * offset
    square = fade[..., None] * state.square + speech[..., None] * offset**2
    full = weight[..., None] + PRIOR_ROWS
    prior = level[..., None] - START_LEVEL
    mean = (total + PRIOR_ROWS * prior) / full
    variance = (square + PRIOR_ROWS * (PRIOR_SPREAD**2 + prior**2)) / full - mean**2
    spread = jnp.sqrt(jnp.maximum(variance, 0.25))
    normal = jnp.clip((offset - mean) / spread, -LIMIT, LIMIT)
    return LevelState(level, weight, total, square), normal


def normalize_rows(rows: Float[Array, "*b r 40"], state: LevelState | None = None) -> Float[Array, "*b r 40"]:
    """All rows one after the other, from `state` or from the start."""
    state = start_levels(rows.shape[:-2]) if state is None else state
    _, out = jax.lax.scan(normalize_row, state, jnp.moveaxis(rows, -2, 0))
    return jnp.moveaxis(out, 0, -2)
