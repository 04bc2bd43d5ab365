"""A voice as it comes, pictures as they are ready: the calls of the programs in fixed blocks.

Where the chunks of sound end changes no bit of any picture: every program is called with the same shapes and
the same numbers, in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from talkjax.infer.bundle.layout import SAMPLES, draw_batch
from talkjax.infer.bundle.play import Play
from talkjax.infer.bundle.programs import Programs, platform_name

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAYED = ("exp", "euler", "translation", "sh", "shown", "gaze")
_DRAWN = ("exp", "euler", "translation", "sh", "shown", "one", "look")


class Session:
    """One voice: `push` sound, `finish` at its end; both give frames `[k h w 3]` uint8 as they are ready."""

    def __init__(
        self,
        programs: Programs,
        starts: Mapping[str, Mapping[str, np.ndarray]],
        play: Play,
        background: Callable[[int], np.ndarray],
    ):
        """Args:
        starts: states before the first block. background: frame of the clip -> `[h w 3]` uint8; called from a
        second thread, ahead of need.
        """
        self._programs, self._play, self._background = programs, play, background
        self._config = programs.config
        self._states: dict[str, Any] = {name: dict(state) for name, state in starts.items()}
        self._sound = Sound(programs, self._states)
        self._mouths: deque[np.ndarray] = deque()
        self._planned: deque[dict[str, Any]] = deque()  # frames whose picture is not made yet
        self._one: deque[np.ndarray] = deque()  # choices for the first of them
        self._blocks = self._next = 0
        self._total: int | None = None
        self._batch = draw_batch(platform_name())
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="talkjax-background")

    def push(self, chunk: np.ndarray) -> Iterator[np.ndarray]:
        """The next samples `[n]`, float in [-1, 1] at 16 kHz -> the frames that are ready.

        The sound is taken at once; pictures are made while the result is gone through, the rest with the next
        call.

        Raises:
          ValueError: not `[n]`, or after `finish`.
        """
        if self._total is not None:
            raise ValueError("this session was finished; begin another one")
        self._mouths.extend(self._sound.push(chunk))
        return self._pictures()

    def finish(self) -> Iterator[np.ndarray]:
        """The frames still owed; a last frame counts when half of it was pushed."""
        if self._total is None:
            mouths, self._total = self._sound.finish()
            self._mouths.extend(mouths)
        return self._pictures()

    def _pictures(self) -> Iterator[np.ndarray]:
        while True:
            while self._can_draw():
                yield self._draw()
            if not self._plan():
                break
        if self._total is not None and not self._planned:
            self._ahead.shutdown()

    def _plan(self) -> bool:
        """Chooses look-alikes for one more block, if there is one."""
        block, total = self._config.block, self._total
        ended = total is not None and self._next + len(self._mouths) >= total
        if len(self._mouths) < block and not ((ended and self._planned) or (ended and self._mouths)):
            return False
        rows: list[dict[str, Any]] = []
        while self._mouths and len(rows) < block and (total is None or self._next < total):
            row = self._play.row(self._next, self._mouths.popleft())
            row["frame"] = self._ahead.submit(self._background, self._play.source(self._next))
            rows.append(row)
            self._next += 1
        valid = np.arange(block) < len(rows)
        last = rows[-1] if rows else self._planned[-1]
        padded = [*rows, *[last] * (block - len(rows))]
        inputs = {
            name: np.stack([row[name] for row in padded]) for name in _PLAYED if name not in ("sh", "shown")
        }
        self._states["choose"], made = self._programs(
            "choose", self._states["choose"], inputs | {"valid": valid}
        )
        chosen = {name: np.asarray(made[name]) for name in ("look", "code")}
        for k, row in enumerate(rows):
            row |= {name: values[k] for name, values in chosen.items()}
        self._planned.extend(rows)
        early = max(self._config.lookahead - self._blocks * block, 0)  # choices for frames before the first
        self._one.extend(np.asarray(made["one"])[early:])
        self._blocks += 1
        return True

    def _can_draw(self) -> bool:
        ready = min(len(self._one), len(self._planned))
        last = self._total is not None and self._next >= self._total and ready == len(self._planned)
        return ready >= self._batch or (last and ready > 0)

    def _draw(self) -> np.ndarray:
        """One batch of pictures; a last one that is not full is filled up with its last frame."""
        count = min(self._batch, len(self._planned))
        rows = [self._planned.popleft() | {"one": self._one.popleft()} for _ in range(count)]
        rows += [rows[-1]] * (self._batch - count)
        frame = np.stack([row["frame"].result() for row in rows])
        _, shape = self._programs("shape", {name: np.stack([row[name] for row in rows]) for name in _DRAWN})
        _, layers = self._programs("layers", shape | {"frame": frame})
        over = {name: layers[name] for name in ("lit", "background", "alpha")}
        inputs = over | {"region": shape["region"], "code": np.stack([row["code"] for row in rows])}
        self._states["refine"], refined = self._programs("refine", self._states["refine"], inputs)
        pasted = {name: layers[name] for name in ("background", "alpha", "moved")}
        pasted |= {"frame": frame, "center": shape["center"], "side": shape["side"], "face": refined["face"]}
        _, made = self._programs("paste", pasted)
        return np.asarray(made["picture"])[:count]


class Sound:
    """The mapping's calls: samples in, one mouth per frame out; see `mapping_session.MappingStream`."""

    def __init__(self, programs: Programs, states: dict[str, Any]):
        self._programs, self._states, self._config = programs, states, programs.config
        self._buffer = self._recent = np.zeros(0, np.float32)
        self._received = self._fed = self._given = 0
        self._begun = False

    def push(self, chunk: np.ndarray) -> list[np.ndarray]:
        """The next samples -> mouths `[e]`."""
        chunk = np.asarray(chunk, np.float32)
        if chunk.ndim != 1:
            raise ValueError(f"a chunk of sound is [n] samples, got {chunk.shape}")
        self._received += len(chunk)
        chunk = np.nan_to_num(chunk, posinf=0.0, neginf=0.0)
        mirrored = (self._config.delay + 2) * SAMPLES
        self._recent = np.concatenate([self._recent, chunk])[-mirrored:]
        return self._feed(chunk)

    def finish(self) -> tuple[list[np.ndarray], int]:
        """(the mouths still owed, number of frames in all), as if the sound went on backwards."""
        config, total = self._config, (self._received + SAMPLES // 2) // SAMPLES
        blocks = -(-(total + config.delay) // config.sound_block)
        missing = blocks * config.sound_block * SAMPLES + config.lead - self._received
        owed = max(total - self._given, 0)
        following = np.zeros(max(missing, 0), np.float32)
        mirrored = self._recent[::-1][: len(following)]
        following[: len(mirrored)] = mirrored
        return self._feed(following)[:owed], total

    def _feed(self, chunk: np.ndarray) -> list[np.ndarray]:
        config, sound, at = self._config, np.concatenate([self._buffer, chunk]), 0
        if not self._begun and len(sound) >= config.lead:
            # a frame's last row reaches a little beyond the frame: the program runs so many samples ahead
            self._lead(sound[: config.lead])
            at, self._begun = config.lead, True
        made, size = [], config.sound_block * SAMPLES
        while self._begun and len(sound) - at >= size:
            samples = sound[at : at + size].reshape(-1, SAMPLES)
            self._states["sound"], out = self._programs("sound", self._states["sound"], {"samples": samples})
            early = max(config.delay - self._fed, 0)  # frames before the first
            made += list(np.asarray(out["exp"])[early:])
            at, self._fed = at + size, self._fed + config.sound_block
        self._buffer = sound[at:]
        self._given += len(made)
        return made

    def _lead(self, samples: np.ndarray) -> None:
        state = self._states["sound"]
        for name in ("sound/samples", "past"):
            if name in state:
                past = np.asarray(state[name])
                state[name] = np.concatenate([past, samples])[-len(past) :]
