"""Lip Reading in the Wild (Chung and Zisserman, ACCV 2016): single words of the BBC's speakers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from talkjax.data.corpora.base import PreparedBuilder, listed
from talkjax.data.corpora.speech_jobs import clip_jobs
from talkjax.data.preparation import Job
from talkjax.data.video_corpus import lrw_clips


class Lrw(PreparedBuilder):
    """Utterances of LRW, 1.16 s each; val and test are held out. Speakers are not named: one voice."""

    name = "lrw"
    ABOUT = "LRW: sound, expression and head pose of 500,000 clips of single English words."
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrw1.html"
    CITATION = "Chung and Zisserman: Lip Reading in the Wild. ACCV 2016."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    LRW may be used for academic research by those who have signed the BBC's data sharing agreement; ask as
    https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrw1.html says. Join and unpack the parts, so that there
    is

        lipread_mp4/ABOUT/{train,val,test}/ABOUT_00001.mp4    (29 frames at 25 fps, 256 x 256, with sound)

    and give the folder lipread_mp4, or the one above it, as --source (or manual_dir). The .txt beside each
    clip is not needed.
    """

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        below = "lipread_mp4/" if (root / "lipread_mp4").is_dir() else ""
        clips = {f"{below}{c.name}": c for c in lrw_clips(root / below)}
        names, missing = listed(list(clips), self.manifest, root)
        return clip_jobs([replace(clips[name], name=name) for name in names]), missing
