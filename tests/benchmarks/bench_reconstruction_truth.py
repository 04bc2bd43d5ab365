"""Reconstruction against faces that are known: 30 people who do not exist, 10 frames each.

    python -m tests.benchmarks.bench_reconstruction_truth --model=FULL_HEAD.npz --clips=30
    python -m tests.benchmarks.bench_reconstruction_truth --model=FULL_HEAD.npz --weights=runs/.../weights.npz

Rows: landmarks + fit with the identity of one frame, with that of the clip, the same from the true landmarks
(what the landmark network costs), with --weights the network's one shot and the fits that start from it,
the mean face. Columns: shape of
the neutral face and of the face as it moves (rms after alignment, % of the distance between the outer corners
of the eyes), pose (degrees), expression (mean absolute, 0-1), landmarks (% of the same distance). Frames are
fitted one by one: there is no motion between them for `fit_clip`'s prior.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax
import jax.numpy as jnp

from talkjax.assets.model_file import load_model
from talkjax.data.head_regions import skin_weight
from talkjax.data.synthetic_faces import FaceStage
from talkjax.data.truth_clips import TRUTH_SEED, TruthClip, ground_truth_clips
from talkjax.evaluate.one_shot import OUTER_EYES
from talkjax.evaluate.reconstruction import expression_error, pose_error, shape_error
from talkjax.face.crop_pose import network_camera, repose
from talkjax.face.points import landmark_part, with_identity
from talkjax.face.pose import rotation
from talkjax.track import gauss_newton as gn
from talkjax.track.bundle import bundle_adjust, initial_theta
from talkjax.track.clip_fit import STATISTICAL_ID_PRIOR
from talkjax.track.crop import SIDE_DM, CropTrack, cut, stack_cameras
from talkjax.track.guided_fit import fit_about
from talkjax.track.joint_clip import joint_start, skin_of
from talkjax.track.joint_fit import JointFit, Marks, fit_jointly
from talkjax.track.landmarks import load_landmark_models, track_landmarks
from talkjax.track.regressed import Regressed
from talkjax.track.shading import ShadedSkin
from talkjax.types import FaceCoeffs, FaceModel, Pose

MODEL = flags.DEFINE_string("model", None, "full head of ICT-FaceKit, npz", required=True)
CLIPS = flags.DEFINE_integer("clips", 30, "how many people")
WEIGHTS = flags.DEFINE_string("weights", None, "weights.npz of launch.train")
SEED = flags.DEFINE_integer("seed", TRUTH_SEED, "another set")


def fit(
    model: FaceModel, landmarks: np.ndarray, camera: Any, per_frame: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(id_coeffs [t k], theta [t 6+e]); `per_frame` sees one frame at a time."""
    t = len(landmarks)
    observed, scale = gn.observations(landmarks, np.ones(t, bool))
    start = initial_theta(model, landmarks, camera)
    groups = [slice(k, k + 1) for k in range(t)] if per_frame else [slice(0, t)]
    alphas, thetas = [], []
    for g in groups:
        alpha, theta = bundle_adjust(model, start[g], observed[g], scale[g], camera, STATISTICAL_ID_PRIOR)
        person = with_identity(model, jnp.asarray(alpha, jnp.float32))
        problem = gn.make_problem(person, camera, free_identity=False)
        thetas.append(gn.fit_frames(problem, theta, observed[g], scale[g]))
        alphas.append(np.repeat(alpha[None], len(theta), 0))
    return np.concatenate(alphas), np.concatenate(thetas)


