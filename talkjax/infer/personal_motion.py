"""A person's head motion generator: the general decoder, made theirs in seconds, and drawing from it.

Stage `motion` of `talkjax finetune`. The encoder gives the person's behaviour pattern; pattern and noise are
then fitted to the training frames. At last a long draw is compared with the person series by series, and each
is mapped to the person's distribution.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from scipy.special import ndtri

from talkjax.audio.rhythm import pooled_rhythm, voice_rhythm
from talkjax.config import MotionConfig
from talkjax.data.motion_weights import motion_weights_path
from talkjax.infer.backgrounds import body_distance, thumbnails
from talkjax.infer.head_style import KEY_STRIDE, QUANTILES, HeadStyle, fit_head_style, key_count, play_keys
from talkjax.infer.motion_track import MotionTrack
from talkjax.infer.person import Person
from talkjax.infer.voice_response import VoiceResponse, fit_voice_response
from talkjax.nets.motion_decoder import hear
from talkjax.progress import SILENT, Progress
from talkjax.rng import stream_key
from talkjax.tasks.motion import KEYS_SEEN, MotionTask
from talkjax.train.params_file import load_params, save_params

VALIDATED = 0.15
LEARNING_RATE = 0.03
PATTERN_SIGMA, SPREAD_SIGMA = 0.3, 0.5  # of the prior around the encoder's pattern and the decoder's noise
CALIBRATION = (24, 400)  # motions and keys of the long draw
CORRELATION_TRUST = 0.9  # a few seconds show more correlation than there is
FILE = "motion.npz"


class Fitted(NamedTuple):
    """The person's own decoder: `params` of `MotionTask`, `pattern` `[10]`, and its calibration: quantiles
    `[6 q]` of its series in a long draw, `mix` `[6 6]` that gives them the person's correlations, and the
    quantiles after that. `response` is how the series answer the voice."""

    params: Any
    pattern: np.ndarray
    drawn: np.ndarray
    mix: np.ndarray
    mixed: np.ndarray
    response: VoiceResponse


class _Tuned(NamedTuple):
    """What is fitted: pattern `[10]`, log of the noise's factor per series `[6]`."""

    pattern: jax.Array
    log_spread: jax.Array


class HeadMotion:
    """Draws head motions of one person: `motion(wav, n_frames, seed)`."""

    def __init__(self, fitted: Fitted, style: HeadStyle):
        self.fitted, self.style = fitted, style

    def __call__(self, wav: np.ndarray, n_frames: int, seed: int) -> MotionTrack:
        """A motion of `n_frames` at 25 fps to a voice (16 kHz); another one for every seed."""
        rhythm = np.asarray(voice_rhythm(jnp.asarray(wav, jnp.float32), n_frames))
        voice = at_keys(pooled_rhythm(rhythm), key_count(n_frames))
        drawn = draw_keys(self.fitted, voice[None], seed)[0]
        answer = at_keys(self.fitted.response(rhythm), len(drawn))
        euler, translation = play_keys(self.style, calibrated(self.fitted, drawn, answer), n_frames)
        return MotionTrack(euler, translation)


def at_keys(values: Float[np.ndarray, "t c"], n_keys: int) -> Float[np.ndarray, "k c"]:
    """A series of frames at the keys of `head_style.play_keys`, whose first lies one key before frame 0."""
    frames = (np.arange(n_keys) - 1) * KEY_STRIDE
    return values[np.clip(frames, 0, len(values) - 1)]


@functools.cache
def _task() -> MotionTask:
    return MotionTask("lite", steps=1)


_sample = jax.jit(lambda params, key, voice, pattern: _task().sample(params, key, voice, pattern))


