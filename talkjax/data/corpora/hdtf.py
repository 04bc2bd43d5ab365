"""HDTF (Zhang et al., CVPR 2021): 16 hours of high-resolution talking faces from YouTube."""

from __future__ import annotations

import re
from pathlib import Path

from talkjax.data.corpora.base import FrameBuilder, PreparedBuilder, listed
from talkjax.data.corpora.speech_jobs import clip_jobs
from talkjax.data.preparation import Job
from talkjax.data.video_corpus import Clip, held_out
from talkjax.errors import InputError

SUBSETS = ("RD", "WDA", "WRA")
INSTRUCTIONS = """
    The lists are its authors', under the terms of their repository; the videos are YouTube's, their rights
    stay with their owners. From https://github.com/MRzzm/HDTF take the folder HDTF_dataset
    ({RD,WDA,WRA}_video_url.txt, _annotion_time.txt, _crop_wh.txt), download the videos with their sound (the
    repository's download.py fetches none), cut and crop them by these lists to 512 x 512, and name them as
    its README or its download.py does, so that there is

        Radio11_0.mp4 or RD_Radio11_000.mp4    (video name, number of the piece)
        HDTF_dataset/RD_annotion_time.txt      (optional: tells which pieces should be there)

    and give that folder as --source (or manual_dir). Many videos are gone: they are listed as missing.
    """
HOMEPAGE = "https://github.com/MRzzm/HDTF"


def hdtf_clips(root: Path) -> list[Clip]:
    """All pieces in the folder. A voice is a person where the name tells (WDA and WRA), else a video; a tenth
    of the voices is held out."""
    paths = sorted(root.glob("*_[0-9]*.mp4"))
    if not paths:
        raise InputError(f"{root} holds no clips", expected="RD_Radio11_000.mp4", code="no_clips")
    clips = []
    for path in paths:
        voice = voice_of(path.name)
        clips.append(Clip(path.name, voice, "voice_heldout" if held_out(voice) else "train"))
    return clips


def voice_of(name: str) -> str:
    """`WDA_BarackObama1_000.mp4` -> BarackObama; `RD_Radio11_0.mp4` -> Radio11."""
    video = name.rsplit("_", 1)[0]
    for subset in SUBSETS:
        video = video.removeprefix(f"{subset}_")
    return video if re.fullmatch(r"Radio\d+", video) else re.sub(r"\d+$", "", video)


def promised_clips(root: Path) -> list[str]:
    """Names that the lists of HDTF_dataset promise, as download.py writes them; empty without lists."""
    names = []
    for subset in SUBSETS:
        path = root / "HDTF_dataset" / f"{subset}_annotion_time.txt"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            video, *spans = line.split()
            stem = video.removesuffix(".mp4")
            names += [f"{subset}_{stem}_{k:03d}.mp4" for k in range(len(spans))]
    return names


def _missing(clips: list[Clip], root: Path) -> list[str]:
    def plain(name: str) -> tuple[str, int]:  # both ways of naming a piece
        video, piece = name.removesuffix(".mp4").rsplit("_", 1)
        for subset in SUBSETS:
            video = video.removeprefix(f"{subset}_")
        return video, int(piece)

    there = {plain(clip.name) for clip in clips}
    return [name for name in promised_clips(root) if plain(name) not in there]


def _taken(root: Path, manifest: Path | None) -> tuple[list[Clip], list[str]]:
    clips = {clip.name: clip for clip in hdtf_clips(root)}
    names, missing = listed(list(clips), manifest, root)
    taken = [clips[name] for name in names]
    return taken, missing if manifest is not None else _missing(taken, root)


class Hdtf(PreparedBuilder):
    """Utterances of HDTF, cut at 20 s."""

    name = "hdtf"
    ABOUT = "HDTF: sound, expression and head pose of talking faces in high resolution."
    HOMEPAGE = HOMEPAGE
    CITATION = "Zhang, Li, Ding and Fan: Flow-guided One-shot Talking Face Generation. CVPR 2021."
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        clips, missing = _taken(root, self.manifest)
        return clip_jobs(clips), missing


class HdtfFrames(FrameBuilder):
    """Frames of the first seconds of each piece of HDTF, for the refiner."""

    name = "hdtf_frames"
    ABOUT = "HDTF: composites and real frames of talking faces in high resolution."
    HOMEPAGE = HOMEPAGE
    CITATION = Hdtf.CITATION
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        clips, missing = _taken(root, self.manifest)
        held = {True: "identity_heldout", False: "train"}
        return [Job(clip.name, held[clip.split != "train"]) for clip in clips], missing
