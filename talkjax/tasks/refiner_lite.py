"""The `lite` refiner's training step: generator, patch discriminator and memory, as one pure function.

The generator sees a window of three composites, the borrowed appearance (retrieval) and the mesh's masks, and
weighs bare render, borrowed images and its own colour per pixel. Its AdaIN code is the value that the memory
returns for the frame's geometry, in training as in use (the reference trains on the true feature and uses the
memory only at test time, reference.md §5.7).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from talkjax import numerics
from talkjax.losses.reconstruction import gradient_l1, l1, multi_scale_l1
from talkjax.materialize import stored
from talkjax.nets import memory
from talkjax.nets.blend import blend
from talkjax.nets.generator_lite import LiteGenerator
from talkjax.nets.patch_discriminator import PatchDiscriminator
from talkjax.rng import stream_key
from talkjax.tasks.accumulation import accumulated
from talkjax.types import EYES, MOUTH, MemoryBank

AnyArray = Any
"""Batches are made on the host and used on the device."""

N_CANDIDATES = 3  # bare, many, one
KEY_DIM = 32
OWN_NEIGHBOURHOOD = 10  # frames around a training frame whose memory it may not read
PATCH = 128


class RefinerInputs(NamedTuple):
    """What the generator sees, uint8 `[b s s c]`: window (composites t-2, t-1, t), many, one;
    region `[b s s]` int8 (-1 off the face); features `[b f]` (geometry of the frame, standardised)."""

    window: UInt8[AnyArray, "b s s 9"]
    many: UInt8[AnyArray, "b s s 3"]
    one: UInt8[AnyArray, "b s s 3"]
    region: Int[AnyArray, "b s s"]
    features: Float[AnyArray, "b f"]


class RefinerBatch(NamedTuple):
    """A training batch: inputs, real frames `[b s s 3]` uint8, error weight `[b s s]` uint8 (255: most),
    memory values `[b v]` and frame numbers."""

    inputs: RefinerInputs
    target: UInt8[AnyArray, "b s s 3"]
    weight: UInt8[AnyArray, "b s s"]
    values: Float[AnyArray, "b v"]
    source: Int[AnyArray, "b"]


@struct.dataclass
class RefinerState:
    """Everything that training changes. `average` is the generator's moving average, used in inference."""

    params: Any
    average: Any
    query: Float[Array, "f k"]
    discriminator: Any
    opt_g: Any
    opt_d: Any
    opt_q: Any
    bank: MemoryBank
    step: Array


@dataclasses.dataclass(frozen=True)
class LiteRefinerSettings:
    """Sizes and weights; `gan_from` is the share of the steps after which the discriminator joins.

    `accumulate`: calls of a step whose gradients make one update. `dtype`: type of the networks' arithmetic.
    """

    size: int
    n_features: int
    n_values: int
    n_slots: int
    steps: int
    seed: int = 0
    width: int = 32
    learning_rate: float = 1e-3
    gan_weight: float = 0.02
    gan_from: float = 0.5
    region_weight: float = 2.0
    accumulate: int = 1
    dtype: str = "float32"


