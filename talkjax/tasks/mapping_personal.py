"""One person's sound-to-face mapping (`default`): fine-tuning of the general network.

A few members that differ in their seeds speak with their mean, into which a ridge regression is blended. A
closure output presses the lips together where they should be shut: an average of open and closed is a mumble.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
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
from talkjax.tasks.mapping_targets import Targets

SEQUENCE_FRAMES = 96
BATCH = 8
MEMBERS = 3
FROZEN: tuple[str, ...] = ()
"""Layers that fine-tuning leaves as general training made them. speech.md froze the two input convolutions
at a rate of 1e-3; a lower rate, fewer steps and all layers free did better within the training parts of both
halves."""
DROPOUT = 0.15
LEARNING_RATE = 3e-4
WEIGHTS = {
    "expression": 0.05,
    "pose": 0.02,
    "lips": 0.3,
    "gap": 1.0,
    "velocity": 0.5,
    "closed": 0.1,
    "correlation": 0.0,
    "spread": 0.0,
}
PRESS = (0.45, 0.85)
"""Probability of closed lips at which pressing begins and is complete, where nothing is calibrated."""
PRESS_BELOW = 0.1
PRESS_ABOVE = {0.95: 0.1, 0.8: 0.4}
"""AUC of the closure output on frames left out -> width of the band above the calibrated probability.

