"""Several drawn pictures of one and the same person, for many people: what a face embedding learns from.

Within a person, bones and paint stay (skin, lips, hair, brows, eyes, beard, freckles); expression, pose,
light, camera, background, clothes, loose hair and the camera's faults change from picture to picture.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.data.synthetic_faces import (
    FaceScenes,
    FaceStage,
    FaceTruth,
    compose,
    sample_scenes,
    scene_truth,
)


def of_same_people(scenes: FaceScenes, looks: int) -> FaceScenes:
    """Rows `looks` by `looks` become one person; clothes and loose hair stay each row's own."""
    count = scenes.id_coeffs.shape[0]
    who = jnp.arange(count) // looks * looks
    paint = jax.tree.map(lambda leaf: leaf[who], scenes.paint)
    # where the brows sit (the last column) belongs to the person
    loose = jnp.concatenate([scenes.paint.side_hair[:, :3], paint.side_hair[:, 3:]], -1)
    paint = paint.replace(cloth=scenes.paint.cloth, side_hair=loose)
    return scenes.replace(id_coeffs=scenes.id_coeffs[who], paint=paint)


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
