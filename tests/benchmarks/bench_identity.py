"""What embeddings of a face can tell apart: drawn people in other light, poses and expressions.

    python -m tests.benchmarks.bench_identity --face_model=faces/model.npz --people=100

The model is a full head that `launch.make_faces` wrote. Each person is drawn six times, with and without
things before the face and a camera's faults; all pairs of pictures are compared. Prints the area under the
curve, the equal error rate, the share of same pairs accepted where 1 % of different ones are, and the first
two for pairs whose heads are turned apart by more than 20 degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)
from talkjax.assets.model_file import load_model
from talkjax.data.face_shards import FaceRows, joined
from talkjax.data.head_regions import skin_weight
from talkjax.data.identity_faces import AT_ONCE, drawn_people
from talkjax.data.synthetic_faces import FaceStage
from talkjax.evaluate.identity import pair_scores, verification
from talkjax.evaluate.reconstruction import pose_error
from talkjax.face.lighting import irradiance
from talkjax.face.model import face_verts
from talkjax.face.pose import apply_pose, rotation
from talkjax.infer.descriptors import N_IDENTITY
from talkjax.infer.identity_feature import embed, small_embedding
from talkjax.raster.camera import project
from talkjax.track.regressed import small_network
from talkjax.types import Camera, Pose

_MODEL = flags.DEFINE_string("face_model", None, "Full head (.npz) to draw.", required=True)
_PEOPLE = flags.DEFINE_integer("people", 100, "How many people.")
_SEED = flags.DEFINE_integer("seed", 1001, "Of the drawing; training uses 0 to 3.")
LOOKS, SIZE, TURNED = 6, 128, 20.0
SEEN, DARK = 0.25, 0.05


def draw(stage: FaceStage, faults: bool) -> FaceRows:
    groups = _PEOPLE.value // AT_ONCE
    return joined(list(drawn_people(stage, _SEED.value + faults, groups, LOOKS, SIZE, faults=faults)))


def texture_statistics(stage: FaceStage, lit: bool) -> Callable[[FaceRows], np.ndarray]:
    """As `infer.descriptors.appearance_values` describes an identity: mean albedo of groups of the skin.

    Geometry is the truth, better than any tracker's. `lit`: with the light left in; else the true light is
    taken out.
    """
    skin = np.flatnonzero(skin_weight(stage.regions) > 0.5)
    height = np.asarray(stage.model.mean)[stage.regions.verts][skin, 1]
    groups = np.array_split(np.argsort(-height), N_IDENTITY)

    @jax.jit
    def place(row: FaceRows) -> tuple[jax.Array, jax.Array, jax.Array]:
        pose = Pose(row.euler, row.translation)
        verts = apply_pose(face_verts(stage.drawn, row.id_coeffs, row.exp_coeffs), pose)
        normals = ring_normals(verts, stage.rings)
        light = irradiance(normals, row.sh_coeffs)
        camera = Camera(row.focal, row.center, jnp.float32(10.0))
        return project(verts, camera)[skin], normals[skin, 2], jnp.maximum(light[skin], DARK)

    def describe(rows: FaceRows) -> np.ndarray:
        described = []
        for k in range(len(rows.focal)):
            row = FaceRows(None, *(leaf[k] for leaf in rows[1:]))
            px, facing, light = (np.asarray(x) for x in place(row))
            at = np.float32(px - 0.5)
            color = cv2.remap(rows.images[k], at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR)[0] / 255.0
            albedo = color if lit else color / light
            weight = (facing > SEEN).astype(float)
            means = [np.average(albedo[g].mean(-1), weights=weight[g] + 1e-6) for g in groups]
            described.append(means)
        return np.array(described)

    return describe


def reconstruction(parts: tuple[str, ...]) -> Callable[[FaceRows], np.ndarray]:
    def describe(rows: FaceRows) -> np.ndarray:
        answer, about = small_network()
        said = answer(_middle(rows.images, about["side"]))
        return np.concatenate([np.asarray(getattr(said, part)) for part in parts], -1)

    return describe


def trained(rows: FaceRows) -> np.ndarray:
    network, about = small_embedding()
    return embed(network, list(_middle(rows.images, about["side"])))


def _middle(images: np.ndarray, side: int) -> np.ndarray:
    edge = (images.shape[1] - side) // 2
    return images[:, edge : edge + side, edge : edge + side]


def main(argv: list[str]) -> None:
    del argv
    stage = FaceStage.of(load_model(_MODEL.value))
    describers: dict[str, Callable[[FaceRows], Any]] = {
        "texture statistics, light left in": texture_statistics(stage, lit=True),
        "texture statistics, true light out": texture_statistics(stage, lit=False),
        "reconstruction: shape": reconstruction(("id_coeffs",)),
        "reconstruction: shape and skin": reconstruction(("id_coeffs", "tex_coeffs")),
        "embedding that ships": trained,
    }
    person = np.repeat(np.arange(_PEOPLE.value // AT_ONCE * AT_ONCE), LOOKS)
    print(f"{'':40}{'AUC':>8}{'EER':>8}{'TAR@1%':>8}{'turned: AUC':>14}{'EER':>8}")
    for faults in (False, True):
        rows = draw(stage, faults)
        matrix = np.asarray(rotation(jnp.asarray(rows.euler)))
        a, b = np.triu_indices(len(person), 1)
        apart = pose_error(matrix[a], matrix[b]) > TURNED
        print("with occluders and a camera's faults" if faults else "clean")
        for name, describe in describers.items():
            scores, same = pair_scores(describe(rows), person)
            whole, hard = verification(scores, same), verification(scores[apart], same[apart])
            cells = [whole["auc"], whole["eer"], whole["tar_at_1"]]
            print(
                f"  {name:38}"
                + "".join(f"{x:8.3f}" for x in cells)
                + f"{hard['auc']:14.3f}{hard['eer']:8.3f}"
            )


if __name__ == "__main__":
    app.run(main)
