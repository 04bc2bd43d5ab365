"""Who somebody is, as a vector per frame: the values of the `paper` preset's memory (reference.md §5.4).

Face recognition where its weights are found (`talkjax assets convert --kind=arcface`), else a small embedding
trained on drawn people, which ships (docs/identity_card.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from talkjax.errors import InputError
from talkjax.face.alignment import ARCFACE_FIVE, ARCFACE_SIZE, five_points, landmarks_68, similarity
from talkjax.infer.person import Person, Segment
from talkjax.nets.face_embedding import FaceEmbedding
from talkjax.nets.face_embedding_small import SmallFaceEmbedding
from talkjax.progress import SILENT, Progress
from talkjax.train.params_file import load_params

EMBEDDED = Path(__file__).parents[1] / "data" / "embedded" / "identity_small.npz"
SUBSTITUTE = "a small embedding trained on drawn people, not on photographs"
BATCH = 8
PROJECTION_SEED = 512

Network = Callable[[Any], Any]
"""Pictures [b s s 3] uint8 -> embeddings [b f]."""


class IdentityFeature(NamedTuple):
    """Unit vectors per frame `[t f]`, and which network gave them."""

    values: np.ndarray
    network: str


def aligned_face(
    frame: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "478 c"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """The face as recognition networks want it, by a similarity over five points."""
    # field convention: the center of pixel j is j
    five = five_points(landmarks_68(np.asarray(landmarks)[:, :2])) - 0.5
    size = (ARCFACE_SIZE, ARCFACE_SIZE)
    return cv2.warpAffine(frame, similarity(five, ARCFACE_FIVE), size, flags=cv2.INTER_LINEAR)


def recognition_net(variables: Mapping[str, Any]) -> FaceEmbedding:
    """The network of imported weights; its sizes follow from them."""
    params = variables["params"]
    units = tuple(
        sum(name.startswith(f"stage{k}_") and name.endswith("_norm") for name in params) for k in range(1, 5)
    )
    return FaceEmbedding(units, params["stem"]["bias"].size, params["head"]["bias"].size)


@functools.cache
def small_embedding(path: Path = EMBEDDED) -> tuple[Network, dict[str, Any]]:
    """The substitute, and what is known of it.

    Raises:
      InputError: the file is damaged.
    """
    tree, about = load_params(path)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    return _compiled(SmallFaceEmbedding(about["features"], about["width"]), variables), about


def _compiled(net: Any, variables: Any) -> Network:
    variables = jax.tree.map(jnp.asarray, variables)

    @jax.jit
    def answer(pictures: jax.Array) -> jax.Array:
        return net.apply(variables, pictures.astype(jnp.float32) / 255.0)

    return answer


def embed(network: Network, pictures: list[np.ndarray]) -> Float[np.ndarray, "n f"]:
    """Unit vectors of pictures of one size."""
    padded = np.stack(pictures + pictures[-1:] * (-len(pictures) % BATCH))
    parts = [np.asarray(network(padded[k : k + BATCH])) for k in range(0, len(padded), BATCH)]
    return _unit(np.concatenate(parts)[: len(pictures)])


def identity_feature(
    person: Person, size: int, imported: Mapping[str, Any] | None = None, progress: Progress = SILENT
) -> IdentityFeature:
    """Of every training frame; frames without a face repeat the nearest one that has one.

    Args:
      size: of the vectors; what a network gives is brought to it by a fixed random projection, which keeps
        angles nearly.
      imported: variables of `nets.FaceEmbedding`, where there are some.

    Raises:
      InputError: the imported network takes pictures of another size than 112 x 112.
    """
    if imported is not None:
        _require_size(imported)
    segment = person.train
    seen = np.flatnonzero(segment.valid)
    pictures = []
    with progress("identity", len(seen)) as ticker:
        cut = _aligned(segment) if imported is not None else _squares(person, segment)
        for k in seen:
            pictures.append(cut(int(k)))
            ticker.update(1)
    if imported is None:
        rows, name = embed(small_embedding()[0], pictures), SUBSTITUTE
    else:
        rows, name = (
            embed(_compiled(recognition_net(imported), imported), pictures),
            "ArcFace face recognition",
        )
    nearest = np.abs(np.arange(len(segment))[:, None] - seen).argmin(1)
    return IdentityFeature(projected(rows, size)[nearest], name)


def _require_size(variables: Mapping[str, Any]) -> None:
    inputs, channels = (
        variables["params"]["head"]["kernel"].shape[0],
        8 * variables["params"]["stem"]["bias"].size,
    )
    if inputs != channels * (ARCFACE_SIZE // 16) ** 2:
        raise InputError(
            f"the face recognition network takes pictures of {16 * round((inputs / channels) ** 0.5)} pixels",
            expected=f"{ARCFACE_SIZE} x {ARCFACE_SIZE}",
            fix="convert another one: talkjax assets convert --kind=arcface",
            code="face_embedding_weights",
        )


def projected(rows: Float[np.ndarray, "t v"], size: int) -> Float[np.ndarray, "t d"]:
    """Unit vectors of `size` numbers, by a fixed random projection where they have another length."""
    if rows.shape[1] == size:
        return _unit(rows)
    return _unit(rows @ np.random.default_rng(PROJECTION_SEED).normal(size=(rows.shape[1], size)))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _aligned(segment: Segment) -> Callable[[int], np.ndarray]:
    return lambda k: aligned_face(segment.frame(k), segment.landmarks[k])


def _squares(person: Person, segment: Segment) -> Callable[[int], np.ndarray]:
    """The tracker's squares at the size of the small embedding."""
    crops, side = person.crops(segment.pose), small_embedding()[1]["side"]

    def cut(k: int) -> np.ndarray:
        square = person.cut(segment.frame(k), crops, k)
        return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)

    return cut
