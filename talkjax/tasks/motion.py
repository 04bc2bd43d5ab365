"""Head motion from a voice and a motion behaviour pattern: pure init, train step, eval step, sampling.

`lite` models the distribution of motions (likelihood of the next key), `paper` has the follow-up paper's
networks and predicts one motion (squared error), since its training code is not public. In both, the encoder
sees one stretch of a person's motion and the decoder has to explain another: the pattern can only carry what
the two have in common, the style.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from talkjax.losses.contrast import pattern_contrast
from talkjax.nets.motion_decoder import (
    LiteMotionDecoder,
    NextKey,
    PaperMotionDecoder,
    draw,
    hear,
    log_density,
)
from talkjax.nets.motion_encoder import PATTERN, LiteMotionEncoder, PaperMotionEncoder
from talkjax.rng import stream_key

KEYS_SEEN, KEYS_TOLD = 100, 96
"""Keys (8.3 Hz) that the encoder sees, 12 s, and that the decoder explains in training."""
FRAMES_SEEN, FRAMES_TOLD = 300, 100
"""The same in frames for `paper`: the reference's 300, and our choice (not published)."""
INPUT_NOISE = 0.03
CONTRAST_WEIGHT = 0.1
VELOCITY_WEIGHT = 2.0
BURN_IN = 60  # keys


@struct.dataclass
class MotionState:
    """Everything that training changes."""

    variables: Any  # {"params": {encoder, decoder}, "batch_stats"?: of the paper's decoder}
    opt_state: Any
    step: Array


class MotionBatch(NamedTuple):
    """Two stretches of each of `b` people.

    lite: `seen` and `told` `[b k 6]` normal series at the keys, `seen_voice`, `told_voice` `[b k 3]` rhythm.
    paper: standardised poses `[b t 6]` at 25 fps; `told_voice` is MFCC `[b 4t 13]`, `seen_voice` unused.
    """

    seen: Any
    seen_voice: Any
    told: Any
    told_voice: Any


