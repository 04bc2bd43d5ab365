"""Training of the small face embedding: pictures of one person together, those of others apart."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from talkjax.losses.same_person import same_person
from talkjax.nets.face_embedding_small import SmallFaceEmbedding
from talkjax.nets.reconstruction_small import SMALL_SIZE


class IdentityBatch(NamedTuple):
    """Pictures `[b s s 3]` uint8 and who is in each `[b]`."""

    images: UInt8[Any, "b s s 3"]
    person: Int[Any, "b"]


@struct.dataclass
class IdentityState:
    """Everything that training changes."""

    params: Any
    opt: Any
    step: Array


@dataclasses.dataclass(frozen=True)
class IdentitySettings:
    """Sizes of the network and the schedule: a rise over `warm_up` steps, then a cosine to zero."""

    features: int = 64
    width: int = 16
    units: int = 1
    side: int = SMALL_SIZE
    steps: int = 1200
    warm_up: int = 50
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    temperature: float = 0.1
    seed: int = 0


class IdentityTask:
    """Network, loss and optimizer bound to settings. Holds no state."""

    def __init__(self, settings: IdentitySettings):
        s = self.settings = settings
        self.net = SmallFaceEmbedding(s.features, s.width, s.units)
        cosine = optax.cosine_decay_schedule(s.learning_rate, s.steps)

        def rate(step: Any) -> Any:
            return cosine(step) * jnp.minimum(1.0, (step + 1) / s.warm_up)

        adam = optax.adamw(rate, weight_decay=s.weight_decay)
        self._optimizer = optax.chain(optax.clip_by_global_norm(1.0), adam)

    def init(self) -> IdentityState:
        """A fresh state; abstract under `jax.eval_shape`."""
        picture = jnp.zeros((1, self.settings.side, self.settings.side, 3))
        params = self.net.init(jax.random.key(self.settings.seed), picture)
        return IdentityState(params, self._optimizer.init(params), jnp.int32(0))

    def embed(self, params: Any, images: UInt8[Array, "b s s 3"]) -> Float[Array, "b f"]:
        """Unit vectors."""
        answer: Any = self.net.apply(params, images.astype(jnp.float32) / 255.0)
        return answer

    def train_step(
        self, state: IdentityState, batch: IdentityBatch
    ) -> tuple[IdentityState, dict[str, Array]]:
        """One update."""

        def loss_fn(params: Any) -> Array:
            rows = self.embed(params, batch.images)
            return same_person(rows, batch.person, self.settings.temperature)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        updates, opt = self._optimizer.update(grads, state.opt, state.params)
        return IdentityState(optax.apply_updates(state.params, updates), opt, state.step + 1), {"loss": loss}
