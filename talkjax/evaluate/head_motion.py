"""Figures and plot of generated head and eye motion: a minute per seed, no pictures needed; drive `free`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.config import FPS, GenerateConfig
from talkjax.evaluate import figures, plots
from talkjax.face.model import face_verts
from talkjax.face.points import landmark_vertices
from talkjax.infer.eye_motion import eye_course
from talkjax.infer.motion_plan import eye_style
from talkjax.infer.person import Person
from talkjax.infer.personal_motion import HeadMotion

SEEDS = 5
SECONDS = 60.0
SAMPLES_PER_FRAME = 640


class MotionReport(NamedTuple):
    """`head_motion` and `eyes` of metrics.json, and the plot of a few seeds beside the real motion (PNG)."""

    head: dict[str, Any]
    eyes: dict[str, Any]
    plot: bytes


def motion_report(
    person: Person, draw: HeadMotion, wav: np.ndarray, training: np.ndarray, heldout: np.ndarray | None
) -> MotionReport:
    """Generates `SEEDS` motions of a minute to a voice (16 kHz, repeated as needed) and compares them.

    Args:
      training, heldout: real angles `[t 3]` radians.
    """
    n = round(SECONDS * FPS)
    sound = np.resize(wav, n * SAMPLES_PER_FRAME)
    motions = [draw(sound, n, seed).euler for seed in range(SEEDS)]
    style = eye_style(person)
    rest = np.median(person.train.exp, axis=0)
    lids = []
    for seed, euler in enumerate(motions):
        exp = np.repeat(rest[None], n, axis=0)
        exp[:, style.columns] = eye_course(style, euler, seed)[0]
        lids.append(still_landmarks(person, exp))
    traces = {"real": training, **{f"seed {k}": e[: 2 * len(training)] for k, e in enumerate(motions[:3])}}
    return MotionReport(
        head=figures.head_motion_figures(motions, training, heldout),
        eyes=figures.eye_figures(lids, still_landmarks(person, person.train.exp), FPS),
        plot=plots.plot_pose(traces, FPS),
    )


def still_landmarks(person: Person, exp: np.ndarray) -> np.ndarray:
    """Points `[t 468 3]` of a face that does not turn: lids without the foreshortening of a nod."""
    zeros = jnp.zeros(person.model.id_basis.shape[0])
    verts = np.asarray(face_verts(person.model, zeros, jnp.asarray(exp, jnp.float32)))
    return verts[:, landmark_vertices(person.model)]


def free_config(seed: int) -> GenerateConfig:
    """What drive `free` asks of `generate`."""
    return GenerateConfig(pose="generated", seed=seed)
