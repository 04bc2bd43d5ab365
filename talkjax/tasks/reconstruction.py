"""Training of the reconstruction network: pure `init`, `train_step`, `eval_step`.

Two sources of teaching, in any mixture of rows: drawn faces whose coefficients are known, and pictures of
which nothing is known but landmarks, explained through the rasterizer (reference.md §2.5, with its weights).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float

from talkjax.face.coarse_mesh import coarse_mesh
from talkjax.face.crop_pose import network_camera, repose
from talkjax.face.lighting import shade
from talkjax.face.model import face_verts, vertex_normals
from talkjax.face.points import at_vertices, landmark_part
from talkjax.face.pose import apply_pose
from talkjax.losses import known_coeffs as known_losses
from talkjax.losses import reconstruction_face as seen_losses
from talkjax.numerics import einsum, safe_norm
from talkjax.raster.camera import project, to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.topology import Topology
from talkjax.rng import stream_key
from talkjax.tasks.accumulation import accumulated
from talkjax.types import Camera, FaceCoeffs, FaceModel, Pose

WARMUP_STEPS = 200
AVERAGE_DECAY = 0.998
UNIT = 0.05
"""dm: shape errors count in these (about 5 % of the distance between the eyes)."""
KNOWN_WEIGHTS = {
    "shape": 1.5,
    "identity": 1.0,
    "expression": 0.5,
    "exp": 16.0,
    "turn": 40.0,
    "landmarks": 1.0,
    "depth": 2.0,
    "texture": 0.1,
    "light": 1.0,
}


class ReconstructionBatch(NamedTuple):
    """Pictures larger than what the network sees, with what is known of them.

    images: [b s s 3] uint8. id_coeffs [b k], exp_coeffs [b e], tex_coeffs [b x], sh_coeffs [b 3 9]: the
    truth, where there is one. euler, translation [b 3], focal [b], center [b 2]: the head's pose before the
    camera of the picture, in its pixels. known: [b] 1 where all that is true, 0 where pose and coefficients
    are not. landmarks: [b l 2] px in the picture (NaN: to be projected from the truth).
    """

    images: Any
    id_coeffs: Any
    exp_coeffs: Any
    tex_coeffs: Any
    sh_coeffs: Any
    euler: Any
    translation: Any
    focal: Any
    center: Any
    known: Any
    landmarks: Any


@struct.dataclass
class ReconstructionState:
    """Everything that training changes; `average` is what is kept in the end."""

    params: Any
    batch_stats: Any
    average: Any
    opt_state: Any
    step: Array


@struct.dataclass
class Measures:
    """A face model as the losses need it; a constant of the step.

    shape_form, id_form, exp_form: mean squared displacement of `skin_verts`, the model's vertices that are
    compared. landmark_*: at the landmarks, with weights. front: the part of the model that is drawn for the
    photometric term, `skin` its vertices that count. head_center: place that crops are cut around, dm.
    """

    skin_verts: Array

    shape_form: Array
    id_form: Array
    exp_form: Array
    tex_form: Array
    landmark_mean: Array
    landmark_id: Array
    landmark_exp: Array
    landmark_weights: Array
    head_center: Array
    front: FaceModel
    topology: Topology
    skin: Array

    @property
    def n_id(self) -> int:
        return int(self.id_form.shape[0])


def make_measures(
    model: FaceModel,
    front: np.ndarray,
    skin: np.ndarray,
    weights: np.ndarray,
    head_center: np.ndarray,
    spacing: float = 0.0,
) -> Measures:
    """Args:
    model: any linear face model with landmarks and a texture.
    front: [v] bool, the vertices that the photometric term draws. skin: [v] bool, those that are compared.
    weights: [l] of the model's landmarks.
    head_center: [3] dm, model space.
    spacing: dm, least distance of the vertices that are drawn (`face/coarse_mesh.py`); 0: all are.

    Raises:
      ValueError: the model has no texture.
    """
    verts = np.flatnonzero(front)
    number = np.cumsum(front) - 1
    faces = np.asarray(model.faces)
    faces = number[faces[front[faces].all(1)]].astype(np.int32)
    if spacing > 0:
        kept, faces = coarse_mesh(np.asarray(model.mean)[verts], faces, spacing)
        verts = verts[kept]
    part = landmark_part(model)
    counted = np.flatnonzero(skin)
    id_basis, exp_basis = np.asarray(model.id_basis)[:, counted], np.asarray(model.exp_basis)[:, counted]
    both = np.concatenate([id_basis, exp_basis])
    if model.tex_mean is None or model.tex_basis is None:
        raise ValueError(f"model {model.name} has no texture")
    tex = np.asarray(model.tex_basis)[:, counted]
    cut = dataclasses.replace(at_vertices(model, verts), faces=jnp.asarray(faces))
    return Measures(
        skin_verts=jnp.asarray(counted, jnp.int32),
        shape_form=jnp.asarray(known_losses.vertex_form(both)),
        id_form=jnp.asarray(known_losses.vertex_form(id_basis)),
        exp_form=jnp.asarray(known_losses.vertex_form(exp_basis)),
        tex_form=jnp.asarray(known_losses.vertex_form(tex)),
        landmark_mean=jnp.asarray(part.mean),
        landmark_id=jnp.asarray(part.id_basis),
        landmark_exp=jnp.asarray(part.exp_basis),
        landmark_weights=jnp.asarray(weights / weights.mean(), jnp.float32),
        head_center=jnp.asarray(head_center, jnp.float32),
        front=cut,
        topology=Topology.from_faces(faces, len(verts)),
        skin=jnp.asarray(skin[verts], jnp.float32),
    )


def landmarks_px(measures: Measures, coeffs: FaceCoeffs, pose: Pose, camera: Camera) -> Float[Array, "b l 2"]:
    """Where `camera` sees the landmarks."""
    shape = measures.landmark_mean + einsum("bk,klc->blc", coeffs.id_coeffs, measures.landmark_id)
    shape = shape + einsum("be,elc->blc", coeffs.exp_coeffs, measures.landmark_exp)
    return jax.vmap(project)(apply_pose(shape, pose), camera)


class View(NamedTuple):
    """What the network sees of a batch: images [b s s 3] in [0, 1], the camera in their pixels, the network's
    own camera, the true pose before each, landmarks in px."""

    images: Array
    camera: Camera
    network: Camera
    pose: Pose
    network_pose: Pose
    landmarks: Array


class ReconstructionTask:
    """Network, losses and optimizer. Holds no state.

    Args:
      net: `.apply(variables, images, train=) -> FaceCoeffs`; with or without `batch_stats`.
      side: of the network's input, px.
      photometric: factor of the self-supervised terms; 0 leaves the rasterizer out of the step.
    """

    def __init__(
        self,
        net: Any,
        side: int,
        steps: int,
        learning_rate: float = 1e-3,
        seed: int = 0,
        *,
        photometric: float = 0.0,
        accumulate: int = 1,
    ):
        self.net, self.side, self.seed, self.photometric = net, side, seed, photometric
        warmup = min(WARMUP_STEPS, max(steps // 10, 1))
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, learning_rate, warmup, max(steps, warmup + 1), 0.01 * learning_rate
        )
        optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(schedule, weight_decay=1e-3))
        self.optimizer = accumulated(optimizer, accumulate)

    def init(self) -> ReconstructionState:
        image = jnp.zeros((1, self.side, self.side, 3))
        variables = jax.jit(self.net.init)(stream_key(self.seed, "init"), image)
        params = variables["params"]
        stats = variables.get("batch_stats", {})
        return ReconstructionState(params, stats, params, self.optimizer.init(params), jnp.int32(0))

    def predict(self, params: Any, batch_stats: Any, images: Float[Array, "b s s 3"]) -> FaceCoeffs:
        """Coefficients of crops in [0, 1], the pose before the crop's own camera."""
        variables = {"params": params} | ({"batch_stats": batch_stats} if batch_stats else {})
        return self.net.apply(variables, images)

    def look(self, batch: ReconstructionBatch, measures: Measures, key: Array | None = None) -> View:
        """Cuts what the network sees: the middle, or a random place with small changes of color."""
        images = jnp.asarray(batch.images).astype(jnp.float32) / 255
        count, full = images.shape[:2]
        spare = full - self.side
        corner = jnp.full((count, 2), spare // 2)
        if key is not None:
            keys = jax.random.split(key, 3)
            corner = jax.random.randint(keys[0], (count, 2), 0, spare + 1)
        cut = jax.vmap(
            lambda image, c: jax.lax.dynamic_slice(image, (c[1], c[0], 0), (self.side, self.side, 3))
        )(images, corner)
        if key is not None:
            gain = 1 + 0.08 * jax.random.normal(keys[1], (count, 1, 1, 3))
            # even, of deviation 0.015: a byte each costs a tenth of normal numbers on a CPU
            noise = (jax.random.bits(keys[2], cut.shape, jnp.uint8).astype(jnp.float32) - 127.5) * 2.03e-4
            cut = jnp.clip(cut * gain + noise, 0.0, 1.0)
        distance = jnp.full((count,), 10.0)
        shift = corner.astype(jnp.float32)
        camera = Camera(focal=jnp.asarray(batch.focal), center=batch.center - shift, distance=distance)
        network = network_camera(jnp.full((count, 2), self.side / 2), jnp.full((count,), float(self.side)))
        pose = Pose(jnp.asarray(batch.euler), jnp.asarray(batch.translation))
        true = FaceCoeffs(batch.id_coeffs, batch.exp_coeffs, batch.tex_coeffs, pose, batch.sh_coeffs)
        marked = jnp.asarray(batch.landmarks) - shift[:, None]
        marked = jnp.where(jnp.isfinite(marked), marked, landmarks_px(measures, true, pose, camera))
        seen = repose(pose, measures.head_center, camera, network)
        return View(cut, camera, network, pose, seen, marked)

    def known_terms(
        self, said: FaceCoeffs, batch: ReconstructionBatch, view: View, measures: Measures
    ) -> dict[str, Array]:
        """Per row, against the truth; shape in `UNIT`, landmarks in per cent of the crop's side."""
        d_id, d_exp = said.id_coeffs - batch.id_coeffs, said.exp_coeffs - batch.exp_coeffs
        d_both = jnp.concatenate([d_id, d_exp], -1)
        pose = repose(said.pose, measures.head_center, view.network, view.camera)
        px = landmarks_px(measures, said, pose, view.camera)
        off = (px - view.landmarks) * (100 / self.side)
        middle = [apply_pose(measures.head_center[None], p)[:, 0] for p in (said.pose, view.network_pose)]
        size = said.tex_coeffs - batch.tex_coeffs
        return {
            "shape": known_losses.squared_distance(measures.shape_form, d_both) / UNIT**2,
            "identity": known_losses.squared_distance(measures.id_form, d_id) / UNIT**2,
            "expression": known_losses.squared_distance(measures.exp_form, d_exp) / UNIT**2,
            "exp": jnp.mean(jnp.abs(d_exp), -1),
            "turn": known_losses.turn(said.pose.euler, view.network_pose.euler),
            "landmarks": jnp.mean(measures.landmark_weights * safe_norm(off), -1),
            "depth": jnp.sum((middle[0] - middle[1]) ** 2, -1),
            "texture": 100 * known_losses.squared_distance(measures.tex_form, size),
            "light": known_losses.light_error(said.sh_coeffs, batch.sh_coeffs),
        }

    def seen_terms(self, said: FaceCoeffs, view: View, measures: Measures) -> dict[str, Array]:
        """From the pictures and their landmarks alone; names and weights of `losses/reconstruction_face`."""
        pose = repose(said.pose, measures.head_center, view.network, view.camera)
        image, skin = draw_front(measures, said, pose, view.camera, self.side)
        attention = seen_losses.skin_attention(view.images, skin)
        scale = seen_losses.REFERENCE_SIZE / self.side
        px = landmarks_px(measures, said, pose, view.camera)
        return {
            "photometric": seen_losses.photometric(image, view.images, attention),
            "landmark": seen_losses.landmark(scale * px, scale * view.landmarks, measures.landmark_weights),
            "coefficient": seen_losses.coefficient(said),
            "reflectance": seen_losses.reflectance(_albedo(measures.front, said.tex_coeffs), measures.skin),
            "gamma": seen_losses.gamma(said.sh_coeffs),
        }

    def loss(
        self, said: FaceCoeffs, batch: ReconstructionBatch, view: View, measures: Measures
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """(total, mean terms). Rows without truth count in the self-supervised terms alone."""
        known = jnp.asarray(batch.known, jnp.float32)
        terms = self.known_terms(said, batch, view, measures)
        means = {name: jnp.mean(known * term) for name, term in terms.items()}
        total = sum((KNOWN_WEIGHTS[name] * value for name, value in means.items()), start=jnp.float32(0))
        if self.photometric:
            seen = self.seen_terms(said, view, measures)
            total = total + self.photometric * seen_losses.total(seen)
            means |= seen
        return total, means

    def train_step(
        self, state: ReconstructionState, batch: ReconstructionBatch, measures: Measures
    ) -> tuple[ReconstructionState, dict[str, Array]]:
        """One optimizer step; pure. Randomness follows from the seed and the step."""
        view = self.look(batch, measures, stream_key(self.seed, "look", state.step))

        def objective(params: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
            variables = {"params": params}
            if state.batch_stats:
                variables["batch_stats"] = state.batch_stats
                said, changed = self.net.apply(variables, view.images, train=True, mutable=["batch_stats"])
                stats = changed["batch_stats"]
            else:
                said, stats = self.net.apply(variables, view.images, train=True), state.batch_stats
            total, terms = self.loss(said, batch, view, measures)
            return total, (terms, stats)

        (loss, (terms, stats)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(AVERAGE_DECAY, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.average, params)
        metrics = {"loss": loss, "gradient": optax.global_norm(grads), **terms}
        return ReconstructionState(params, stats, average, opt_state, state.step + 1), metrics

    def eval_step(
        self, params: Any, batch_stats: Any, batch: ReconstructionBatch, measures: Measures
    ) -> tuple[FaceCoeffs, View]:
        """What the network says of the middle of each picture, and what it saw."""
        view = self.look(batch, measures)
        return self.predict(params, batch_stats, view.images), view


def _albedo(front: FaceModel, tex_coeffs: Float[Array, "b x"]) -> Float[Array, "b v 3"]:
    assert front.tex_mean is not None and front.tex_basis is not None  # `make_measures` has seen to it
    return front.tex_mean + einsum("bx,xvc->bvc", tex_coeffs, front.tex_basis)


def draw_front(
    measures: Measures, said: FaceCoeffs, pose: Pose, camera: Camera, side: int
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 1"]]:
    """The model's own picture (not clipped), and how much of each pixel is skin."""
    verts = apply_pose(face_verts(measures.front, said.id_coeffs, said.exp_coeffs), pose)
    normals = vertex_normals(verts, measures.front.faces)
    lit = shade(_albedo(measures.front, said.tex_coeffs), normals, said.sh_coeffs)
    clip = jax.vmap(lambda v, c: to_clip(v, c, side, side))(verts, camera)
    seen = rasterize(clip, measures.topology, side, side)
    skin = jnp.broadcast_to(measures.skin[:, None], (*lit.shape[:-1], 1))
    pixels = interpolate(jnp.concatenate([lit, skin], -1), seen, measures.topology)
    return pixels[..., :3], jax.lax.stop_gradient(pixels[..., 3:])
