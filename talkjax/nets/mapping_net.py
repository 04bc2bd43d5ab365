"""The paper's audio network: MFCC windows -> expression and pose coefficients (reference.md §3.1).

Per video frame a small CNN over the 28 x 12 MFCC window, then a 3-layer LSTM over frames of any number. With
70 outputs it has 29,430,534 parameters, as the reference.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from talkjax.nets.convs import max_pool3
from talkjax.nets.layers import NORM_EPS, REFERENCE_INIT, Conv, moments, normal_around_one

LSTM_LAYERS = 3
BATCH_NORM_RATE = 0.1
"""How much of the running statistics each batch replaces."""


class StepBatchNorm(nn.Module):
    """Batch norm over `[b t h w c]` with statistics per time step, as the reference's loop over steps gives.

    Training: mean and variance over b, h, w of each step alone; the running ones (collection `batch_stats`)
    take the steps one after the other, as `t` separate updates would. Otherwise the running ones are used.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> Float[Array, "b t h w c"]:
        c = x.shape[-1]
        scale = self.param("scale", normal_around_one(), (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            gain = lax.rsqrt(running_variance.value + NORM_EPS) * scale
            offset = bias - running_mean.value * gain
            return x * gain.astype(x.dtype) + offset.astype(x.dtype)
        mean, variance = moments(x, (0, 2, 3))
        if not self.is_initializing():
            count = x.shape[0] * x.shape[2] * x.shape[3]
            unbiased = variance * (count / max(count - 1, 1))
            running_mean.value = _replay(running_mean.value, mean)
            running_variance.value = _replay(running_variance.value, unbiased)
        gain = lax.rsqrt(variance + NORM_EPS) * scale
        offset = bias - mean * gain
        return x * gain[:, None, None].astype(x.dtype) + offset[:, None, None].astype(x.dtype)


def _replay(running: Float[Array, "c"], steps: Float[Array, "t c"]) -> Float[Array, "c"]:
    """Running statistic after `t` updates: r <- (1 - rate) r + rate * step, in closed form."""
    t = steps.shape[0]
    keep = (1.0 - BATCH_NORM_RATE) ** jnp.arange(t, -1, -1.0)
    return keep[0] * running + BATCH_NORM_RATE * jnp.sum(keep[1:, None] * lax.stop_gradient(steps), 0)


class Lstm(nn.Module):
    """One LSTM layer from zero state, `[b t f]` -> `[b t width]`; gates in order input, forget, cell, output.

    The input projection of all steps is one matrix product outside the loop. Two bias vectors, as the
    reference's framework has, so that its weights fit.
    """

    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t f"], state: tuple[Array, Array] | None = None
    ) -> tuple[Float[Array, "b t width"], tuple[Array, Array]]:
        """(outputs, state after the last step); `state` is (h, c) `[b width]`, zeros where not given."""
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

        if state is None:
            zeros = jnp.zeros((x.shape[0], self.width), self.dtype)
            state = (zeros, zeros)
        last, out = lax.scan(step, state, projected.swapaxes(0, 1))
        return out.swapaxes(0, 1), last


class PaperMappingNet(nn.Module):
    """CNN + LSTM of the reference.

    Attributes:
      out_dim: outputs per frame; the reference has 64 expression + 3 angles + 3 translation.
      dtype: type of the arithmetic; outputs are float32.
      channels: of the five convolutions, `hidden` of the two linear layers, `state` of the LSTM: the
      reference's.
    """

    out_dim: int = 70
    dtype: Any = jnp.float32
    channels: tuple[int, int, int, int, int] = (64, 128, 256, 256, 512)
    hidden: tuple[int, int] = (2048, 256)
    state: int = 256

    def setup(self) -> None:
        self.convs = [Conv(features, use_bias=False, dtype=self.dtype) for features in self.channels]
        self.norms = [StepBatchNorm() for _ in self.channels]
        self.dense = [
            nn.Dense(features, kernel_init=REFERENCE_INIT, dtype=self.dtype) for features in self.hidden
        ]
        self.lstm = [Lstm(self.state, dtype=self.dtype) for _ in range(LSTM_LAYERS)]
        self.out = nn.Dense(self.out_dim, kernel_init=REFERENCE_INIT, dtype=self.dtype)

    def __call__(
        self, mfcc_windows: Float[Array, "b t 28 12"], *, train: bool = False
    ) -> Float[Array, "b t out_dim"]:
        """Predicts coefficients for any number of frames.

        Args:
          mfcc_windows: reference.md §1.5; not normalized.
          train: batch statistics instead of running ones; apply with `mutable=["batch_stats"]`.
        """
        return self.decode(self.encode(mfcc_windows, train=train))[0]

    def encode(
        self, mfcc_windows: Float[Array, "b t 28 12"], *, train: bool = False
    ) -> Float[Array, "b t hidden"]:
        """Each window alone, as far as the LSTM."""
        b, t, rows, columns = mfcc_windows.shape
        x = mfcc_windows.astype(self.dtype).reshape(b * t, rows, columns, 1)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            x = x.reshape(b, t, *x.shape[1:])
            x = nn.relu(norm(x, train)).reshape(b * t, *x.shape[2:])
            if i == 1:
                x = max_pool3(x, (1, 2))
        x = max_pool3(x, (2, 2))
        # Channel-major, as the reference flattens: its linear weights then fit without a permutation.
        x = x.transpose(0, 3, 1, 2).reshape(b * t, -1)
        for dense in self.dense:
            x = nn.relu(dense(x))
        return x.reshape(b, t, -1)

    def decode(
        self, x: Float[Array, "b t hidden"], states: Any = None
    ) -> tuple[Float[Array, "b t out_dim"], Any]:
        """(coefficients, states of the LSTM layers after these frames); `states` as before them."""
        after = []
        for k, lstm in enumerate(self.lstm):
            x, last = lstm(x, None if states is None else states[k])
            after.append(last)
        return self.out(x).astype(jnp.float32), tuple(after)

    def start_states(self, batch: int = 1) -> tuple[tuple[Array, Array], ...]:
        """States of the LSTM layers before the first frame: zeros."""
        zeros = jnp.zeros((batch, self.state), self.dtype)
        return ((zeros, zeros),) * LSTM_LAYERS