A narrow band closes decisively, which only a person whose closures are heard surely deserves; else it
costs correlation (chosen within the training parts of the development clip)."""
GAIN = 1.25
"""Of expression around its mean: what minimises an error on little data moves too little."""


class PersonalBatch(NamedTuple):
    """Sequences of t frames: `rows` `[b 4t 40]` raw log-mel, `target` `[b t e+6]` standardised, `closed` `[b
    t]` in 0..1."""

    rows: Any
    target: Any
    closed: Any


@struct.dataclass
class PersonalState:
    """Everything that training changes; the member's own seed and the person's targets, which it does not
    (so that one compiled step serves every member and every person)."""

    params: Any
    opt_state: Any
    step: Array
    seed: Array
    targets: Targets


def personal_net(n_exp: int) -> DefaultMappingNet:
    """One head `out`: expression, pose, closed-lips logit."""
    return DefaultMappingNet(heads=(("out", n_exp + 7),), dropout=DROPOUT)


def trunk(params: Dict[str, Any]) -> dict[str, Any]:
    """The parameters of a `DefaultMappingNet` without its heads."""
    return {k: v for k, v in params.items() if k.startswith(("front", "block", "mix"))}


class PersonalMappingTask:
    """Network, losses and optimiser for `n_exp` expression coefficients. Holds no state."""

    def __init__(
        self,
        n_exp: int,
        steps: int,
        *,
        frozen: tuple[str, ...] = FROZEN,
        learning_rate: float = LEARNING_RATE,
        weights: Dict[str, float] = WEIGHTS,
    ):
        self.n_exp, self.weights = n_exp, weights
        self.net = personal_net(n_exp)
        schedule = optax.cosine_decay_schedule(learning_rate, steps, 0.02)
        learn = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))
        self.optimizer = optax.multi_transform(
            {"learn": learn, "keep": optax.set_to_zero()},
            lambda params: {
                k: jax.tree.map(lambda _, k=k: "keep" if k in frozen else "learn", v)
                for k, v in params.items()
            },
        )

    def init(self, targets: Targets, seed: int, start: Dict[str, Any] | None = None) -> PersonalState:
        """A member that begins at `start` (one network's parameters), or at random."""
        if start is None:
            params = jax.jit(self.net.init)(stream_key(seed, "init"), jnp.zeros((1, 8, 40)))["params"]
            params = {**params, "out": jax.tree.map(lambda x: 0.1 * x, params["out"])}
        else:
            params = jax.tree.map(jnp.asarray, dict(start))
        return PersonalState(params, self.optimizer.init(params), jnp.int32(0), jnp.int32(seed), targets)

    def loss(
        self, out: Float[Array, "b t o"], target: Array, closed: Array, targets: Targets
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """(total, terms) of one member's output."""
        n, t = self.n_exp, targets
        error = out[..., :-1] - target
        lips = error[..., :n] @ t.lips
        size = jnp.sqrt(jnp.mean(jnp.sum(jnp.asarray(t.lips) ** 2, 0)))
        gap = error[..., :n] @ t.gap / t.gap_scale
        said, wanted = (x[..., :n] @ t.gap / t.gap_scale for x in (out[..., :-1], target))
        everywhere = jnp.ones((*gap.shape, 1), bool)
        terms = {
            "expression": jnp.mean(error[..., :n] ** 2),
            "pose": jnp.mean(error[..., n:] ** 2),
            "lips": jnp.mean((lips / size) ** 2),
            "gap": jnp.mean(gap**2),
            "velocity": jnp.mean(jnp.diff(gap, axis=1) ** 2)
            + 0.5 * jnp.mean((jnp.diff(lips, axis=1) / size) ** 2),
            "closed": optax.sigmoid_binary_cross_entropy(out[..., -1], closed).mean(),
            "correlation": losses.one_minus_correlation(said[..., None], wanted[..., None], everywhere),
            "spread": losses.spread_error(said[..., None], wanted[..., None], everywhere),
        }
        return sum((self.weights[name] * term for name, term in terms.items()), start=jnp.float32(0)), terms

    def train_step(
        self, state: PersonalState, batch: PersonalBatch
    ) -> tuple[PersonalState, dict[str, Array]]:
        """One optimiser step; pure. Randomness follows from the seed and the step."""
        keys = [stream_key(state.seed, name, state.step) for name in ("spoil", "hide", "dropout")]
        rows = normalize_rows(spoil_rows(keys[0], batch.rows, strength=0.5))
        rows = hide_bands(keys[1], rows)

        def objective(params: Any) -> tuple[Array, dict[str, Array]]:
            outputs, _ = self.net.apply({"params": params}, rows, train=True, rngs={"dropout": keys[2]})
            return self.loss(outputs["out"], batch.target, batch.closed, state.targets)

        (loss, _), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "gradient": _norm(grads)}
        return PersonalState(params, opt_state, state.step + 1, state.seed, state.targets), metrics

    def standardised(self, params: Any, rows: Float[Array, "r 40"]) -> Float[Array, "t o"]:
        """One member's outputs for one recording's normalised rows, at once."""
        return self.net.apply({"params": params}, rows[None])[0]["out"][0]


def _norm(tree: Any) -> Array:
    """Length of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def general_start(
    general: Dict[str, Any],
    outputs: np.ndarray,
    target: np.ndarray,
    closed: np.ndarray,
    strength: float = 30.0,
) -> dict[str, Any]:
    """A network that begins as the general one, read with the person's own meaning.

    The new head is the general head followed by a regression of the person's coefficients on its outputs.

    Args:
      general: parameters with the heads `face` and `flags`.
      outputs: `[t o]` of both heads, side by side, for the training sound.
      target: `[t e+6]` standardised. closed: `[t]` in 0..1.
    """
    wanted = np.concatenate([target, 4.0 * closed[:, None] - 2.0], axis=1)  # logits of about 0.1 and 0.9
    mean, scale = outputs.mean(0), outputs.std(0) + 1e-3
    x = (outputs - mean) / scale
    a = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (wanted - wanted.mean(0)))
    kernel = np.concatenate([np.asarray(general[h]["kernel"], np.float32) for h in ("face", "flags")], 1)
    bias = np.concatenate([np.asarray(general[h]["bias"], np.float32) for h in ("face", "flags")])
    a = a / scale[:, None]
    head = {"kernel": kernel @ a, "bias": (bias - mean) @ a + wanted.mean(0)}
    start = {**trunk(general), "out": head}
    return jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), start)


def calibrated_press(logits: np.ndarray, closed_share: float, auc: float) -> np.ndarray:
    """`[2]` probabilities at which pressing begins and is complete.

    It begins where as many training frames lie above as have closed lips.

    Args:
      logits: `[t]` closure output on the training frames. closed_share: of them with closed lips.
      auc: of the closure output on training frames that were left out; nan where it is not known.
    """
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    middle = float(np.quantile(probability, 1 - min(max(closed_share, 0.02), 0.6)))
    known = sorted(PRESS_ABOVE)
    widths = [PRESS_ABOVE[k] for k in known]
    above = float(np.interp(auc if np.isfinite(auc) else 0.0, known, widths))
    return np.array([middle - PRESS_BELOW, middle + above], np.float32)


def finish_frame(
    out: Float[Array, "*b o"], targets: Targets, press: tuple[float, float] = PRESS
) -> Float[Array, "*b e+6"]:
    """Standardised output with its closure logit -> coefficients in their own units, lips pressed where
    closed."""
    n = targets.n_exp
    standard, logit = out[..., :-1], out[..., -1]
    gap = targets.gap_mean + standard[..., :n] @ jnp.asarray(targets.gap)
    x = jnp.clip((jax.nn.sigmoid(logit) - press[0]) / (press[1] - press[0]), 0.0, 1.0)
    shut = x * x * (3 - 2 * x)
    wanted = gap + shut * (jnp.minimum(gap, targets.closed_gap) - gap)
    exp = standard[..., :n] + (wanted - gap)[..., None] * jnp.asarray(targets.closer)
    return jnp.concatenate([exp, standard[..., n:]], -1) * targets.scale + targets.mean
