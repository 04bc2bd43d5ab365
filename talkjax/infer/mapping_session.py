"""A personal mapping, ready for any voice: chunk by chunk, or a whole file by the very same steps.

One compiled program turns the next 40 ms of sound into one frame. Whole files go through it too, so length
needs no memory, and where the chunks end changes no bit of the result. Sound after a frame's start that is
needed before the frame comes out: `LOOKAHEAD_MS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from talkjax.audio.mfcc import FRAME as MFCC_FRAME
from talkjax.audio.mfcc import HOP, PAD, PRE_EMPHASIS, WINDOW, cepstra
from talkjax.audio.running import SPEECH_RANGE
from talkjax.infer.general_weights import SPEECH_FLAG
from talkjax.nets import mapping_stream as frames
from talkjax.tasks.mapping import from_output, make_net
from talkjax.tasks.mapping_general import WARMUP_FRAMES
from talkjax.tasks.mapping_personal import finish_frame
from talkjax.tasks.mapping_targets import Targets

SAMPLES = frames.SAMPLES
LOOKAHEAD_MS = frames.LOOKAHEAD_MS
"""Sound needed after the start of a frame before the frame comes out, `default` preset: 247.5 ms."""
PAPER_BLOCK = 16
"""Frames that the `paper` preset makes at once: its first linear layer is 100 MB, too much to read for each
frame. So its frames come out up to 600 ms later than those of `default`; what a frame depends on is the
same."""
_MIRRORED = (frames.DELAY + 2) * SAMPLES  # samples kept for the end
SPEAKS, SILENT = 0.5, 0.3
"""Speech begins above and ends below these probabilities."""
REST_AFTER, REST_RAMP, WAKE = 12, 8, 3
"""Frames of silence before the mouth begins to come to rest, frames it takes, frames it takes to be free
again."""


@struct.dataclass
class RestState:
    """How long nobody has spoken (frames), whether someone speaks now, and how far the mouth is at rest
    (0..1)."""

    silent: Array
    speaking: Array
    weight: Array


def start_rest() -> RestState:
    """A mouth at rest."""
    return RestState(jnp.int32(REST_AFTER + REST_RAMP), jnp.bool_(False), jnp.float32(1.0))


def feed_rest(state: RestState, probability: Array) -> tuple[RestState, Array]:
    """(state, weight of the resting mouth): eases in some time after the last speech, and out at once."""
    speaking = jnp.where(state.speaking, probability > SILENT, probability > SPEAKS)
    silent = jnp.where(speaking, 0, state.silent + 1)
    wanted = jnp.clip((silent - REST_AFTER) / REST_RAMP, 0.0, 1.0)
    weight = jnp.maximum(wanted, state.weight - 1 / WAKE)
    weight = jnp.where(speaking, jnp.maximum(state.weight - 1 / WAKE, 0.0), weight)
    return RestState(silent, speaking, weight), weight * weight * (3 - 2 * weight)


@dataclasses.dataclass(frozen=True)
class Mapping:
    """A personal mapping, ready for any voice.

    Attributes:
      preset: `default` or `paper`.
      targets: how outputs become coefficients.
      weights: pytree of arrays. `default`: members (tuple of parameters), ridge_weights `[28 40 e+6]`,
        ridge_bias,
        share (of the ridge), gain (of expression), press `[2]`. `paper`: variables. Both: general
        (parameters of the general network, for its sense of speech), rest `[e]` (the closed resting mouth).
    """

    preset: str
    targets: Targets
    weights: Any

    def __call__(self, wav: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Expression `[t e]` and pose `[t 6]` (euler, translation) for a 16 kHz mono wav, of any length."""
        stream = self.stream()
        wav = np.asarray(wav, np.float32)[: n_frames * SAMPLES]
        parts = [stream.push(wav), stream.push(np.zeros(n_frames * SAMPLES - len(wav), np.float32))]
        parts.append(stream.finish())
        exp, pose = (np.concatenate(column) for column in zip(*parts, strict=True))
        return exp, pose

    def stream(self) -> MappingStream:
        """A new session."""
        return MappingStream(self)

    @property
    def n_exp(self) -> int:
        return self.targets.n_exp


