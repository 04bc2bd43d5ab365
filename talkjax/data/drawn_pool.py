"""Drawn faces that never leave the devices: a pool of them, renewed while it is trained on.

Faces are drawn `group` at a time, as large as the accelerator likes, and stay until `pool` newer ones are
there. Every step takes rows of the pool at random; `reuse` steps later the oldest group is drawn anew, so
that a face is used `reuse` times on average, each time cut and colored otherwise (`ReconstructionTask.look`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from talkjax.data.face_shards import MARGIN, FaceRows
from talkjax.data.picture_spoil import jpeg
from talkjax.data.reconstruction_rows import batch_of
from talkjax.data.synthetic_faces import FaceStage, draw_faces
from talkjax.errors import InputError
from talkjax.rng import stream_key
from talkjax.tasks.reconstruction import ReconstructionBatch

GROUP = 256
"""Faces drawn by one call, where a batch has so many rows."""


@partial(jax.jit, static_argnames=("stage", "count", "size"))
def draw_rows(stage: FaceStage, key: Array, count: int, size: int) -> FaceRows:
    """`count` faces and their truth on the device, with the faults of a JPEG (quality 60 to 95)."""
    keys = jax.random.split(key)
    pictures, truth = draw_faces(stage, keys[0], count, size, MARGIN)
    coeffs = truth.coeffs
    return FaceRows(
        jnp.round(255 * jpeg(keys[1], pictures)).astype(jnp.uint8),
        *(coeffs.id_coeffs, coeffs.exp_coeffs, coeffs.tex_coeffs, coeffs.sh_coeffs),
        *(truth.pose.euler, truth.pose.translation, truth.camera.focal, truth.camera.center),
    )


def drawn_pool(
    stage: FaceStage, size: int, batch: int, seed: int, pool: int, reuse: int, process: tuple[int, int]
) -> PooledInput:
    """Pools of faces of `size` pixels for process `process[0]` of `process[1]`."""
    group = min(GROUP, batch)
    draw = partial(draw_rows, stage, count=group, size=size)
    n_landmarks = len(stage.landmarks.number)
    return PooledInput(draw, n_landmarks, batch, seed, pool, reuse, group, *process)


@partial(jax.jit, donate_argnums=0)
def _replaced(pool: FaceRows, group: FaceRows, first: Array) -> FaceRows:
    return jax.tree.map(lambda p, g: jax.lax.dynamic_update_slice_in_dim(p, g, first, 0), pool, group)


@partial(jax.jit, static_argnames="count")
def _taken(pool: FaceRows, key: Array, there: Array, count: int) -> FaceRows:
    rows = jax.random.randint(key, (count,), 0, there)
    return jax.tree.map(lambda p: p.at[rows].get(mode="promise_in_bounds"), pool)


@dataclasses.dataclass(frozen=True)
class PooledInput:
    """Input of the training loop (`train.feed.TrainInput`): device arrays, a function of (seed, step) alone.

    Rows i * group .. (i + 1) * group of the global batch have a pool of their own, so that any number of
    processes makes the same batches. Going on at step s draws again what the pools held at s.

    Attributes:
      draw: key -> `group` faces on the device, compiled.
      pool: faces in one of these pools; rounded up to whole groups.
      reuse: steps that a group lasts.
      group: faces drawn at once; divides `batch`.
    """

    draw: Callable[[Array], FaceRows]
    n_landmarks: int
    batch: int
    seed: int
    pool: int
    reuse: int = 4
    group: int = GROUP
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch % (self.group * self.process_count):
            raise InputError(
                f"batch {self.batch} over {self.process_count} processes",
                expected=f"a multiple of {self.group * self.process_count} when faces are drawn into pools",
                code="bad_config",
            )

    def _drawn(self, lane: int, number: int) -> FaceRows:
        return self.draw(stream_key(self.seed, f"pool {lane}", number))

    @property
    def spec(self) -> Any:
        rows = jax.eval_shape(lambda: self._drawn(0, 0))
        batch = batch_of(rows, self.n_landmarks)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.batch, *x.shape[1:]), x.dtype), batch)

    def _lane(self, lane: int, first_step: int) -> Iterator[FaceRows]:
        slots = -(-self.pool // self.group)
        newest = first_step // self.reuse
        pool: FaceRows | None = None
        for number in range(max(newest - slots + 1, 0), newest + 1):
            pool = self._with(pool, slots, lane, number)
        assert pool is not None
        step = first_step
        while True:
            if step // self.reuse > newest:
                newest += 1
                pool = self._with(pool, slots, lane, newest)
            there = jnp.int32(self.group * min(newest + 1, slots))
            yield _taken(pool, stream_key(self.seed, f"rows {lane}", step), there, self.group)
            step += 1

    def _with(self, pool: FaceRows | None, slots: int, lane: int, number: int) -> FaceRows:
        """`pool` (None: an empty one) with group `number` in the place of the oldest."""
        group = self._drawn(lane, number)
        if pool is None:
            pool = jax.tree.map(lambda x: jnp.zeros((slots * len(x), *x.shape[1:]), x.dtype), group)
        return _replaced(pool, group, jnp.int32((number % slots) * self.group))

    def batches(self, first_step: int) -> Iterator[ReconstructionBatch]:
        """This process's rows of steps first_step, ...; never ends."""
        own = self.batch // self.group // self.process_count
        lanes = [self._lane(self.process_index * own + k, first_step) for k in range(own)]
        rest: Any = None
        while True:
            parts = [next(lane) for lane in lanes]
            rows = parts[0] if own == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
            if rest is None:
                whole = batch_of(rows, self.n_landmarks)
                rest = {"known": jnp.asarray(whole.known), "landmarks": jnp.asarray(whole.landmarks)}
            yield ReconstructionBatch(**rows._asdict(), **rest)