class MotionTask:
    """Networks, losses and optimiser of one preset. Holds no state."""

    def __init__(self, preset: str, steps: int, seed: int = 0, learning_rate: float = 2e-3):
        self.preset, self.seed = preset, seed
        lite = preset == "lite"
        self.encoder = LiteMotionEncoder() if lite else PaperMotionEncoder()
        self.decoder = LiteMotionDecoder() if lite else PaperMotionDecoder()
        schedule = optax.cosine_decay_schedule(learning_rate if lite else 1e-4, steps, 0.02)
        self.optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))

    def init(self) -> MotionState:
        keys = jax.random.split(stream_key(self.seed, "init"))
        pattern = jnp.zeros((1, PATTERN))
        if self.preset == "lite":
            series, voice = jnp.zeros((1, 8, 6)), jnp.zeros((1, 8, 3))
            encoder = jax.jit(self.encoder.init)(keys[0], series, voice)
            decoder = jax.jit(self.decoder.init)(keys[1], series, hear(voice), pattern)
        else:
            encoder = jax.jit(self.encoder.init)(keys[0], jnp.zeros((1, 8, 6)))
            decoder = jax.jit(self.decoder.init)(keys[1], jnp.zeros((1, 32, 13)), pattern)
        variables = {"params": {"encoder": encoder["params"], "decoder": decoder["params"]}}
        if "batch_stats" in decoder:
            variables["batch_stats"] = decoder["batch_stats"]
        opt_state = self.optimizer.init(variables["params"])
        return MotionState(variables=variables, opt_state=opt_state, step=jnp.int32(0))

    def encode(self, params: Any, batch_seen: Array, voice: Array | None = None) -> Float[Array, "b 10"]:
        """Motion behaviour patterns."""
        inputs = (batch_seen, voice) if self.preset == "lite" else (batch_seen,)
        pattern: Any = self.encoder.apply({"params": params["encoder"]}, *inputs)
        return pattern

    def surprise(
        self, params: Any, told: Array, heard: Array, pattern: Array, noise: Array | float = 0.0
    ) -> Float[Array, "b k"]:
        """lite: minus the log density of every key, nats."""
        of: Any = self.decoder.apply({"params": params["decoder"]}, told + noise, heard, pattern)
        return -log_density(told, _scaled(of, params))

    def _losses(
        self, params: Any, rest: dict[str, Any], batch: MotionBatch, step: Array, train: bool
    ) -> tuple[Array, tuple[dict[str, Array], dict[str, Any]]]:
        pattern = self.encode(params, batch.seen, batch.seen_voice)
        if self.preset == "lite":
            noise = jnp.zeros(())
            if train:
                key = stream_key(self.seed, "input noise", step)
                noise = INPUT_NOISE * jax.random.normal(key, batch.told.shape)
            fit = self.surprise(params, batch.told, hear(batch.told_voice), pattern, noise)[:, 2:].mean()
            other = self.encode(params, batch.told, batch.told_voice)
            changed: Any = {}
        else:
            variables = {"params": params["decoder"], **rest}
            if train:
                predicted, changed = self.decoder.apply(
                    variables, batch.told_voice, pattern, train=True, mutable=["batch_stats"]
                )
            else:
                predicted, changed = self.decoder.apply(variables, batch.told_voice, pattern), {}
            away = predicted - batch.told
            fit = jnp.square(away).mean() + VELOCITY_WEIGHT * jnp.square(jnp.diff(away, axis=1)).mean()
            other = self.encode(params, batch.told)
        contrast = pattern_contrast(pattern, other)
        loss = fit + CONTRAST_WEIGHT * contrast
        return loss, ({"loss": loss, "fit": fit, "contrast": contrast}, changed)

    def train_step(self, state: MotionState, batch: MotionBatch) -> tuple[MotionState, dict[str, Array]]:
        """One optimiser step; pure."""
        params = state.variables["params"]
        rest = {k: v for k, v in state.variables.items() if k != "params"}

        def objective(params: Any) -> tuple[Array, Any]:
            return self._losses(params, rest, batch, state.step, train=True)

        (_, (metrics, changed)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, updates), **rest, **changed}
        metrics = {**metrics, "grad_norm": jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(grads)))}
        return MotionState(variables, opt_state, state.step + 1), metrics

    def eval_step(self, state: MotionState, batch: MotionBatch) -> dict[str, Array]:
        """The losses of a batch without noise; pure."""
        rest = {k: v for k, v in state.variables.items() if k != "params"}
        return self._losses(state.variables["params"], rest, batch, state.step, train=False)[1][0]

    def sample(
        self, params: Any, key: Array, voice: Float[Array, "b k 3"], pattern: Float[Array, "b 10"]
    ) -> Float[Array, "b k 6"]:
        """lite: new motions, normal series at the keys, after `BURN_IN` keys to the voice's first rhythm."""
        start = jnp.repeat(voice[:, :1], BURN_IN, axis=1)
        heard = hear(jnp.concatenate([start, voice], 1)).swapaxes(0, 1)

        def step(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
            heard, key = inputs
            of: Any
            memory, of = self.decoder.apply(
                {"params": params["decoder"]}, state, heard, pattern, method="step"
            )
            drawn = jnp.clip(draw(key, _scaled(of, params)), -4.0, 4.0)
            return (memory, drawn, state[1]), drawn

        keys = jax.random.split(key, heard.shape[0])
        state = self.decoder.apply({"params": params["decoder"]}, voice.shape[0], method="start")
        _, drawn = jax.lax.scan(step, state, (heard, keys))
        return drawn.swapaxes(0, 1)[:, BURN_IN:]

    def predict(
        self, variables: Any, mfcc: Float[Array, "b 4t 13"], pattern: Float[Array, "b 10"]
    ) -> Float[Array, "b t 6"]:
        """paper: the one motion that the networks expect, standardised pose at 25 fps."""
        rest = {k: v for k, v in variables.items() if k != "params"}
        out: Any = self.decoder.apply({"params": variables["params"]["decoder"], **rest}, mfcc, pattern)
        return out


def _scaled(of: NextKey, params: Any) -> NextKey:
    """With a person's own noise: `params["log_spread"]` `[6]`, where there is one."""
    if "log_spread" not in params:
        return of
    return of._replace(inverse_root=of.inverse_root * jnp.exp(-params["log_spread"]))
