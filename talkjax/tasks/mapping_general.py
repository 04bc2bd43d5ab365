"""General sound-to-face training over many voices: pure `init`, `train_step`, `eval_step`.

The network of `nets/mapping_default.py` learns articulators, expression coefficients, closed lips, speech
activity and phone classes together. An MSE alone is served best by a mumble; the velocity, spread and
correlation terms keep the amplitude (speech.md: "What helped").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float

from talkjax.audio.running import normalize_rows
from talkjax.audio.spoil import hide_bands, spoil_rows
from talkjax.losses import mapping as losses
from talkjax.nets.mapping_default import DefaultMappingNet
from talkjax.rng import stream_key
from talkjax.tasks.accumulation import accumulated

SEQUENCE_FRAMES = 128
N_CHANNELS = 7
WARMUP_STEPS = 100
WARMUP_FRAMES = 8  # not scored at the start of a sequence: the crop cuts off what came before
WEIGHTS = {
    "channels": 1.0,
    "exp": 0.5,
    "gap": 1.0,
    "velocity": 0.5,
    "correlation": 0.3,
    "spread": 0.1,
    "closed": 0.4,
    "speech": 0.2,
    "phones": 0.3,
}


class GeneralBatch(NamedTuple):
    """Sequences of t frames: `rows` `[b 4t 40]` raw log-mel, `noise` likewise, `channels` `[b t 7]` (NaN:
    unknown), `exp` `[b t e]`, `closed`, `speech` `[b t]` in 0..1 (NaN: unknown), `phones` `[b t]` (-1:
    unknown), `valid` `[b t]`."""

    rows: Any
    noise: Any
    channels: Any
    exp: Any
    closed: Any
    speech: Any
    phones: Any
    valid: Any


class GeneralScales(NamedTuple):
    """Statistics of the corpus: mean and scale of (channels, exp) `[7 + e]`; `gap` `[e]` dm of lip opening
    per unit of each expression coefficient; `gap_scale` dm."""

    mean: np.ndarray
    scale: np.ndarray
    gap: np.ndarray
    gap_scale: np.ndarray


@struct.dataclass
class GeneralState:
    """Everything that training changes."""

    params: Any
    opt_state: Any
    step: Array


def general_net(n_exp: int, n_phones: int, dropout: float = 0.1, dtype: str = "float32") -> DefaultMappingNet:
    """Heads: `face` (articulators, then expression, standardised), `flags` (closed, speech logits),
    `phones`."""
    return DefaultMappingNet(
        heads=(("face", N_CHANNELS + n_exp), ("flags", 2), ("phones", n_phones)),
        dropout=dropout,
        dtype=jnp.dtype(dtype),
    )


def _norm(tree: Any) -> Array:
    """Length of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


