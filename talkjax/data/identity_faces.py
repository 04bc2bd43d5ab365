"""Several drawn pictures of one and the same person, for many people: what a face embedding learns from.

Within a person, bones and paint stay (skin, lips, hair, brows, eyes, beard, freckles); expression, pose,
light, camera, background, clothes, loose hair and the camera's faults change from picture to picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from talkjax.data.face_shards import MARGIN, FaceRows, rows_of
from talkjax.data.synthetic_faces import (
    FaceScenes,
    FaceStage,
    FaceTruth,
    compose,
    sample_scenes,
    scene_truth,
)
from talkjax.tasks.identity import IdentityBatch

AT_ONCE = 4
"""People drawn by one call."""
PER_SEED = 100
_QUALITY = (60, 96)


def of_same_people(scenes: FaceScenes, looks: int) -> FaceScenes:
    """Rows `looks` by `looks` become one person; clothes and loose hair stay each row's own."""
    count = scenes.id_coeffs.shape[0]
    who = jnp.arange(count) // looks * looks
    paint = jax.tree.map(lambda leaf: leaf[who], scenes.paint)
    # where the brows sit (the last column) belongs to the person
    loose = jnp.concatenate([scenes.paint.side_hair[:, :3], paint.side_hair[:, 3:]], -1)
    paint = dataclasses.replace(paint, cloth=scenes.paint.cloth, side_hair=loose)
    return dataclasses.replace(scenes, id_coeffs=scenes.id_coeffs[who], paint=paint)


@partial(jax.jit, static_argnames=("stage", "people", "looks", "size", "margin", "faults"))
def draw_people(
    stage: FaceStage,
    key: Array,
    people: int,
    looks: int,
    size: int,
    margin: float = 1.0,
    faults: bool = True,
) -> tuple[Float[Array, "n s s 3"], FaceTruth]:
    """`people * looks` pictures in [0, 1], those of a person side by side, and their truth.

    Args:
      margin: side of the picture over that of the tracker's square, which is in its middle.
      faults: whether things hide the face and a camera spoils the picture.
    """
    count, keys = people * looks, jax.random.split(key, 4)
    scenes = of_same_people(sample_scenes(stage, keys[0], count, size, margin), looks)
    return compose(stage, scenes, keys[1:], size, faults), scene_truth(stage, scenes, size)


def drawn_people(
    stage: FaceStage, seed: int, groups: int, looks: int, size: int, *, faults: bool = True
) -> Iterator[FaceRows]:
    """`groups` times `AT_ONCE` people, as a camera's JPEG has them; a function of the arguments alone.

    Every `PER_SEED` groups begin a seed of their own, so that parts can be drawn in any order.
    """
    for first in range(0, groups, PER_SEED):
        own = seed + first // PER_SEED
        key, rng = jax.random.key(own), np.random.default_rng(own)
        for group in range(min(PER_SEED, groups - first)):
            part = jax.random.fold_in(key, group)
            rows = rows_of(*draw_people(stage, part, AT_ONCE, looks, size, MARGIN, faults))
            yield rows._replace(images=np.stack([_through_jpeg(rng, image) for image in rows.images]))


def _through_jpeg(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*_QUALITY))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR))


def identity_batch(
    pictures: UInt8[np.ndarray, "p l s s 3"], seed: int, step: int, people: int, looks: int, side: int
) -> IdentityBatch:
    """Some people, some looks of each, cut, mirrored and tinted at random: a function of the step.

    Args:
      pictures: of p people in l looks, larger than `side`.
    """
    rng = np.random.default_rng([seed, step])
    chosen, images = rng.choice(len(pictures), people, replace=False), []
    room = pictures.shape[2] - side
    for person in chosen:
        for look in rng.choice(pictures.shape[1], looks, replace=False):
            y, x = rng.integers(room // 8, room - room // 8 + 1, 2)
            image = pictures[person, look, y : y + side, x : x + side]
            image = image[:, ::-1] if rng.random() < 0.5 else image
            tint = 1 + 0.08 * rng.normal(size=3) + 0.1 * rng.normal()
            images.append(np.clip(image * tint, 0, 255).astype(np.uint8))
    return IdentityBatch(np.stack(images), np.repeat(chosen, looks).astype(np.int32))
