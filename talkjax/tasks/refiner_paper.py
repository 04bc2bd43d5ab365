"""The `paper` refiner's training step: the reference's memory-augmented GAN as one pure function
(reference.md §5).

The generator sees three bare composites and the frame's true identity feature; the memory learns beside it to
find that feature from the picture alone, and replaces it in use. No borrowed images, masks, moving average or
other additions of the `lite` refiner.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from talkjax.losses.adversarial import adversarial_discriminator, adversarial_generator
from talkjax.losses.reconstruction import l1
from talkjax.losses.regularization import attention_mean, total_variation
from talkjax.nets import memory
from talkjax.nets.blend import blend
from talkjax.nets.generator_paper import PaperGenerator
from talkjax.nets.key_encoder import KeyEncoder
from talkjax.nets.patch_discriminator import PatchDiscriminator
from talkjax.nets.resnet import ResNet18
from talkjax.rng import stream_key
from talkjax.tasks.accumulation import accumulated
from talkjax.tasks.adam import adam
from talkjax.tasks.refiner_lite import AnyArray, to_signed
from talkjax.types import MemoryBank

TRUNK_SEED = 18
"""Seed of the frozen trunk's random weights, the same in every run."""


class PaperBatch(NamedTuple):
    """A training batch, uint8 images: window `[b s s 9]` (bare composites t-2, t-1, t), target `[b s s 3]`;
    identity `[b v]`, unit vectors; source `[b]` frame numbers."""

    window: UInt8[AnyArray, "b s s 9"]
    target: UInt8[AnyArray, "b s s 3"]
    identity: Float[AnyArray, "b v"]
    source: Int[AnyArray, "b"]


@struct.dataclass
class Trunk:
    """What the memory sees of a picture, never trained: `(ResNet18(picture) - mean) / scale`.

    Weights made for photographs need mean 0 and scale 1. Random ones answer all pictures of one
    person in nearly one direction, and the memory compares directions: there, `calibrated` measures both on
    some frames.
    """

    params: Any
    mean: Float[Array, "f"]
    scale: Float[Array, ""]


@struct.dataclass
class PaperState:
    """Everything that training changes."""

    params: Any
    query: Any
    discriminator: Any
    opt_g: Any
    opt_d: Any
    opt_q: Any
    bank: MemoryBank
    step: Array


@dataclasses.dataclass(frozen=True)
class PaperRefinerSettings:
    """Sizes, weights of the losses and training choices; the defaults are the reference's fine-tuning.

    `size` is the side of all pictures, a power of two: its logarithm is the generator's number of levels.
    `flip` mirrors half of the training pictures. `dropout_in_use` keeps the decoder's dropout on in use, as
    the reference's test run does. `accumulate`: calls of `train_step` whose gradients make one update.
    `dtype`: type of the networks' arithmetic.
    """

    size: int = 256
    width: int = 64
    adain_hidden: int = 0
    discriminator_width: int = 64
    trunk_width: int = 64
    n_slots: int = 30_000
    n_keys: int = 512
    n_values: int = 512
    learning_rate: float = 1e-4
    l1_weight: float = 100.0
    attention_weight: float = 2.0
    variation_weight: float = 1e-5
    flip: bool = True
    dropout_in_use: bool = False
    seed: int = 0
    accumulate: int = 1
    dtype: str = "float32"