class Judge:
    """Collects the errors of every method."""

    def __init__(self, stage: FaceStage) -> None:
        skin = stage.regions.verts[skin_weight(stage.regions) > 0]
        model = stage.model
        self.mean, self.id_basis, self.exp_basis = (
            np.asarray(x, np.float64)[..., skin, :] for x in (model.mean, model.id_basis, model.exp_basis)
        )
        part = landmark_part(model)
        ends = [int(np.flatnonzero(part.number == n)[0]) for n in OUTER_EYES]
        self.ends_mean, self.ends_id = part.mean[ends], part.id_basis[:, ends]
        self.errors: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    def add(
        self, name: str, clip: TruthClip, id_coeffs: np.ndarray, exp: np.ndarray, euler: np.ndarray, px: float
    ) -> None:
        ends = self.ends_mean + np.tensordot(clip.id_coeffs, self.ends_id, 1)
        eyes = float(np.linalg.norm(ends[0] - ends[1]))
        true = self.mean + np.tensordot(clip.id_coeffs, self.id_basis, 1)
        exp = np.clip(exp, 0.0, 1.0)
        angle = pose_error(np.asarray(rotation(jnp.asarray(euler))), np.asarray(rotation(clip.pose.euler)))
        for k in range(len(exp)):
            found = self.mean + np.tensordot(id_coeffs[k], self.id_basis, 1)
            moved, true_moved = (np.tensordot(x, self.exp_basis, 1) for x in (exp[k], clip.exp_coeffs[k]))
            self.errors[name].append(
                (
                    shape_error(found, true, eyes),
                    shape_error(found + moved, true + true_moved, eyes),
                    float(angle[k]),
                    expression_error(exp[k], clip.exp_coeffs[k]),
                    px,
                )
            )

    def print(self) -> None:
        columns = ("shape %", "moved %", "pose deg", "exp", "marks %", "frames")
        print(" " * 28 + "".join(f"{name:>10s}" for name in columns))
        for name, rows in self.errors.items():
            mean = [f"{x:10.{4 if k == 3 else 2}f}" for k, x in enumerate(np.mean(rows, 0))]
            print(f"{name:28s}" + "".join(mean) + f"{len(rows):10d}")


def load_network(path: str) -> Any:
    """(predict(images [b s s 3] uint8) -> FaceCoeffs, side)."""
    from talkjax.nets.reconstruction_net import CoeffSizes, ReconstructionNet
    from talkjax.track.regressed import small_network
    from talkjax.train.params_file import load_params

    tree, about = load_params(path)
    if about["kind"].endswith("small"):
        return small_network(Path(path))[0], about["side"]
    net = ReconstructionNet(CoeffSizes(**about["sizes"]), width=about["width"])
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    return jax.jit(lambda images: net.apply(variables, images.astype(jnp.float32) / 255)), about["side"]


class Shot(NamedTuple):
    """What the network says of a clip's frames (pose before the clip's camera), and what it saw."""

    said: FaceCoeffs
    crops: np.ndarray
    squares: CropTrack


def one_shot(predict: Any, side: int, stage: FaceStage, clip: TruthClip, marks: np.ndarray) -> Shot:
    """From squares around the mean face laid over the landmarks."""
    theta = initial_theta(stage.model, marks, clip.camera)
    middle = theta[:, 3:6] + np.einsum("tij,j->ti", np.asarray(rotation(theta[:, :3])), stage.head_center)
    scale = float(clip.camera.focal) / (float(clip.camera.distance) - middle[:, 2])
    center = np.asarray(clip.camera.center) + scale[:, None] * middle[:, :2] * [1, -1]
    sides = SIDE_DM * scale
    crops = np.stack([cut(f, c, s, side) for f, c, s in zip(clip.frames, center, sides, strict=True)])
    said = predict(jnp.asarray(crops))
    network = network_camera(jnp.asarray(center, jnp.float32), jnp.asarray(sides, jnp.float32))
    camera = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(crops), *x.shape)), clip.camera)
    pose = repose(said.pose, jnp.asarray(stage.head_center), network, camera)
    said = jax.tree.map(np.asarray, dataclasses.replace(said, pose=pose))
    return Shot(said, crops, CropTrack(np.float32(center), np.float32(sides)))


def joint(model: FaceModel, skin: ShadedSkin, shot: Shot, clip: TruthClip, marks: np.ndarray) -> JointFit:
    """`fit_jointly` of all frames; the model's texture is that of painted people where it has none."""
    names = model.exp_names
    valid = np.ones(len(marks), bool)
    said = Regressed(shot.said, valid, model.name, names, shot.crops, shot.squares)
    cameras = stack_cameras(clip.camera, shot.squares, shot.crops.shape[1])
    problem = gn.make_problem(model, clip.camera, free_identity=True)
    seen = Marks(problem, *gn.observations(marks, valid))
    start = joint_start(said, np.arange(len(marks)))
    return fit_jointly(skin, start, shot.crops, cameras, np.asarray(model.exp_signed), seen)