class MappingStream:
    """One voice, as it comes: `push` sound, get the frames that are ready; `finish` gives the last ones."""

    def __init__(self, mapping: Mapping):
        start, self._step, self._block = PROGRAMS[mapping.preset]
        weights = jax.tree.map(jnp.asarray, mapping.weights)
        self._constants = (weights, jax.tree.map(jnp.asarray, mapping.targets._asdict()))
        self._n_exp = mapping.n_exp
        self._state = start(*self._constants)
        self._buffer = self._recent = np.zeros(0, np.float32)
        self._received = self._fed = self._given = 0
        self._begun = self._done = False

    def push(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next samples, `[n]` float in [-1, 1] at 16 kHz -> expression `[k e]` and pose `[k 6]`, k >=
        0."""
        chunk = np.asarray(chunk, np.float32)
        if chunk.ndim != 1:
            raise ValueError(f"a chunk of sound is [n] samples, got {chunk.shape}")
        if self._done:
            raise ValueError("this stream was finished; begin another one")
        self._received += len(chunk)
        chunk = np.nan_to_num(chunk, posinf=0.0, neginf=0.0)
        self._recent = np.concatenate([self._recent, chunk])[-_MIRRORED:]
        return self._feed(chunk)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The frames still owed, as if the sound went on backwards; a last frame counts when half of it was
        pushed.

        (A recording's background that suddenly stops would sound like a consonant.)
        """
        total = (self._received + SAMPLES // 2) // SAMPLES
        blocks = -(-(total + frames.DELAY) // self._block)
        missing = blocks * self._block * SAMPLES + frames.LEAD - self._received
        owed = max(total - self._given, 0)
        following = np.zeros(max(missing, 0), np.float32)
        mirrored = self._recent[::-1][: len(following)]
        following[: len(mirrored)] = mirrored
        exp, pose = self._feed(following)
        self._done = True
        return exp[:owed], pose[:owed]

    def _feed(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sound, at = np.concatenate([self._buffer, chunk]), 0
        if not self._begun and len(sound) >= frames.LEAD:
            # a frame's last row reaches a little beyond the frame: programs run this many samples ahead
            self._state, at, self._begun = _with_lead(self._state, sound[: frames.LEAD]), frames.LEAD, True
        made, size = [np.zeros((0, self._n_exp + 6), np.float32)], self._block * SAMPLES
        while self._begun and len(sound) - at >= size:
            self._state, block = self._step(*self._constants, self._state, sound[at : at + size])
            early = max(frames.DELAY - self._fed, 0)  # frames before the first
            made.append(np.asarray(block).reshape(self._block, -1)[early:])
            at, self._fed = at + size, self._fed + self._block
        self._buffer = sound[at:]
        out = np.concatenate(made)
        self._given += len(out)
        return out[:, : self._n_exp], out[:, self._n_exp :]


def _with_lead(state: Any, samples: np.ndarray) -> Any:
    """The state with the very first samples heard, after the zeros before the beginning."""

    def shifted(past: Array) -> Array:
        return jnp.concatenate([past, jnp.asarray(samples)])[-len(past) :]

    changed = {"sound": state["sound"].replace(samples=shifted(state["sound"].samples))}
    if "past" in state:
        changed["past"] = shifted(state["past"])
    return {**state, **changed}


def _blend_rest(frame: Array, state: Any, probability: Array, rest: Array) -> tuple[Any, Array]:
    quiet, weight = feed_rest(state, probability)
    n = rest.shape[-1]
    exp = frame[:n] + weight * (rest - frame[:n])
    return quiet, jnp.concatenate([exp, frame[n:]])


def _general_start(weights: Any) -> dict[str, Any]:
    return {
        "sound": frames.start_sound(),
        "general": frames.start_net(weights["general"]),
        "rest": start_rest(),
    }


def _hear(weights: Any, state: Any, samples: Array) -> tuple[dict[str, Any], Array]:
    """Feeds sound and general network; (new parts of the state, probability of speech)."""
    sound = frames.feed_sound(state["sound"], samples)
    general, hidden = frames.feed_net(weights["general"], state["general"], sound)
    flags = weights["general"]["flags"]
    logit = hidden @ flags["kernel"][:, SPEECH_FLAG] + flags["bias"][SPEECH_FLAG]
    # the network was not scored on the beginning of recordings: there, only what is loud counts as speech
    early = sound.fed - frames.DELAY <= WARMUP_FRAMES
    heard = jnp.where(early & (sound.loudness[0] < -SPEECH_RANGE), 0.0, jax.nn.sigmoid(logit))
    return {"sound": sound, "general": general}, heard


def _settled(rest_state: Any, fed: Array, new: Any) -> Any:
    """Frames before the first one must not move the state."""
    return jax.tree.map(lambda a, b: jnp.where(fed > frames.DELAY, b, a), rest_state, new)


def _start_default(weights: Any, targets: Any) -> dict[str, Any]:
    del targets
    return _general_start(weights) | {"members": tuple(frames.start_net(p) for p in weights["members"])}


def default_output(weights: Any, hidden: list[Array], window: Float[Array, "28 40"]) -> Float[Array, "o"]:
    """Members' mean blended with the ridge, standardised, with the closure logit."""
    heads = [
        h @ p["out"]["kernel"] + p["out"]["bias"] for h, p in zip(hidden, weights["members"], strict=True)
    ]
    out = sum(heads[1:], heads[0]) / len(heads)
    kernel = weights["ridge_weights"]
    linear = window.reshape(-1) @ kernel.reshape(-1, kernel.shape[-1]) + weights["ridge_bias"]
    share = weights["share"]
    face = (1 - share) * out[:-1] + share * linear
    n = len(face) - 6
    return jnp.concatenate([weights["gain"] * face[:n], face[n:], out[-1:]])


@jax.jit
def _step_default(weights: Any, targets: Any, state: Any, samples: Array) -> tuple[Any, Array]:
    new, probability = _hear(weights, state, samples)
    nets, hidden = [], []
    for params, past in zip(weights["members"], state["members"], strict=True):
        net, h = frames.feed_net(params, past, new["sound"])
        nets.append(net)
        hidden.append(h)
    out = default_output(weights, hidden, frames.frame_window(new["sound"]))
    frame = finish_frame(out, Targets(**targets), (weights["press"][0], weights["press"][1]))
    rest, frame = _blend_rest(frame, state["rest"], probability, weights["rest"])
    rest = _settled(state["rest"], new["sound"].fed, rest)
    return {**new, "members": tuple(nets), "rest": rest}, frame


_PAPER_NEEDED = (WINDOW - 1) * HOP + MFCC_FRAME
_PAPER_KEPT = 1 + PAD + (frames.DELAY + 1) * SAMPLES + frames.LEAD
"""Samples from the first that the frame coming out sees (one more for pre-emphasis) to the newest."""


def _start_paper(weights: Any, targets: Any) -> dict[str, Any]:
    net = make_net(len(targets["gap"]))
    return _general_start(weights) | {
        "lstm": net.start_states(),
        "past": jnp.zeros(_PAPER_KEPT),
        "pose": weights["start_pose"],
    }


def _paper_window(state: Any, samples: Array) -> tuple[Array, Float[Array, "28 12"]]:
    """(samples kept, what the network hears for the frame that comes out after these)."""
    past = jnp.concatenate([state[SAMPLES:], samples])
    seen = past[: _PAPER_NEEDED + 1]
    emphasised = seen[1:] - PRE_EMPHASIS * seen[:-1]
    rows = cepstra(emphasised[np.arange(WINDOW)[:, None] * HOP + np.arange(MFCC_FRAME)])
    return past, rows[:, 1:]


@jax.jit
def _step_paper(weights: Any, targets: Any, state: Any, samples: Array) -> tuple[Any, Array]:
    t = Targets(**targets)
    net = make_net(t.n_exp)
    past, windows = jax.lax.scan(_paper_window, state["past"], samples.reshape(PAPER_BLOCK, SAMPLES))
    features = net.apply(weights["variables"], windows[None], method=net.encode)[0]

    def one(state: Any, now: tuple[Array, Array]) -> tuple[Any, Array]:
        samples, feature = now
        heard, probability = _hear(weights, state, samples)
        out, lstm = net.apply(weights["variables"], feature[None, None], state["lstm"], method=net.decode)
        frame = from_output(out[0, 0], t.n_exp) * t.scale + t.mean
        pose = jnp.where(t.relative > 0.5, state["pose"] + frame[-6:], frame[-6:])
        frame = jnp.concatenate([frame[:-6], pose])
        rest, frame = _blend_rest(frame, state["rest"], probability, weights["rest"])
        fed = heard["sound"].fed
        settled = {
            name: _settled(state[name], fed, value)
            for name, value in (("lstm", lstm), ("pose", pose), ("rest", rest))
        }
        return {**heard, **settled}, frame

    moving = {name: value for name, value in state.items() if name != "past"}
    moving, made = jax.lax.scan(one, moving, (samples.reshape(PAPER_BLOCK, SAMPLES), features))
    return {**moving, "past": past}, made


PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "default": (_start_default, _step_default, 1),
    "paper": (_start_paper, _step_paper, PAPER_BLOCK),
}