def draw_keys(fitted: Fitted, voice: Float[np.ndarray, "b k 3"], seed: int) -> Float[np.ndarray, "b k 6"]:
    """Uncalibrated normal series. Padded to whole minutes, so that few lengths are compiled."""
    n_keys = voice.shape[1]
    whole = -(-n_keys // 500) * 500
    padded = np.concatenate([voice, np.repeat(voice[:, -1:], whole - n_keys, 1)], 1)
    pattern = jnp.broadcast_to(jnp.asarray(fitted.pattern), (len(voice), len(fitted.pattern)))
    drawn = _sample(fitted.params, stream_key(seed, "head motion"), jnp.asarray(padded), pattern)
    return np.asarray(drawn, np.float64)[:, :n_keys]


def calibrated(
    fitted: Fitted, drawn: Float[np.ndarray, "k 6"], answer: Float[np.ndarray, "k 6"]
) -> Float[np.ndarray, "k 6"]:
    """Series mapped so that in the long run each is standard normal, with the person's correlations, and
    answers the voice."""
    return _ranked(_answering(fitted, _ranked(drawn, fitted.drawn), answer), fitted.mixed)


def _answering(fitted: Fitted, ranked: np.ndarray, answer: np.ndarray) -> np.ndarray:
    return np.sqrt(1 - fitted.response.share) * (ranked @ fitted.mix.T) + answer


def _ranked(series: np.ndarray, table: Float[np.ndarray, "6 q"]) -> np.ndarray:
    """Each column through the distribution in its row of the table to a standard normal one."""
    levels = (np.arange(table.shape[1]) + 0.5) / table.shape[1]
    columns = [ndtri(np.interp(z, row, levels)) for z, row in zip(series.T, table, strict=True)]
    return np.stack(columns, 1)


def _quantiles(series: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "6 q"]:
    return np.quantile(series, (np.arange(QUANTILES) + 0.5) / QUANTILES, axis=0).T


def correlation_mix(drawn: Float[np.ndarray, "n 6"], wanted: Float[np.ndarray, "t 6"]) -> np.ndarray:
    """The least change `[6 6]` that turns the covariance of `drawn` into that of `wanted` (optimal transport
    between normal distributions; both of unit spread)."""

    def root(matrix: np.ndarray, power: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.maximum(values, 1e-4) ** power) @ vectors.T

    have = np.corrcoef(drawn.T)
    want = np.corrcoef(wanted.T)
    want = CORRELATION_TRUST * want + (1 - CORRELATION_TRUST) * np.eye(len(want))
    forth, back = root(have, 0.5), root(have, -0.5)
    return back @ root(forth @ want @ forth, 0.5) @ back


def fit_decoder(
    normal: Float[np.ndarray, "t 6"], rhythm: Float[np.ndarray, "t 3"], config: MotionConfig
) -> tuple[Fitted, dict[str, Any]]:
    """The person's decoder from the training frames, and how well it foretells their last 15 %.

    Only the pattern and six noise levels are fitted, with a prior: the networks' own weights learn a clip of
    12 seconds by heart within 30 steps, and its last seconds become unthinkable to them.

    Args:
      normal: series of `head_style.fit_head_style` at 25 fps; rhythm: of the clip's sound.

    Returns:
      The decoder; nats per key of the last frames with the encoder's pattern (`general`) and after a fit to
      the others (`personal`), and the share of each series that answers the voice.
    """
    general, _ = load_params(motion_weights_path())
    params = jax.tree.map(jnp.asarray, general["params"])
    keys, voice = (_phases(values) for values in (normal, pooled_rhythm(rhythm)))
    kept = round(keys.shape[1] * (1 - VALIDATED))
    first = _Tuned(encoded(params, keys[:, :kept], voice[:, :kept]), jnp.zeros(keys.shape[-1]))
    heard = hear(voice)
    later = [
        float(_surprise(tuned, params["decoder"], keys, heard)[:, kept:].mean())
        for tuned in (first, _tune(first, params["decoder"], keys[:, :kept], heard[:, :kept], config.steps))
    ]
    start = _Tuned(encoded(params, keys, voice), jnp.zeros(keys.shape[-1]))
    final = _tune(start, params["decoder"], keys, heard, config.steps)
    own = {"decoder": params["decoder"], "log_spread": final.log_spread}
    empty = np.zeros((keys.shape[-1], 1))
    response = fit_voice_response(np.asarray(normal), np.asarray(rhythm))
    fitted = Fitted(own, np.asarray(final.pattern), empty, np.eye(keys.shape[-1]), empty, response)
    drawn, answer = _long_run(fitted, np.asarray(rhythm), config.seed)
    once = _quantiles(drawn)
    ranked = _ranked(drawn, once)
    fitted = fitted._replace(drawn=once, mix=correlation_mix(ranked, np.asarray(normal)))
    fitted = fitted._replace(mixed=_quantiles(_answering(fitted, ranked, answer)))
    record = {"general": later[0], "personal": later[1]}
    return fitted, record | {"voice_share": [round(float(s), 3) for s in response.share]}


def _phases(values: Float[np.ndarray, "t c"]) -> Float[jax.Array, "3 k c"]:
    """All ways to take every third frame, of one length."""
    length = len(values) // KEY_STRIDE
    return jnp.asarray(np.stack([values[p::KEY_STRIDE][:length] for p in range(KEY_STRIDE)]), jnp.float32)


def encoded(params: Any, keys: jax.Array, voice: jax.Array) -> jax.Array:
    """The encoder's pattern `[10]`, averaged over stretches of the length it was trained on."""
    span = min(KEYS_SEEN, keys.shape[1])
    starts = np.unique(np.linspace(0, keys.shape[1] - span, 4).astype(int))
    seen = jnp.concatenate([keys[:, s : s + span] for s in starts])
    sound = jnp.concatenate([voice[:, s : s + span] for s in starts])
    return _encode(params, seen, sound)


@jax.jit
def _encode(params: Any, seen: jax.Array, sound: jax.Array) -> jax.Array:
    return _task().encode(params, seen, sound).mean(0)


@jax.jit
def _surprise(tuned: _Tuned, decoder: Any, keys: jax.Array, heard: jax.Array) -> jax.Array:
    pattern = jnp.broadcast_to(tuned.pattern, (keys.shape[0], tuned.pattern.shape[-1]))
    params = {"decoder": decoder, "log_spread": tuned.log_spread}
    return _task().surprise(params, keys, heard, pattern)


@functools.partial(jax.jit, static_argnames="steps")
def _tune(start: _Tuned, decoder: Any, keys: jax.Array, heard: jax.Array, steps: int) -> _Tuned:
    """The most probable pattern and noise, given the keys and the prior."""
    optimizer = optax.adam(LEARNING_RATE)

    def objective(tuned: _Tuned) -> jax.Array:
        likely = _surprise(tuned, decoder, keys, heard)[:, 2:].mean()
        away = jnp.square((tuned.pattern - start.pattern) / PATTERN_SIGMA).sum()
        away += jnp.square(tuned.log_spread / SPREAD_SIGMA).sum()
        return likely + 0.5 * away / keys.shape[1]

    def step(_: int, carry: tuple[_Tuned, Any]) -> tuple[_Tuned, Any]:
        tuned, state = carry
        updates, state = optimizer.update(jax.grad(objective)(tuned), state)
        return optax.apply_updates(tuned, updates), state

    return jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0]


