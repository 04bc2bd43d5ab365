"""From a voice and a motion behaviour pattern to head motion (reference.md §3.6).

`PaperMotionDecoder` predicts one motion, the mean of all that would fit. `LiteMotionDecoder` gives the
distribution of the next key given those before it, so that every draw is another motion of the same style.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.nets.motion_encoder import StateLstm

SERIES = 6
VOICE_CONTEXT = 2  # keys before and after that the decoder hears: 240 ms
_TRIANGLE = np.eye(SERIES * SERIES, dtype=np.float32)[np.flatnonzero(np.tri(SERIES))]
"""`[21 36]`: where the entries of a lower triangle go, row by row."""


class PaperMotionDecoder(nn.Module):
    """The follow-up paper's `contentMotionNet`: MFCC -> 3 LSTM layers -> stride-4 convolution to 25 fps ->
    pattern appended -> convolutions -> pose; 10,656,518 parameters."""

    width: int = 256
    channels: tuple[int, int, int] = (1024, 512, 256)
    layers: int = 3

    @nn.compact
    def __call__(
        self, mfcc: Float[Array, "b 4t 13"], pattern: Float[Array, "b 10"], *, train: bool = False
    ) -> Float[Array, "b t 6"]:
        """Standardised pose of every video frame.

        Args:
          mfcc: all 13 coefficients, 100 rows per second, four per frame.
          train: batch statistics instead of running ones; apply with `mutable=["batch_stats"]`.
        """
        x = mfcc
        for _ in range(self.layers):
            x = StateLstm(self.width)(x)[0]
        # 28 rows around a frame's four, "same" padding
        x = nn.Conv(self.channels[0], (28,), strides=4, padding=[(12, 12)])(x)
        code = jnp.broadcast_to(pattern[:, None], (*x.shape[:2], pattern.shape[-1]))
        x = jnp.concatenate([x, code], -1)
        for features in self.channels[1:]:
            x = nn.Conv(features, (3,))(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x))
        return nn.Conv(SERIES, (1,))(x)


class NextKey(NamedTuple):
    """Mixture of `m` normal distributions of the next key: logits `[.. m]`, mean `[.. m 6]`, and the lower
    triangle `[.. m 6 6]` of the inverse of the noise's root (precision = tril' tril)."""

    logits: Array
    mean: Array
    inverse_root: Array


class LiteMotionDecoder(nn.Module):
    """Ours: a recurrent network over the keys, with a mixture density at each."""

    width: int = 96
    mixtures: int = 3

    def setup(self) -> None:
        self.enter = nn.Dense(self.width)
        self.cell = nn.GRUCell(self.width)
        self.out = nn.Dense(self.mixtures * (1 + SERIES + SERIES * (SERIES + 1) // 2))

    def start(self, batch: int) -> tuple[Array, Array, Array]:
        """The state before the first key: nothing remembered, head at the person's mean, at rest."""
        zeros = jnp.zeros((batch, SERIES))
        return jnp.zeros((batch, self.width)), zeros, zeros

    def step(
        self, state: tuple[Array, Array, Array], heard: Float[Array, "b h"], pattern: Float[Array, "b 10"]
    ) -> tuple[Array, NextKey]:
        """New memory and the distribution of the next key.

        Args:
          state: memory, last key, the key before it.
          heard: voice rhythm of `2 VOICE_CONTEXT + 1` keys around the next one.
        """
        memory, last, before = state
        seen = jnp.concatenate([last, 3 * (last - before), heard, pattern], -1)
        memory, hidden = self.cell(memory, nn.gelu(self.enter(seen)))
        return memory, self._mixture(hidden, seen)

    def _mixture(self, hidden: Float[Array, "*b w"], seen: Float[Array, "*b s"]) -> NextKey:
        raw = self.out(jnp.concatenate([hidden, seen], -1))
        m, lead = self.mixtures, raw.shape[:-1]
        logits, mean, entries = jnp.split(raw, [m, m + m * SERIES], -1)
        last, speed = seen[..., None, :SERIES], seen[..., None, SERIES : 2 * SERIES] / 3
        mean = last + 0.7 * speed + 0.3 * mean.reshape(*lead, m, SERIES)
        # on the diagonal 1 / standard deviation, from 0.5 to 200; below it, couplings relative to that
        lower = (entries.reshape(*lead, m, -1) @ jnp.asarray(_TRIANGLE)).reshape(*lead, m, SERIES, SERIES)
        precision = jnp.exp(jnp.clip(jnp.diagonal(lower, axis1=-2, axis2=-1) + 2.0, -0.7, 5.3))
        root = precision[..., None] * (jnp.eye(SERIES) + jnp.tril(lower, -1))
        return NextKey(logits, mean, root)

    def __call__(
        self, seen: Float[Array, "b k 6"], heard: Float[Array, "b k h"], pattern: Float[Array, "b 10"]
    ) -> NextKey:
        """Distribution of every key given the true ones before it, `[b k ..]`; `seen` are the keys."""
        last = jnp.pad(seen, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        before = jnp.pad(seen, ((0, 0), (2, 0), (0, 0)))[:, :-2]
        code = jnp.broadcast_to(pattern[:, None], (*seen.shape[:2], pattern.shape[-1]))
        inputs = jnp.concatenate([last, 3 * (last - before), heard, code], -1)
        scan = nn.scan(
            lambda cell, memory, x: cell(memory, x),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        memory = jnp.zeros((seen.shape[0], self.width))
        _, hidden = scan(self.cell, memory, nn.gelu(self.enter(inputs)))
        return self._mixture(hidden, inputs)


def hear(voice: Float[Array, "*b k v"]) -> Float[Array, "*b k h"]:
    """Each key's voice with its neighbours', edges repeated: `h = v (2 VOICE_CONTEXT + 1)`."""
    pad = [(0, 0)] * (voice.ndim - 2) + [(VOICE_CONTEXT, VOICE_CONTEXT), (0, 0)]
    padded = jnp.pad(voice, pad, mode="edge")
    count = voice.shape[-2]
    return jnp.concatenate([padded[..., i : i + count, :] for i in range(2 * VOICE_CONTEXT + 1)], -1)


def log_density(key: Float[Array, "*b 6"], of: NextKey) -> Float[Array, "*b"]:
    """Natural logarithm of the mixture's density at `key`."""
    away = key[..., None, :] - of.mean
    white = jnp.einsum("...ij,...j->...i", of.inverse_root, away)
    diagonal = jnp.diagonal(of.inverse_root, axis1=-2, axis2=-1)
    normal = -0.5 * jnp.square(white).sum(-1) + jnp.log(diagonal).sum(-1) - SERIES / 2 * jnp.log(2 * jnp.pi)
    return jax.nn.logsumexp(jax.nn.log_softmax(of.logits) + normal, axis=-1)


def draw(key: Array, of: NextKey, spread: float | Array = 1.0) -> Float[Array, "*b 6"]:
    """A sample; `spread` scales the noise within a mixture part."""
    pick, noise = jax.random.split(key)
    part = jax.random.categorical(pick, of.logits)
    mean = jnp.take_along_axis(of.mean, part[..., None, None], -2)[..., 0, :]
    root = jnp.take_along_axis(of.inverse_root, part[..., None, None, None], -3)[..., 0, :, :]
    white = jax.random.normal(noise, mean.shape)
    return mean + spread * jax.scipy.linalg.solve_triangular(root, white[..., None], lower=True)[..., 0]
