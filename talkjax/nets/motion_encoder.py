"""From a stretch of head motion to a person's motion behaviour pattern, 10 numbers (reference.md §3.6)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

PATTERN = 10


class StateLstm(nn.Module):
    """One LSTM layer from zero state that also returns its last state; gates input, forget, cell, output.

    Two bias vectors, as in the reference's framework.
    """

    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> tuple[Array, Array, Array]:
        """`[b t width]`, and the last hidden and cell state `[b width]`."""
        bound = self.width**-0.5

        def uniform(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        gates = 4 * self.width
        kernel_in = self.param("kernel_input", uniform, (x.shape[-1], gates)).astype(self.dtype)
        kernel_state = self.param("kernel_state", uniform, (self.width, gates)).astype(self.dtype)
        bias = self.param("bias_input", uniform, (gates,)) + self.param("bias_state", uniform, (gates,))
        projected = x.astype(self.dtype) @ kernel_in + bias.astype(self.dtype)

        def step(state: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            i, f, g, o = jnp.split(z + h @ kernel_state, 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], self.width), self.dtype)
        (h, c), out = lax.scan(step, (zeros, zeros), projected.swapaxes(0, 1))
        return out.swapaxes(0, 1), h, c


class PaperMotionEncoder(nn.Module):
    """The follow-up paper's: 3 LSTM layers over 300 poses, their last states, 5 linear layers; 1,760,042
    parameters."""

    width: int = 256
    hidden: tuple[int, ...] = (256, 128, 64, 32)
    layers: int = 3

    @nn.compact
    def __call__(self, pose: Float[Array, "b t 6"]) -> Float[Array, "b 10"]:
        """Args: pose: standardised pose of every frame at 25 fps; the reference sees 300."""
        x, states = pose, []
        for _ in range(self.layers):
            x, h, c = StateLstm(self.width)(x)
            states.append((h, c))
        x = jnp.concatenate([h for h, _ in states] + [c for _, c in states], -1)
        for features in self.hidden:
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(PATTERN)(x)


class LiteMotionEncoder(nn.Module):
    """Ours: convolutions over keys of normal series and voice, then their mean and spread over time.

    The spread of a filtered series is its spectrum in one band, the mean of a product of motion and voice
    their coupling; order in time does not matter to a style, so nothing else is kept.
    """

    width: int = 48

    @nn.compact
    def __call__(self, normal: Float[Array, "b k 6"], voice: Float[Array, "b k v"]) -> Float[Array, "b 10"]:
        """Args: normal: series of `infer/head_style.py` at the keys; voice: rhythm at the keys."""
        speed = jnp.diff(normal, axis=1, prepend=normal[:, :1])
        x = jnp.concatenate([normal, 3 * speed, voice], -1)
        pooled = []
        for size in (3, 5, 9):
            x = nn.gelu(nn.Conv(self.width, (size,))(x))
            mean = x.mean(1)
            spread = jnp.sqrt(jnp.square(x - mean[:, None]).mean(1) + 1e-6)
            pooled += [mean, spread]
        x = nn.gelu(nn.Dense(64)(jnp.concatenate(pooled, -1)))
        # tanh: a pattern is a point in a cube, so codes of other people lie between those seen
        return jnp.tanh(nn.Dense(PATTERN)(x))
