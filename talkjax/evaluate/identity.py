"""Whether two pictures show one person, and how far a result is from the person: on embeddings alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


def unit(rows: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    """Rows of length 1, float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def pair_scores(
    embedding: Float[np.ndarray, "n f"], person: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "p"], Bool[np.ndarray, "p"]]:
    """(cosine, whether it is one person) of all pairs of rows."""
    rows = unit(embedding)
    a, b = np.triu_indices(len(rows), 1)
    return np.einsum("pf,pf->p", rows[a], rows[b]), np.asarray(person)[a] == np.asarray(person)[b]


def verification(scores: Float[np.ndarray, "p"], same: Bool[np.ndarray, "p"]) -> dict[str, float]:
    """`auc`, `eer` and the share of same pairs accepted where 1 % of the different ones are (`tar_at_1`).

    `eer`: where as large a share of different pairs is accepted as of same ones refused.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    hits = np.asarray(same, bool)[order]
    accepted = np.cumsum(hits) / max(hits.sum(), 1)
    wrong = np.cumsum(~hits) / max((~hits).sum(), 1)
    at = int(np.argmin(np.abs(wrong - (1 - accepted))))
    allowed = np.searchsorted(wrong, 0.01, side="right") - 1
    return {
        "auc": float(np.trapezoid(np.r_[0, accepted], np.r_[0, wrong])),
        "eer": float((wrong[at] + 1 - accepted[at]) / 2),
        "tar_at_1": float(accepted[allowed]) if allowed >= 0 else 0.0,
    }


def mean_distance(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Mean of 1 - cosine over all pairs of a row of `a` and a row of `b`."""
    return float(1 - (unit(a).mean(0) * unit(b).mean(0)).sum())


def identity_figures(
    result: Float[np.ndarray, "n f"], heldout: Float[np.ndarray, "n f"], training: Float[np.ndarray, "m f"]
) -> dict[str, Any]:
    """How far a result's frames are from the person's own, in the embedding's distance 1 - cosine.

    Args:
      result, heldout: frames of the result, and the real held-out frames; training: the clip's other half.

    Returns:
      `distance`: result to held-out frames, mean over all pairs. `halves`: the same between the clip's
      halves. `ratio`: one over the other; 1 is as good as another part of the clip. `center_ratio`: the same
      of the parts' mean embeddings, which does not see how a face changes from frame to frame and so is
      stricter.
    """
    distance, halves = mean_distance(result, heldout), mean_distance(training, heldout)
    centers = [unit(unit(part).mean(0)[None]) for part in (result, heldout, training)]
    off = [mean_distance(centers[k], centers[1]) for k in (0, 2)]
    return {
        "distance": distance,
        "halves": halves,
        "ratio": distance / halves if halves > 0 else float("nan"),
        "center_ratio": off[0] / off[1] if off[1] > 0 else float("nan"),
        "frames": len(result),
    }
