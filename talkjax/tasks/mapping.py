"""The paper's mapping (`paper` preset): MFCC windows to expression and pose, with the reference's losses.

Expression targets are standardised, as the reference's basis is (units of sigma); pose stays in radians and
decimetres, less the z offset. reference.md §3.2 to §3.5. The `default` preset is `tasks/mapping_personal.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from talkjax.losses import mapping as losses
from talkjax.nets.mapping_net import PaperMappingNet
from talkjax.rng import stream_key
from talkjax.tasks.adam import adam
from talkjax.tasks.mapping_targets import Targets

SEQUENCE, BATCH = 16, 16
PAPER_EXPRESSIONS = 64  # the reference's head; fewer expression axes are padded with zeros


@struct.dataclass
class MappingState:
    """Everything that training changes."""

    variables: Any
    opt_state: Any
    step: Array


class MappingBatch(NamedTuple):
    """`sound` `[b t 28 12]` MFCC windows; `target` `[b t e+6]`, as `Targets` scales it."""

    sound: Any
    target: Any


def make_net(n_exp: int) -> PaperMappingNet:
    """The reference's 70 outputs, or more where there are more than 64 expression axes."""
    return PaperMappingNet(out_dim=max(PAPER_EXPRESSIONS, n_exp) + 6)


def _to_output(target: Array, out_dim: int) -> Array:
    """`[.. e + 6]` into the net's layout: expression padded with zeros, pose last."""
    pad = out_dim - target.shape[-1]
    zeros = jnp.zeros((*target.shape[:-1], pad))
    return jnp.concatenate([target[..., :-6], zeros, target[..., -6:]], axis=-1)


def from_output(output: Array, n_exp: int) -> Array:
    """The net's `[.. 70]` without the padding: `[.. e + 6]`."""
    return jnp.concatenate([output[..., :n_exp], output[..., -6:]], axis=-1)


class MappingTask:
    """Model, losses and optimiser, bound to a person's targets. Holds no state."""

    def __init__(self, targets: Targets, seed: int = 0, learning_rate: float = 1e-4):
        self.targets, self.seed = targets, seed
        self.net = make_net(targets.n_exp)
        self.optimizer = adam(learning_rate, b1=0.5, b2=0.999)  # §3.5

    def init(self) -> MappingState:
        variables = jax.jit(self.net.init)(stream_key(self.seed, "init"), jnp.zeros((1, SEQUENCE, 28, 12)))
        return MappingState(
            variables=variables, opt_state=self.optimizer.init(variables["params"]), step=jnp.int32(0)
        )

    def loss(self, output: Array, target: Array) -> Array:
        """MSE(exp) + 0.2 MSE(pose) + 0.01 smooth(pose) + 1e-4 smooth(exp), §3.3."""
        wanted = _to_output(target, output.shape[-1])
        exp, pose = output[..., :-6], output[..., -6:]
        return (
            losses.mse_expression(exp, wanted[..., :-6])
            + 0.2 * losses.mse_pose(pose, wanted[..., -6:])
            + 0.01 * losses.smooth_pose(pose)
            + 1e-4 * losses.smooth_expression(exp)
        )

    def train_step(self, state: MappingState, batch: MappingBatch) -> tuple[MappingState, dict[str, Array]]:
        """One optimiser step; pure."""
        params = state.variables["params"]
        rest = {k: v for k, v in state.variables.items() if k != "params"}

        def objective(params: Any) -> tuple[Array, Any]:
            output, changed = self.net.apply(
                {"params": params, **rest}, batch.sound, train=True, mutable=["batch_stats"]
            )
            return self.loss(output, batch.target), changed

        (loss, changed), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, updates), **rest, **changed}
        return MappingState(variables, opt_state, state.step + 1), {"loss": loss}

    def predict(self, variables: Any, windows: Float[Array, "t 28 12"]) -> Float[Array, "t o"]:
        """Expression and pose `[t e+6]` in their own units (pose: as the targets have it), a whole
        utterance."""
        output = from_output(self.net.apply(variables, windows[None])[0], self.targets.n_exp)
        return output * self.targets.scale + self.targets.mean