def about(
    model: FaceModel, alpha: np.ndarray, theta: np.ndarray, marks: np.ndarray, camera: Any
) -> np.ndarray:
    """`fit_about` with the clip's identity."""
    problem = gn.make_problem(with_identity(model, jnp.asarray(alpha[0])), camera, free_identity=False)
    return fit_about(problem, theta, *gn.observations(marks, np.ones(len(marks), bool)))


def main(argv: list[str]) -> None:
    del argv
    stage = FaceStage.of(load_model(Path(MODEL.value)))
    models, judge = load_landmark_models(), Judge(stage)
    network = load_network(WEIGHTS.value) if WEIGHTS.value else None
    skin = skin_of(stage.model)
    lost, seconds = 0, defaultdict(float)
    for clip in ground_truth_clips(stage, jax.random.key(SEED.value), CLIPS.value):
        tracks = [track_landmarks([frame], models) for frame in clip.frames]
        seen = np.array([bool(t.valid[0]) for t in tracks])
        lost += int((~seen).sum())
        marks = np.concatenate([t.landmarks for t in tracks])[seen]
        part = clip._replace(
            frames=clip.frames[seen],
            exp_coeffs=clip.exp_coeffs[seen],
            pose=Pose(clip.pose.euler[seen], clip.pose.translation[seen]),
            landmarks=clip.landmarks[seen],
        )
        number = np.asarray(stage.model.landmarks.number)
        true_marks = marks.copy()
        true_marks[:, number, :2] = part.landmarks
        away = np.linalg.norm(marks[:, number, :2] - part.landmarks, axis=-1).mean(1)
        eyes = np.linalg.norm(true_marks[:, 33, :2] - true_marks[:, 263, :2], axis=-1)
        off = float(100 * (away / eyes).mean())
        for name, points, per_frame in (
            ("fit, identity of a frame", marks, True),
            ("fit, identity of the clip", marks, False),
            ("fit to true landmarks, clip", true_marks, False),
        ):
            begin = time.perf_counter()
            alpha, theta = fit(stage.model, points, clip.camera, per_frame)
            seconds[name] += time.perf_counter() - begin
            judge.add(name, part, alpha, theta[:, 6:], theta[:, :3], 0.0 if "true" in name else off)
        if network is not None:
            shot = one_shot(*network, stage, part, marks)
            alpha, exp, pose = shot.said.id_coeffs, shot.said.exp_coeffs, shot.said.pose
            judge.add("network, one shot", part, alpha, exp, np.asarray(pose.euler), off)
            for name, mean in (("network, identity of clip", True), ("network + landmarks", False)):
                alpha = np.repeat(np.median(alpha, 0)[None], len(alpha), 0) if mean else alpha
                theta = np.concatenate([np.asarray(pose.euler), np.asarray(pose.translation), exp], 1)
                if not mean:
                    theta = about(stage.model, alpha, theta, marks, clip.camera)
                judge.add(name, part, alpha, theta[:, 6:], theta[:, :3], off)
            begin = time.perf_counter()
            found = joint(stage.model, skin, shot, part, marks)
            seconds["joint"] += time.perf_counter() - begin
            alpha = np.repeat(found.id_coeffs[None], len(marks), 0)
            judge.add("joint fit", part, alpha, found.theta[:, 6:], found.theta[:, :3], off)
        zeros = np.zeros((len(marks), len(clip.id_coeffs)))
        still = initial_theta(stage.model, marks, clip.camera)
        judge.add("mean face, rigid", part, zeros, still[:, 6:], still[:, :3], off)
    judge.print()
    print(json.dumps({"frames_without_face": lost, "seconds": {k: round(v, 1) for k, v in seconds.items()}}))


if __name__ == "__main__":
    app.run(main)
