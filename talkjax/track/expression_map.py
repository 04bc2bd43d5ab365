"""From the 43 shared deformers to the expression axes of any face model, so that one mapping drives them all.

Each deformer, evaluated on the model's own neutral, is a displacement of the 468 landmarks; the map is the
mixture of the model's axes that comes nearest to it, with weights of the signs that both allow.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

from talkjax.face import mesh468
from talkjax.face.deformers import EXP_NAMES, expression_deformers
from talkjax.face.model import face_verts
from talkjax.face.points import points_at
from talkjax.track.gauss_newton import landmark_weights
from talkjax.track.lift import canonical_frame
from talkjax.types import FaceModel

RIDGE = 0.02
"""What moving an axis costs, as a share of its squared displacement: alike axes share, useless ones rest."""

_TURN = 0.3  # radians at which a joint's displacement is taken


class ExpressionMap(NamedTuple):
    """target_exp = exp @ matrix.

    matrix: [43 e]. error: [43], what of each deformer's displacement the target's axes cannot make, as a
    share of it (0 to 1; landmarks weighted as in the fit).
    """

    matrix: np.ndarray
    error: np.ndarray
    names: tuple[str, ...]

    def __call__(self, exp_coeffs: np.ndarray) -> np.ndarray:
        """Expression coefficients [*b 43] of the deformers as the target's [*b e]."""
        return np.asarray(exp_coeffs) @ self.matrix

    def table(self) -> str:
        """One line per deformer: its name, its error, the axes that make it."""
        lines = []
        for name, weights, error in zip(EXP_NAMES, self.matrix, self.error, strict=True):
            strongest = np.argsort(-np.abs(weights))[:3]
            parts = [f"{weights[k]:+.2f} {self.names[k]}" for k in strongest if abs(weights[k]) > 0.02]
            lines.append(f"{name:12} {error:5.0%}  {' '.join(parts)}")
        return "\n".join(lines)


def expression_map(model: FaceModel) -> ExpressionMap:
    """The map to a model's expression axes.

    Args:
      model: about any person; needs all 468 landmarks.

    Raises:
      ValueError: it lacks landmarks.
    """
    order = np.argsort(np.asarray(model.landmarks.number))
    if len(order) != mesh468.N_MESH:
        raise ValueError(f"model {model.name} has {len(order)} of the {mesh468.N_MESH} landmarks")
    neutral = _landmarks(model, np.zeros(len(model.exp_names)))[order]
    canonical = canonical_frame(neutral)
    axes = _linear_part(neutral, canonical)
    moves = np.stack([(_landmarks(model, e)[order] - neutral) @ axes / e.max() for e in _probes(model)])
    _, wanted, wanted_signed = expression_deformers(canonical)
    weight = np.sqrt(landmark_weights())[:, None]
    design = (moves * weight).reshape(len(moves), -1).T
    targets = (wanted * weight).reshape(len(wanted), -1)
    signed = np.asarray(model.exp_signed)
    matrix = np.stack(
        [_mixture(design, target, signed | both) for target, both in zip(targets, wanted_signed, strict=True)]
    )
    rest = np.linalg.norm(matrix @ design.T - targets, axis=1) / np.linalg.norm(targets, axis=1)
    return ExpressionMap(matrix.astype(np.float32), rest.astype(np.float32), model.exp_names)


def _landmarks(model: FaceModel, exp: np.ndarray) -> np.ndarray:
    verts = face_verts(model, jnp.zeros(model.id_basis.shape[0]), jnp.asarray(exp, jnp.float32))
    return np.asarray(points_at(verts, model.landmarks), np.float64)


def _probes(model: FaceModel) -> list[np.ndarray]:
    """One expression per axis: 1 on a linear axis, a small turn of a joint."""
    n_linear = model.exp_basis.shape[0]
    sizes = np.where(np.arange(len(model.exp_names)) < n_linear, 1.0, _TURN)
    return list(np.diag(sizes))


def _linear_part(neutral: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """[3 3] that takes displacements of `neutral` to those of `canonical` (row vectors)."""
    centered, target = neutral - neutral.mean(0), canonical - canonical.mean(0)
    return np.linalg.lstsq(centered, target, rcond=None)[0]


def _mixture(design: np.ndarray, target: np.ndarray, may_be_negative: np.ndarray) -> np.ndarray:
    """Weights [e] of the axes `design` [n e] nearest to `target` [n]; negative only where allowed."""
    negative = np.flatnonzero(may_be_negative)
    both = np.concatenate([design, -design[:, negative]], axis=1)
    ridge = np.diag(np.sqrt(RIDGE) * np.linalg.norm(both, axis=0))
    padded = np.concatenate([both, ridge])
    found, _ = nnls(padded, np.concatenate([target, np.zeros(both.shape[1])]))
    out = found[: design.shape[1]].copy()
    out[negative] -= found[design.shape[1] :]
    return out
