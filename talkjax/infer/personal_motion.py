"""placeholder until the decoder"""

from __future__ import annotations

import numpy as np

from talkjax.infer import head_style, motion_baseline
from talkjax.infer.motion_track import MotionTrack


class HeadMotion:
    def __init__(self, person):
        tr = person.train
        self.style, z = head_style.fit_head_style(tr.euler, tr.translation, tr.valid)
        self.model = motion_baseline.fit_autoregression(z)

    def __call__(self, wav, n_frames, seed):
        k = motion_baseline.simulate(self.model, head_style.key_count(n_frames), np.random.default_rng(seed))
        return MotionTrack(*head_style.play_keys(self.style, k, n_frames))


def load_head_motion(identity, person):
    return HeadMotion(person)
