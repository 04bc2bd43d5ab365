"""People who do not exist, drawn and then tracked like real ones: frames for the refiner, free of terms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from talkjax.data.corpora.base import FrameBuilder
from talkjax.data.corpora.frame_jobs import FrameJobs
from talkjax.data.preparation import Job, Preparer
from talkjax.errors import InputError

HELDOUT_EVERY = 10


class SyntheticPeople(FrameBuilder):
    """`count` people of the seeds first_seed, first_seed + 1, ...; every tenth is held out.

    Args:
      count: how many people.
      first_seed: of the first.
      clip_size: side in pixels of the clips that are drawn and tracked.
    """

    name = "synthetic_people"
    ABOUT = "Drawn people (ICT-FaceKit's generic head, procedural paint and hair), tracked by talkjax."

    def __init__(self, *, count: int = 8, first_seed: int = 0, clip_size: int = 480, **kwargs: Any):
        if count < 1 or first_seed < 0:
            raise InputError(f"{count} people from seed {first_seed}", expected="at least one, seed >= 0")
        self.count, self.first_seed, self.clip_size = count, first_seed, clip_size
        super().__init__(**kwargs)
        if self.people is None:
            self.people = self.out / "people"

    def root(self, dl_manager: Any = None) -> Path:
        """Where the clips are drawn to; nothing is read from outside."""
        assert self.people is not None
        return self.people.parent / "clips" if self.source is None else self.source

    def jobs(self, root: str | os.PathLike[str]) -> tuple[list[Job], list[str]]:
        jobs = []
        for k in range(self.count):
            split = "identity_heldout" if k % HELDOUT_EVERY == HELDOUT_EVERY - 1 else "train"
            seed = self.first_seed + k
            jobs.append(Job(f"person{seed:06d}", split, {"seed": seed}))
        return jobs, []

    def preparer(self, root: Path) -> Preparer:
        return FrameJobs(root, self.people, self.size, self.n_frames, self.clip_size)