class GeneralMappingTask:
    """Network, losses and optimiser, bound to a corpus's statistics. Holds no state."""

    def __init__(
        self,
        scales: GeneralScales,
        n_phones: int,
        steps: int,
        learning_rate: float = 3e-3,
        seed: int = 0,
        *,
        accumulate: int = 1,
        dtype: str = "float32",
    ):
        """Args:
        accumulate: calls of `train_step` whose gradients are averaged into one update; `steps` counts
        updates.
        dtype: type of the network's arithmetic.
        """
        self.scales, self.seed = scales, seed
        self.net = general_net(len(scales.gap), n_phones, dtype=dtype)
        warmup = min(WARMUP_STEPS, max(steps // 10, 1))
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, learning_rate, warmup, max(steps, warmup + 1), 1e-5
        )
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-3))
        self.optimizer = accumulated(optimizer, accumulate)

    def init(self) -> GeneralState:
        shape = (1, 4 * SEQUENCE_FRAMES, 40)
        params = jax.jit(self.net.init)(stream_key(self.seed, "init"), jnp.zeros(shape))["params"]
        return GeneralState(params, self.optimizer.init(params), jnp.int32(0))

    def loss(
        self, outputs: dict[str, Array], batch: GeneralBatch
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """(total, terms). Unknown parts of the batch are left out of the means."""
        frame = jnp.arange(batch.valid.shape[1]) >= WARMUP_FRAMES
        valid = jnp.asarray(batch.valid) & frame
        target = jnp.concatenate([batch.channels, batch.exp], -1)
        known = jnp.isfinite(target) & valid[..., None]
        wanted = jnp.where(known, (target - self.scales.mean) / self.scales.scale, 0.0)
        face = jnp.where(known, outputs["face"], 0.0)
        said, wanted_gap = (
            x[..., N_CHANNELS:] * self.scales.scale[N_CHANNELS:] @ (self.scales.gap / self.scales.gap_scale)
            for x in (face, wanted)
        )
        error = face - wanted
        n = N_CHANNELS
        terms = {
            "channels": losses.masked_mean(error[..., :n] ** 2, known[..., :n]),
            "exp": losses.masked_mean(error[..., n:] ** 2, known[..., n:]),
            "gap": losses.masked_mean((said - wanted_gap) ** 2, valid),
        }
        both = known[:, 1:] & known[:, :-1]
        steps = error[:, 1:] - error[:, :-1]
        terms["velocity"] = losses.masked_mean(steps[..., :n] ** 2, both[..., :n])
        mouth = jnp.concatenate([face[..., :n], said[..., None]], -1)
        truth = jnp.concatenate([wanted[..., :n], wanted_gap[..., None]], -1)
        mask = jnp.concatenate([known[..., :n], valid[..., None]], -1)
        terms["correlation"] = losses.one_minus_correlation(mouth, truth, mask)
        terms["spread"] = losses.spread_error(mouth, truth, mask)
        for k, (name, label) in enumerate((("closed", batch.closed), ("speech", batch.speech))):
            there = jnp.isfinite(label) & valid
            entropy = optax.sigmoid_binary_cross_entropy(
                outputs["flags"][..., k], jnp.where(there, label, 0.0)
            )
            terms[name] = losses.masked_mean(entropy, there)
        labelled = (batch.phones >= 0) & valid
        # a label out of range would give NaN here while the parameters stay finite (speech.md, trap)
        phones = jnp.clip(batch.phones, 0, outputs["phones"].shape[-1] - 1)
        entropy = optax.softmax_cross_entropy_with_integer_labels(outputs["phones"], phones)
        terms["phones"] = losses.masked_mean(entropy, labelled)
        return sum((WEIGHTS[name] * term for name, term in terms.items()), start=jnp.float32(0)), terms

    def train_step(self, state: GeneralState, batch: GeneralBatch) -> tuple[GeneralState, dict[str, Array]]:
        """One optimiser step; pure. Randomness follows from the seed and the step."""
        keys = [stream_key(self.seed, name, state.step) for name in ("spoil", "hide", "dropout")]
        rows = normalize_rows(spoil_rows(keys[0], batch.rows, batch.noise))
        rows = hide_bands(keys[1], rows)

        def objective(params: Any) -> tuple[Array, dict[str, Array]]:
            outputs, _ = self.net.apply({"params": params}, rows, train=True, rngs={"dropout": keys[2]})
            return self.loss(outputs, batch)

        (loss, terms), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "gradient": _norm(grads), **terms}
        return GeneralState(params, opt_state, state.step + 1), metrics

    def eval_step(self, params: Any, batch: GeneralBatch) -> dict[str, Array]:
        """Loss terms on unspoiled sound, and predictions: `channels` `[b t 7]`, `exp` `[b t e]`, `flags`
        (logits)."""
        outputs, _ = self.net.apply({"params": params}, normalize_rows(jnp.asarray(batch.rows)))
        loss, terms = self.loss(outputs, batch)
        face = outputs["face"] * self.scales.scale + self.scales.mean
        predictions = {
            "channels": face[..., :N_CHANNELS],
            "exp": face[..., N_CHANNELS:],
            "flags": outputs["flags"],
            "phones": outputs["phones"],
        }
        return {"loss": loss, **terms, **predictions}
