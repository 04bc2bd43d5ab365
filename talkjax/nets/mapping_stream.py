"""`DefaultMappingNet` one video frame at a time, with constant memory and a fixed look-ahead.

The state holds the last few samples, rows and activations of each layer. Feeding frame after frame gives the
numbers of the whole-sequence network (`tests/nets/test_mapping_stream.py`).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from talkjax.audio.log_mel import FRAME, HOP, ROWS_PER_VIDEO_FRAME, SAMPLE_RATE, log_mel_frames
from talkjax.audio.running import LevelState, normalize_row, start_levels
from talkjax.nets.mapping_default import BLOCKS, FRONT_LEFT, FRONT_SIZE

SAMPLES = HOP * ROWS_PER_VIDEO_FRAME
"""Samples of 16 kHz sound per video frame: 640."""
TAIL = FRAME - HOP
"""Samples that the rows of one frame share with those of the next."""
LEAD = FRAME // 2 + HOP // 2 - HOP  # a frame's last row ends this many samples after the frame
FRONT_DELAY = 2  # frames that the strided convolutions need beyond their own
DELAY = FRONT_DELAY + sum(ahead for _, ahead in BLOCKS)
"""Frames of sound heard before a frame comes out."""
LOOKAHEAD_MS = 1000 * ((DELAY + 1) * SAMPLES + LEAD) / SAMPLE_RATE
"""Sound needed after the start of a frame before its output is there: 247.5 ms."""
CONTEXT_ROWS = 12
KEPT_ROWS = ROWS_PER_VIDEO_FRAME * (DELAY + 1) + CONTEXT_ROWS


@struct.dataclass
class SoundState:
    """The sound so far: number of frames fed, last samples `[240]`, levels, last normalised rows `[36 40]`.

    loudness `[6]`: how far the loudest row of each of the last frames lies over the level (natural log of
    power).
    """

    fed: Array
    samples: Array
    levels: LevelState
    rows: Array
    loudness: Array


@struct.dataclass
class NetState:
    """Past activations: of the first convolution `[5 front]`, and the inputs of each block."""

    front: Array
    blocks: tuple[Array, ...]


def start_sound() -> SoundState:
    """Nothing fed; silence before the beginning."""
    rows = jnp.zeros((KEPT_ROWS, 40))
    return SoundState(jnp.int32(0), jnp.zeros(TAIL), start_levels(), rows, jnp.zeros(DELAY + 1))


def start_net(params: Any) -> NetState:
    """Zeros of the right sizes for a network's parameters."""
    front = params["front_0"]["bias"].shape[-1]
    width = params["front_1"]["bias"].shape[-1]
    blocks = tuple(jnp.zeros((2 * dilation, width)) for dilation, _ in BLOCKS)
    return NetState(jnp.zeros((FRONT_SIZE - 1, front)), blocks)


def feed_sound(state: SoundState, samples: Float[Array, "640"]) -> SoundState:
    """The next 640 samples; the stream begins 120 samples into the recording (see `LEAD`)."""
    sound = jnp.concatenate([state.samples, samples])
    index = np.arange(ROWS_PER_VIDEO_FRAME)[:, None] * HOP + np.arange(FRAME)
    levels, rows, loud = state.levels, [], jnp.float32(-jnp.inf)
    for row in log_mel_frames(sound[index]):
        levels, normal = normalize_row(levels, row)
        rows.append(normal)
        loud = jnp.maximum(loud, jax.nn.logsumexp(row) - levels.level)
    kept = jnp.concatenate([state.rows[ROWS_PER_VIDEO_FRAME:], jnp.stack(rows)])
    loudness = jnp.concatenate([state.loudness[1:], loud[None]])
    return SoundState(state.fed + 1, sound[-TAIL:], levels, kept, loudness)


def _dense(layer: Any, x: Array) -> Array:
    """A linear layer, or one output of a convolution whose taps lie side by side in `x`."""
    kernel = layer["kernel"]
    return x @ kernel.reshape(-1, kernel.shape[-1]) + layer["bias"]


def feed_net(params: Any, state: NetState, sound: SoundState) -> tuple[NetState, Float[Array, "width"]]:
    """(state, hidden vector of frame `fed - 1 - DELAY`), after `feed_sound`. Before frame 0: no meaning."""
    newest = sound.fed - 1

    def known(x: Array, index: Array | int) -> Array:
        return jnp.where(index >= 0, x, 0.0)  # before the beginning the network sees zeros

    # The newest complete outputs of the first convolution are 2m - 1 and 2m, from rows 4m - 4 ... 4m + 3.
    rows = sound.rows[-2 * ROWS_PER_VIDEO_FRAME :]
    pair = jnp.stack([rows[:FRONT_SIZE].reshape(-1), rows[FRONT_LEFT : FRONT_LEFT + FRONT_SIZE].reshape(-1)])
    pair = nn.gelu(_dense(params["front_0"], pair))
    pair = jnp.stack([known(pair[0], 2 * newest - 1), pair[1]])
    front = jnp.concatenate([state.front, pair])  # outputs 2m - 6 ... 2m
    frame = newest - FRONT_DELAY
    h = known(nn.gelu(_dense(params["front_1"], front[:FRONT_SIZE].reshape(-1))), frame)
    blocks = []
    for k, (dilation, ahead) in enumerate(BLOCKS):
        past = jnp.concatenate([state.blocks[k], h[None]])
        taps = past[::dilation].reshape(-1)
        y = _dense(params[f"mix_{k}"], nn.gelu(_dense(params[f"block_{k}"], taps)))
        frame = frame - ahead
        h = known(past[len(past) - 1 - ahead] + y, frame)
        blocks.append(past[1:])
    return NetState(front[2:], tuple(blocks)), h


def frame_window(sound: SoundState) -> Float[Array, "28 40"]:
    """Rows from 120 ms before to 120 ms after the frame that `feed_net` speaks of."""
    return sound.rows[: 2 * CONTEXT_ROWS + ROWS_PER_VIDEO_FRAME]


feed_members = jax.vmap(feed_net, in_axes=(0, 0, None))
"""`feed_net` for several networks with a leading axis on parameters and states."""
