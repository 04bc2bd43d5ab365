"""What the head, the lids and the gaze do in each frame: the person's clip forth and back, or a still
head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talkjax.errors import InputError
from talkjax.infer.eye_motion import CROSSFADE, EyeStyle, eye_course
from talkjax.infer.played import clip_start, ping_pong

POSES = ("clip", "fixed")


class Play:
    """Motion of frame k, for k as large as the voice is long."""

    def __init__(self, motion: Mapping[str, np.ndarray], pose: str, seed: int):
        """Args:
        motion: arrays of the file's `motion` member. pose: of `POSES`. seed: where the clip begins, how the
        eyes move over a still head.

        Raises:
          InputError: another pose, or a negative seed.
        """
        if pose not in POSES:
            raise InputError(
                f"pose {pose!r} is not in an exported file", expected=" or ".join(POSES), code="bad_config"
            )
        if seed < 0:
            raise InputError(f"seed {seed}", expected="0 or more", code="bad_config")
        self._motion, self._pose, self._seed = motion, pose, seed
        self._start = clip_start(seed, len(motion["exp"]))
        self._eyes = _eye_style(motion) if pose == "fixed" else None
        self._course = np.zeros((0, 0)), np.zeros((0, 2))

    def source(self, k: int) -> int:
        """The background frame."""
        if self._pose == "fixed":
            return int(self._motion["rest_frame"])
        return int(ping_pong(1, len(self._motion["exp"]), self._start + k)[0])

    def row(self, k: int, mouth: np.ndarray) -> dict[str, Any]:
        """Frame k with a mouth `[e]` from the voice: exp, euler, translation, sh, gaze, shown (expression
        in the background frame)."""
        motion, j = self._motion, self.source(k)
        row = {name: motion[name][j] for name in ("euler", "translation", "sh", "gaze")}
        row["shown"] = motion["exp"][j]
        if self._eyes is None:
            row["exp"] = np.where(motion["upper"], motion["exp"][j], mouth)
        else:
            lids, row["gaze"] = self._eyes_at(k, self._eyes)
            row["exp"] = np.array(mouth)
            row["exp"][self._eyes.columns] = lids
        return {name: np.asarray(value, np.float32) for name, value in row.items()}

    def _eyes_at(self, k: int, style: EyeStyle) -> tuple[np.ndarray, np.ndarray]:
        if k >= len(self._course[0]):
            # the course is drawn from its beginning; all but its last frames stay when it is made longer
            n = max(1024, 2 * k)
            euler = np.repeat(self._motion["euler"][[self.source(0)]], n + CROSSFADE, 0)
            lids, gaze = eye_course(style, euler.astype(np.float64), self._seed)
            self._course = lids[:n], gaze[:n]
        return self._course[0][k], self._course[1][k]


def _eye_style(motion: Mapping[str, np.ndarray]) -> EyeStyle:
    shapes = np.split(motion["eyes/shapes"], np.cumsum(motion["eyes/lengths"])[:-1])
    blink = motion["eyes/blink_columns"]
    return EyeStyle(
        columns=motion["eyes/columns"],
        blink_columns=(int(blink[0]), int(blink[1])),
        follow=motion["eyes/follow"],
        rest=motion["eyes/rest"],
        calm=motion["eyes/calm"],
        shapes=list(shapes),
        intervals=motion["eyes/intervals"],
    )