def _long_run(fitted: Fitted, rhythm: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of many draws `[n 6]` to the clip's own voice from random places, and the answers to it."""
    count, n_keys = CALIBRATION
    rng = np.random.default_rng([seed, 7])
    whole = np.resize(rhythm, (n_keys * KEY_STRIDE, rhythm.shape[1]))
    voices = [np.roll(whole, rng.integers(len(rhythm)), axis=0) for _ in range(count)]
    heard = np.stack([pooled_rhythm(voice)[::KEY_STRIDE] for voice in voices])
    answers = np.concatenate([fitted.response(voice)[::KEY_STRIDE] for voice in voices])
    drawn = draw_keys(fitted, heard, seed + 1_000_003)
    return drawn.reshape(-1, drawn.shape[-1]), answers


def fit_motion(
    person: Person, wav: np.ndarray, config: MotionConfig, folder: Path, progress: Progress = SILENT
) -> None:
    """Writes `motion.npz` into `folder`: the person's decoder, and how alike the training frames' bodies
    are. Takes seconds; a killed run starts again."""
    segment = person.train
    _, normal = fit_head_style(segment.euler, segment.translation, segment.valid)
    rhythm = np.asarray(voice_rhythm(jnp.asarray(wav, jnp.float32), len(segment)))
    with progress("motion", 2) as ticker:
        fitted, nats = fit_decoder(normal, rhythm, config)
        ticker.update(1)
        corners = segment.landmarks[..., :2]
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        body = body_distance(*thumbnails(segment.frame, boxes))
        ticker.update(1)
    tree = {**fitted._asdict(), "response": fitted.response._asdict(), "body": body.astype(np.float16)}
    save_params(folder / FILE, tree, {"fit": nats, "frames": len(segment)})


def load_motion(folder: Path, person: Person) -> tuple[HeadMotion, Float[np.ndarray, "n n"]]:
    """Generator and body distances of a finished stage."""
    tree, _ = load_params(folder / FILE)
    fitted = Fitted(**{name: tree[name] for name in Fitted._fields})
    fitted = fitted._replace(response=VoiceResponse(**tree["response"]))
    segment = person.train
    style, _ = fit_head_style(segment.euler, segment.translation, segment.valid)
    return HeadMotion(fitted, style), tree["body"].astype(np.float32)
