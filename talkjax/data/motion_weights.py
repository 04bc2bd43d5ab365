"""Where the general weights of head motion lie; `embedded/motion_CARD.md` says what they are."""

from __future__ import annotations

import pathlib


def motion_weights_path() -> pathlib.Path:
    """The `.npz` that `python -m launch.train_motion` wrote (preset lite)."""
    return pathlib.Path(__file__).resolve().parent / "embedded" / "motion.npz"
