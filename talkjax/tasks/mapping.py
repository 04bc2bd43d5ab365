"""Sound to expression and head pose: one pure training step and one prediction, `lite` and `paper`.

`lite` sees normalised log-mel rows, `paper` the reference's MFCC windows (reference.md §1.5). Both are
trained with the reference's terms (§3.3) on standardised coefficients; `lite` adds terms measured on the
lips, because a coefficient matters as much as it moves the mouth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float

from talkjax.audio.log_mel import row_windows
from talkjax.losses import mapping as losses
from talkjax.nets.mapping_net import LiteMappingNet, PaperMappingNet
from talkjax.rng import stream_key

CONTEXT_ROWS = 12
SEQUENCE = {"lite": 64, "paper": 16}  # frames per training sequence; the reference's 16
BATCH = {"lite": 8, "paper": 16}
PAPER_EXPRESSIONS = 64  # the reference's head; fewer expression axes are padded with zeros

# Typical size of lip positions and of their change per frame, dm: makes the lip terms order one.
_LIP_DM = 0.02
_LIP_STEP_DM = 0.014


class Targets(NamedTuple):
    """What standardises a person's coefficients, and what a unit of each does to the lips.

    mean, scale: `[e + 6]` of (expression, pose). lips: `[e 3k]` dm per standardised expression unit.
    """

    mean: np.ndarray
    scale: np.ndarray
    lips: np.ndarray

    @property
    def n_exp(self) -> int:
        return len(self.lips)


@struct.dataclass
class MappingState:
    """Everything that training changes."""

    variables: Any
    opt_state: Any
    step: Array


class MappingBatch(NamedTuple):
    """Sequences: `sound` is `[b 4t+24 40]` log-mel rows (lite) or `[b t 28 12]` MFCC windows (paper);
    `target` is `[b t e+6]`, standardised."""

    sound: Any
    target: Any


def fit_targets(exp_coeffs: np.ndarray, pose: np.ndarray, lip_basis: np.ndarray) -> Targets:
    """Statistics of the training frames.

    Args:
      exp_coeffs: `[t e]`. pose: `[t 6]` euler and translation. lip_basis: `[e k 3]` dm, lip vertices.
    """
    values = np.concatenate([exp_coeffs, pose], axis=1)
    # A floor keeps axes that the clip hardly uses from turning noise into a target.
    floor = np.r_[np.full(exp_coeffs.shape[1], 0.02), np.full(3, 0.005), np.full(3, 0.02)]
    scale = values.std(0) + floor
    lips = lip_basis.reshape(len(lip_basis), -1) * scale[: len(lip_basis), None]
    return Targets(values.mean(0).astype(np.float32), scale.astype(np.float32), lips.astype(np.float32))


def make_net(preset: str, n_exp: int) -> LiteMappingNet | PaperMappingNet:
    if preset == "paper":
        return PaperMappingNet(out_dim=max(PAPER_EXPRESSIONS, n_exp) + 6)
    return LiteMappingNet(out_dim=n_exp + 6, dropout=0.2)


def _to_output(target: Array, out_dim: int) -> Array:
    """`[.. e + 6]` into the net's layout: expression padded with zeros, pose last."""
    pad = out_dim - target.shape[-1]
    zeros = jnp.zeros((*target.shape[:-1], pad))
    return jnp.concatenate([target[..., :-6], zeros, target[..., -6:]], axis=-1)


def _from_output(output: Array, n_exp: int) -> Array:
    return jnp.concatenate([output[..., :n_exp], output[..., -6:]], axis=-1)


def _windows(rows: Array) -> Array:
    """`[b 4t+24 40]` rows with context on both sides -> `[b t 28 40]`."""
    n_frames = (rows.shape[1] - 2 * CONTEXT_ROWS) // 4
    index = jnp.arange(n_frames)[:, None] * 4 + jnp.arange(2 * CONTEXT_ROWS + 4)
    return rows[:, index]


def augment_rows(key: Array, rows: Float[Array, "b r 40"]) -> Float[Array, "b r 40"]:
    """Other rooms and microphones: level, spectral tilt and ripple, noise, and a missing band."""
    b = rows.shape[0]
    keys = jax.random.split(key, 5)
    x = jnp.linspace(-1.0, 1.0, rows.shape[-1])[None, None]
    ripple = jax.random.normal(keys[0], (b, 1, 3))
    shape = ripple[..., :1] * x + ripple[..., 1:2] * jnp.cos(3 * x) + ripple[..., 2:] * jnp.sin(5 * x)
    rows = rows + 0.3 * shape + 0.3 * jax.random.normal(keys[1], (b, 1, 1))
    rows = rows + 0.15 * jax.random.normal(keys[2], rows.shape)
    band = jnp.arange(rows.shape[-1])[None, None]
    start = jax.random.randint(keys[3], (b, 1, 1), 0, rows.shape[-1])
    width = jax.random.randint(keys[4], (b, 1, 1), 0, 8)
    return jnp.where((band >= start) & (band < start + width), 0.0, rows)


def _optimizer(preset: str, steps: int) -> optax.GradientTransformation:
    if preset == "paper":  # reference.md §3.5
        return optax.adam(1e-4, b1=0.5, b2=0.999)
    return optax.adamw(optax.cosine_decay_schedule(1e-3, steps, 0.05), weight_decay=1e-2)


