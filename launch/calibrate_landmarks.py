"""Measures where the landmark network's points lie on a head: on drawn faces, whose vertices are known.

    python -m launch.calibrate_landmarks --model=FULL_HEAD.npz --out=CALIBRATED.npz --people=25

Each landmark moves by its mean offset in the head's frame, then to the nearest place of the skin. The people
are others than those of `bench_reconstruction_truth`. Exit codes as in the README.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from absl import app, flags

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)

# isort: split
import jax
import jax.numpy as jnp
import numpy as np

from talkjax.assets.correspondence import place_on_surface
from talkjax.assets.model_file import load_model, save_model
from talkjax.data.head_regions import FACE, part_of_vertices
from talkjax.data.landmark_offsets import Seen, measure_offsets
from talkjax.data.synthetic_faces import FaceStage
from talkjax.data.truth_clips import TRUTH_SEED, ground_truth_clips
from talkjax.errors import TalkjaxError
from talkjax.face.points import landmark_part
from talkjax.track.landmarks import load_landmark_models, track_landmarks

_MODEL = flags.DEFINE_string("model", None, "Full head, npz.", required=True)
_OUT = flags.DEFINE_string("out", None, "Where the calibrated head is written.", required=True)
_PEOPLE = flags.DEFINE_integer("people", 25, "How many people are drawn.", lower_bound=5)
_FRAMES = flags.DEFINE_integer("frames", 6, "Pictures of each.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    try:
        model = load_model(Path(_MODEL.value))
        stage, models = FaceStage.of(model), load_landmark_models()
        seen: list[Seen] = []
        for clip in ground_truth_clips(stage, jax.random.key(TRUTH_SEED + 1), _PEOPLE.value, _FRAMES.value):
            for k, frame in enumerate(clip.frames):
                track = track_landmarks([frame], models)
                if track.valid[0]:
                    marks = track.landmarks[0, np.asarray(model.landmarks.number), :2]
                    pose = jax.tree.map(lambda x, k=k: np.asarray(x[k]), clip.pose)
                    seen.append(Seen(marks, clip.landmarks[k], pose, clip.camera))
        offsets, before, after = measure_offsets(seen)
        part = part_of_vertices(model)
        skin = np.asarray(model.faces)[(part[np.asarray(model.faces)] == FACE).all(1)]
        moved = landmark_part(model).mean + offsets
        verts, bary = place_on_surface(np.asarray(model.mean), skin, moved)
        points = dataclasses.replace(
            model.landmarks, verts=jnp.asarray(verts, jnp.int32), bary=jnp.asarray(bary, jnp.float32)
        )
        save_model(_OUT.value, dataclasses.replace(model, landmarks=points))
        print(f"{len(seen)} pictures; distance to the landmarks: {before:.2f} -> {after:.2f} % of the eyes'")
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app.run(main)