class PaperRefinerTask:
    """Networks, losses and optimizers bound to settings. Holds no state."""

    def __init__(self, settings: PaperRefinerSettings):
        s = self.settings = settings
        levels = s.size.bit_length() - 1
        if 2**levels != s.size:
            raise ValueError(f"size {s.size} is not a power of two")
        dtype = jnp.dtype(s.dtype)
        self.generator = PaperGenerator(s.width, levels, s.adain_hidden, s.dropout_in_use, dtype)
        self.discriminator = PatchDiscriminator(s.discriminator_width, dtype=dtype)
        self.trunk = ResNet18(s.trunk_width, dtype)
        self.encoder = KeyEncoder(s.n_keys)
        self._optimizer = accumulated(adam(s.learning_rate, b1=0.5, b2=0.999), s.accumulate)

    def init(self) -> PaperState:
        """A fresh state; abstract under `jax.eval_shape`."""
        return jax.jit(self._init)()

    def _init(self) -> PaperState:
        s = self.settings
        kg, kd, kq, kb = jax.random.split(stream_key(s.seed, "refiner-init"), 4)
        picture = jnp.zeros((1, s.size, s.size, 12))
        params = self.generator.init(kg, picture[..., :9], jnp.zeros((1, s.n_values)))
        discriminator = self.discriminator.init(kd, picture)
        query = self.encoder.init(kq, jnp.zeros((1, 8 * s.trunk_width)))
        return PaperState(
            params=params,
            query=query,
            discriminator=discriminator,
            opt_g=self._optimizer.init(params),
            opt_d=self._optimizer.init(discriminator),
            opt_q=self._optimizer.init(query),
            bank=memory.init_bank(kb, s.n_slots, s.n_keys, s.n_values),
            step=jnp.int32(0),
        )

    def random_trunk(self) -> Trunk:
        """The substitute for a trunk trained on photographs: random weights of a fixed seed."""
        side, rng = self.settings.size, np.random.default_rng(TRUNK_SEED)

        def draw(leaf: jax.ShapeDtypeStruct) -> Array:
            if len(leaf.shape) == 1:
                return jnp.zeros(leaf.shape)
            fan_in = np.prod(leaf.shape[:-1])
            return jnp.asarray(rng.normal(scale=np.sqrt(2 / fan_in), size=leaf.shape), jnp.float32)

        shapes = jax.eval_shape(self.trunk.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
        return Trunk(
            jax.tree.map(draw, shapes), jnp.zeros((8 * self.settings.trunk_width,)), jnp.float32(1.0)
        )

    def calibrated(self, trunk: Trunk, pictures: UInt8[Array, "n s s 3"]) -> Trunk:
        """The trunk with mean and scale measured on pictures: unit variance on average over the channels."""
        look = jax.jit(self.spatial_feature)
        raw = jnp.concatenate([look(trunk, pictures[i : i + 1]) for i in range(len(pictures))])
        mean = trunk.mean + trunk.scale * raw.mean(0)
        deviation = jnp.sqrt(jnp.mean(jnp.var(raw, 0)))
        return Trunk(trunk.params, mean, trunk.scale * jnp.maximum(deviation, 1e-6))

    def spatial_feature(self, trunk: Trunk, composite: UInt8[Array, "b s s 3"]) -> Float[Array, "b f"]:
        """Frozen picture feature of the current composite."""
        feature: Any = self.trunk.apply(trunk.params, composite.astype(jnp.float32) / 255.0)
        return jax.lax.stop_gradient((feature - trunk.mean) / trunk.scale)

    def read(
        self, trunk: Trunk, query: Any, bank: MemoryBank, composite: UInt8[Array, "b s s 3"]
    ) -> Float[Array, "b v"]:
        """The value whose key is nearest to the picture (§5.3: top-1 in use)."""
        q = self._key(query, self.spatial_feature(trunk, composite))
        return memory.query(bank, q, 1).values[:, 0]

    def refine(
        self,
        params: Any,
        identity: Float[Array, "b v"],
        window: UInt8[Array, "b s s 9"],
        dropout_key: Array | None = None,
    ) -> Float[Array, "b s s 3"]:
        """The picture in [-1, 1], as in use; `dropout_key` is needed with `dropout_in_use`."""
        signed = to_signed(window)
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        outputs: Any = self.generator.apply(params, signed, identity, rngs=rngs)
        return blend(outputs, [signed[..., 6:]])

    def train_step(
        self, state: PaperState, batch: PaperBatch, trunk: Trunk
    ) -> tuple[PaperState, dict[str, Array]]:
        """One step in the reference's order (§5.5): memory's loss, memory's update, discriminator, generator.

        The generator's loss meets the discriminator of this very step.
        """
        query, opt_q, bank, memory_loss = self._memory_step(state, batch, trunk)
        window, target = to_signed(batch.window), to_signed(batch.target)

        def generate(params: Any) -> tuple[Array, Array]:
            rngs = {"dropout": stream_key(self.settings.seed, "dropout", state.step)}
            outputs: Any = self.generator.apply(params, window, batch.identity, train=True, rngs=rngs)
            return blend(outputs, [window[..., 6:]]), outputs.attention[..., :1]

        (fake, mask), pullback = jax.vjp(generate, state.params)
        discriminator, opt_d, d_loss = self._discriminator_step(state, window, fake, target)

        def loss_of_picture(fake: Array, mask: Array) -> tuple[Array, dict[str, Array]]:
            return self._generator_loss(discriminator, window, fake, mask, target)

        cotangents, metrics = jax.grad(loss_of_picture, (0, 1), has_aux=True)(fake, mask)
        (grads,) = pullback(cotangents)
        updates, opt_g = self._optimizer.update(grads, state.opt_g)
        new = PaperState(
            params=optax.apply_updates(state.params, updates),
            query=query,
            discriminator=discriminator,
            opt_g=opt_g,
            opt_d=opt_d,
            opt_q=opt_q,
            bank=bank,
            step=state.step + 1,
        )
        return new, metrics | {"memory": memory_loss, "discriminator": d_loss}

    def _memory_step(
        self, state: PaperState, batch: PaperBatch, trunk: Trunk
    ) -> tuple[Any, Any, MemoryBank, Array]:
        """Trains the query's linear layer, then writes the batch with the layer as it is after that."""
        feature = self.spatial_feature(trunk, batch.window[..., 6:])

        def loss_fn(query: Any) -> Array:
            return memory.memory_loss(state.bank, self._key(query, feature), batch.identity)

        loss, grads = jax.value_and_grad(loss_fn)(state.query)
        updates, opt_q = self._optimizer.update(grads, state.opt_q)
        query = optax.apply_updates(state.query, updates)
        key = stream_key(self.settings.seed, "memory", state.step)
        q = self._key(query, feature)
        bank, _ = memory.update(state.bank, q, batch.identity, key, batch.source)
        return query, opt_q, bank, loss

    def _key(self, query: Any, feature: Array) -> Any:
        return self.encoder.apply(query, feature)

    def _logits(self, params: Any, window: Array, picture: Array) -> Any:
        return self.discriminator.apply(params, jnp.concatenate([window, picture], -1))

    def _discriminator_step(
        self, state: PaperState, window: Array, fake: Array, target: Array
    ) -> tuple[Any, Any, Array]:
        fake = jax.lax.stop_gradient(fake)

        def loss_fn(params: Any) -> Array:
            real_logits = self._logits(params, window, target)
            return adversarial_discriminator(real_logits, self._logits(params, window, fake))

        loss, grads = jax.value_and_grad(loss_fn)(state.discriminator)
        updates, opt_d = self._optimizer.update(grads, state.opt_d)
        return optax.apply_updates(state.discriminator, updates), opt_d, loss

    def _generator_loss(
        self, discriminator: Any, window: Array, fake: Array, mask: Array, target: Array
    ) -> tuple[Array, dict[str, Array]]:
        """L_G = BCE + 100 L1 + 2 mean(M) + 1e-5 TV(M), and its parts."""
        s = self.settings
        adversarial = adversarial_generator(self._logits(discriminator, window, fake))
        error, kept = l1(fake, target), attention_mean(mask)
        total = adversarial + s.l1_weight * error + s.attention_weight * kept
        total += s.variation_weight * total_variation(mask)
        return total, {"loss": total, "adversarial": adversarial, "l1": error, "kept": kept}