class MappingTask:
    """Model, losses and optimiser of one preset, bound to a person's targets. Holds no state."""

    def __init__(self, preset: str, targets: Targets, steps: int, seed: int = 0):
        self.preset, self.targets, self.seed = preset, targets, seed
        self.net = make_net(preset, targets.n_exp)
        self.optimizer = _optimizer(preset, steps)
        self._lips = jnp.asarray(targets.lips)

    def init(self) -> MappingState:
        t = SEQUENCE[self.preset]
        shape = (1, t, 28, 12) if self.preset == "paper" else (1, t, 2 * CONTEXT_ROWS + 4, 40)
        variables = jax.jit(self.net.init)(stream_key(self.seed, "init"), jnp.zeros(shape))
        return MappingState(
            variables=variables, opt_state=self.optimizer.init(variables["params"]), step=jnp.int32(0)
        )

    def _forward(self, params: Any, rest: dict[str, Any], sound: Array, step: Array) -> tuple[Array, Any]:
        if self.preset == "paper":
            output, changed = self.net.apply(
                {"params": params, **rest}, sound, train=True, mutable=["batch_stats"]
            )
            return output, changed
        rows = augment_rows(stream_key(self.seed, "augment", step), sound)
        rngs = {"dropout": stream_key(self.seed, "dropout", step)}
        predicted: Any = self.net.apply({"params": params}, _windows(rows), train=True, rngs=rngs)
        return predicted, {}

    def loss(self, output: Array, target: Array) -> Array:
        """The terms of §3.3; for `lite` expression error is shared between coefficients and lips."""
        n = self.targets.n_exp
        wanted = _to_output(target, output.shape[-1])
        exp, pose = output[..., :-6], output[..., -6:]
        terms = {
            "expression": losses.mse_expression(exp, wanted[..., :-6]),
            "pose": 0.2 * losses.mse_pose(pose, wanted[..., -6:]),
            "smooth_pose": 0.01 * losses.smooth_pose(pose),
            "smooth_expression": 1e-4 * losses.smooth_expression(exp),
        }
        if self.preset == "paper":
            return sum(terms.values(), start=jnp.float32(0))
        lip_error = (exp[..., :n] - target[..., :n]) @ self._lips
        lip_step = lip_error[:, 1:] - lip_error[:, :-1]
        lips = jnp.mean((lip_error / _LIP_DM) ** 2) + 0.3 * jnp.mean((lip_step / _LIP_STEP_DM) ** 2)
        # the summed smoothing terms of the reference would drown the rest on 64-frame sequences
        return 0.3 * terms["expression"] + 0.3 * terms["pose"] + lips

    def train_step(self, state: MappingState, batch: MappingBatch) -> tuple[MappingState, dict[str, Array]]:
        """One optimiser step; pure."""
        params = state.variables["params"]
        rest = {k: v for k, v in state.variables.items() if k != "params"}

        def objective(params: Any) -> tuple[Array, Any]:
            output, changed = self._forward(params, rest, batch.sound, state.step)
            return self.loss(output, batch.target), changed

        (loss, changed), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, updates), **rest, **changed}
        return MappingState(variables, opt_state, state.step + 1), {"loss": loss}

    def predict(self, variables: Any, windows: Float[Array, "t rows bands"]) -> Float[Array, "t o"]:
        """Expression and pose `[t e+6]` in their own units, for a whole utterance."""
        output = _from_output(self.net.apply(variables, windows[None])[0], self.targets.n_exp)
        return output * self.targets.scale + self.targets.mean


def fit_linear_path(
    windows: Float[np.ndarray, "t rows bands"], target: Float[np.ndarray, "t o"], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression from windows to standardised targets: weights `[rows bands o]`, bias `[o]`."""
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    center, mean = flat.mean(0), target.mean(0)
    x = flat - center
    # as many unknowns as equations or more: solve in the space of frames (same answer, smaller system)
    gram = x @ x.T + strength * np.eye(len(x))
    weights = x.T @ np.linalg.solve(gram, target - mean)
    bias = mean - center @ weights
    return weights.reshape(*windows.shape[1:], -1).astype(np.float32), bias.astype(np.float32)


def blend_linear_path(variables: Any, weights: np.ndarray, bias: np.ndarray, share: float) -> Any:
    """Variables that predict `share` * regression + (1 - share) * network (linear path unused so far)."""
    params = dict(variables["params"])
    linear = params["linear_path"]
    params["out"] = jax.tree.map(lambda p: p * (1 - share), params["out"])
    params["linear_path"] = {
        "kernel": (1 - share) * linear["kernel"] + share * weights.reshape(linear["kernel"].shape),
        "bias": (1 - share) * linear["bias"] + share * jnp.asarray(bias),
    }
    return {**variables, "params": params}


def padded_rows(rows: Float[np.ndarray, "r 40"], n_frames: int) -> np.ndarray:
    """Rows with `CONTEXT_ROWS` more on both sides (edges repeated): `[4 n_frames + 24, 40]`."""
    index = np.arange(4 * n_frames + 2 * CONTEXT_ROWS) - CONTEXT_ROWS
    return np.asarray(rows)[np.clip(index, 0, len(rows) - 1)]


__all__ = [
    "BATCH",
    "SEQUENCE",
    "MappingBatch",
    "MappingState",
    "MappingTask",
    "Targets",
    "blend_linear_path",
    "fit_linear_path",
    "fit_targets",
    "padded_rows",
    "row_windows",
]