def to_signed(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """uint8 to [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1.0


def _masks(region: Array) -> Float[Array, "b s s 3"]:
    """Face, mouth interior, eyes as 0/1 images."""
    return jnp.stack([region >= 0, region == MOUTH, region == EYES], axis=-1).astype(jnp.float32)


def _bce(logits: Any, target: float) -> Array:
    return numerics.mean(jax.nn.softplus(logits) - target * logits)


class LiteRefinerTask:
    """Networks, losses and optimisers bound to settings. Holds no state."""

    def __init__(self, settings: LiteRefinerSettings):
        self.settings = settings
        dtype, n = jnp.dtype(settings.dtype), settings.accumulate
        self.generator = LiteGenerator(width=settings.width, n_candidates=N_CANDIDATES, dtype=dtype)
        self.discriminator = PatchDiscriminator(width=24, dtype=dtype)
        schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.steps, 0.03)
        self._opt_g = accumulated(optax.adam(schedule, b1=0.9, b2=0.99), n)
        self._opt_d = accumulated(optax.adam(2e-4, b1=0.5), n)
        self._opt_q = accumulated(optax.adam(1e-3), n)

    def init(self) -> RefinerState:
        s = self.settings

        def make() -> RefinerState:
            key = stream_key(s.seed, "refiner-init")
            kg, kd, kq, kb = jax.random.split(key, 4)
            params = self.generator.init(
                kg, jnp.zeros((1, s.size, s.size, 9 + 6 + 3)), jnp.zeros((1, s.n_values))
            )
            side = min(PATCH, s.size)
            discriminator = self.discriminator.init(kd, jnp.zeros((1, side, side, 6)))
            query = jax.random.normal(kq, (s.n_features, KEY_DIM)) / jnp.sqrt(s.n_features)
            return RefinerState(
                params=params,
                average=jax.tree.map(jnp.copy, params),
                query=query,
                discriminator=discriminator,
                opt_g=self._opt_g.init(params),
                opt_d=self._opt_d.init(discriminator),
                opt_q=self._opt_q.init(query),
                bank=memory.init_bank(kb, s.n_slots, KEY_DIM, s.n_values),
                step=jnp.int32(0),
            )

        return jax.jit(make)()

    def read_code(
        self,
        bank: MemoryBank,
        query: Array,
        features: Float[Array, "b f"],
        own: Int[Array, "b"] | None = None,
    ) -> Float[Array, "b v"]:
        """The memory's value for a frame's geometry: mean of the 4 nearest, weighted by nearness.

        Args:
          own: training frames; slots written within `OWN_NEIGHBOURHOOD` frames are passed over.
        """
        reading = memory.query(bank, numerics.matmul(features, query), top_k=32)
        source = bank.source_id[reading.slots]
        usable = source != memory.EMPTY
        if own is not None:
            usable &= jnp.abs(source - own[:, None]) > OWN_NEIGHBOURHOOD
        rank = jnp.cumsum(usable, axis=-1)
        chosen = usable & (rank <= 4)
        logits = jnp.where(chosen, 20.0 * reading.scores, -jnp.inf)
        weight = jnp.where(jnp.any(chosen, -1, keepdims=True), jax.nn.softmax(logits, -1), 0.0)
        return jnp.einsum("bk,bkv->bv", jnp.nan_to_num(weight), reading.values)

    def refine(self, params: Any, code: Array, inputs: RefinerInputs) -> Float[Array, "b s s 3"]:
        """The generator's picture in [-1, 1]."""
        window, many, one = (to_signed(x) for x in (inputs.window, inputs.many, inputs.one))
        return self._forward(params, code, window, many, one, _masks(inputs.region))

    def _forward(
        self, params: Any, code: Array, window: Array, many: Array, one: Array, masks: Array
    ) -> Array:
        x = jnp.concatenate([window, many, one, masks], axis=-1)
        outputs: Any = self.generator.apply(params, x, code)
        return blend(outputs, [window[..., -3:], many, one])

    def _reconstruction(self, fake: Array, target: Array, weight: Array) -> Array:
        """Weighted L1 on three scales and on gradients."""
        edges, coarse = (loss(fake, target, weight) for loss in (gradient_l1, multi_scale_l1))
        return l1(fake, target, weight) + 0.5 * edges + 0.5 * coarse

    def _memory_step(self, state: RefinerState, batch: RefinerBatch) -> tuple[Array, Any, MemoryBank, Array]:
        """Trains the query and writes the batch, in the reference's order (§5.5): loss, then update."""

        def loss_fn(query: Array) -> Array:
            return memory.memory_loss(state.bank, numerics.matmul(batch.inputs.features, query), batch.values)

        loss, grad = jax.value_and_grad(loss_fn)(state.query)
        updates, opt_q = self._opt_q.update(grad, state.opt_q)
        query = optax.apply_updates(state.query, updates)
        key = stream_key(self.settings.seed, "memory", state.step)
        q = numerics.matmul(batch.inputs.features, query)
        bank, _ = memory.update(state.bank, q, batch.values, key, batch.source)
        return query, opt_q, bank, loss

    def train_step(self, state: RefinerState, batch: RefinerBatch) -> tuple[RefinerState, dict[str, Array]]:
        """One step of memory, discriminator and generator; pure. `adversarial` runs the discriminator."""
        return self._step(state, batch, adversarial=False)

    def adversarial_step(
        self, state: RefinerState, batch: RefinerBatch
    ) -> tuple[RefinerState, dict[str, Array]]:
        """`train_step` with the discriminator."""
        return self._step(state, batch, adversarial=True)

    def _step(
        self, state: RefinerState, batch: RefinerBatch, *, adversarial: bool
    ) -> tuple[RefinerState, dict[str, Array]]:
        query, opt_q, bank, memory_loss = self._memory_step(state, batch)
        code = jax.lax.stop_gradient(self.read_code(bank, query, batch.inputs.features, batch.source))
        key_true, key_colour, key_patch = jax.random.split(
            stream_key(self.settings.seed, "refiner", state.step), 3
        )
        use_true = jax.random.bernoulli(key_true, 0.3, (code.shape[0], 1))
        code = jnp.where(use_true, batch.values, code)
        window, many, one, target = self._recolour(key_colour, batch, state.step)
        masks = _masks(batch.inputs.region)
        weight = batch.weight[..., None].astype(jnp.float32) * (self.settings.region_weight + 1.0) / 255.0

        def generate(params: Any) -> Array:
            return self._forward(params, code, window, many, one, masks)

        fake, pullback = jax.vjp(generate, state.params)
        discriminator, opt_d = state.discriminator, state.opt_d
        metrics = {"memory": memory_loss}
        if adversarial:
            cut = self._patch(key_patch, masks)
            condition = cut(window[..., -3:])
            discriminator, opt_d, metrics["discriminator"] = self._discriminate(
                state, condition, cut(jax.lax.stop_gradient(fake)), cut(target)
            )

        def generator_loss(fake: Array) -> tuple[Array, Array]:
            loss = self._reconstruction(fake, target, weight)
            total = loss
            if adversarial:
                logits = self.discriminator.apply(discriminator, jnp.concatenate([condition, cut(fake)], -1))
                total = loss + self.settings.gan_weight * _bce(logits, 1.0)
            return total, loss

        (_, loss), cotangent = jax.value_and_grad(generator_loss, has_aux=True)(fake)
        (grads,) = pullback(cotangent)
        updates, opt_g = self._opt_g.update(grads, state.opt_g)
        params = optax.apply_updates(state.params, updates)
        keep = jnp.minimum(0.998, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state.average, params)
        new = RefinerState(
            params=params,
            average=average,
            query=query,
            discriminator=discriminator,
            opt_g=opt_g,
            opt_d=opt_d,
            opt_q=opt_q,
            bank=bank,
            step=state.step + 1,
        )
        return new, metrics | {"loss": loss}

    def _recolour(self, key: Array, batch: RefinerBatch, step: Array) -> tuple[Array, Array, Array, Array]:
        """One random gain and offset per channel on all images: lights that the clip does not show."""
        b = batch.target.shape[0]
        gain = 1.0 + 0.06 * jax.random.normal(key, (b, 1, 1, 3))
        offset = 0.03 * jax.random.normal(jax.random.fold_in(key, 1), (b, 1, 1, 3))
        # XLA on CPU would draw them again at each pixel
        gain, offset = (stored(x, step) for x in (gain, offset))
        i = batch.inputs
        frames = i.window.reshape(*i.window.shape[:3], 3, 3)
        window = to_signed(frames) * gain[..., None, :] + offset[..., None, :]
        many, one, target = (to_signed(x) * gain + offset for x in (i.many, i.one, batch.target))
        return window.reshape(i.window.shape), many, one, target

    def _patch(self, key: Array, masks: Array) -> Any:
        """A function that cuts one random square of `PATCH` pixels, or the whole picture, near mouth or eyes
        from an image batch."""
        size = masks.shape[1]
        side = min(PATCH, size)
        detail = jnp.maximum(masks[..., 1], masks[..., 2]).sum(0) + 1e-6
        rows, columns = detail.sum(1), detail.sum(0)
        at = jnp.arange(size)
        center = jnp.stack([(rows * at).sum() / rows.sum(), (columns * at).sum() / columns.sum()])
        offset = jax.random.uniform(key, (2,), minval=-60.0, maxval=60.0)
        corner = jnp.clip((center + offset).astype(jnp.int32) - side // 2, 0, size - side)

        def cut(image: Array) -> Array:
            start = (0, corner[0], corner[1], 0)
            return jax.lax.dynamic_slice(image, start, (image.shape[0], side, side, image.shape[-1]))

        return cut

    def _discriminate(
        self, state: RefinerState, condition: Array, fake: Array, real: Array
    ) -> tuple[Any, Any, Array]:
        """One step of the discriminator: 1/2 (BCE fake + BCE real), reference.md §5.5."""

        def loss_fn(params: Any) -> Array:
            on_fake = self.discriminator.apply(params, jnp.concatenate([condition, fake], -1))
            on_real = self.discriminator.apply(params, jnp.concatenate([condition, real], -1))
            return 0.5 * (_bce(on_fake, 0.0) + _bce(on_real, 1.0))

        loss, grads = jax.value_and_grad(loss_fn)(state.discriminator)
        updates, opt_d = self._opt_d.update(grads, state.opt_d)
        return optax.apply_updates(state.discriminator, updates), opt_d, loss
