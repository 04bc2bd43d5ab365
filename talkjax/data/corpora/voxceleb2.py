"""VoxCeleb2 (Chung, Nagrani, Zisserman, Interspeech 2018): interviews of 6,112 people."""

from __future__ import annotations

from pathlib import Path

from talkjax.data.corpora.base import PreparedBuilder, listed
from talkjax.data.corpora.speech_jobs import clip_jobs
from talkjax.data.preparation import Job
from talkjax.data.video_corpus import Clip, held_out
from talkjax.errors import InputError

HELDOUT_UTTERANCES = 0.03
PARTS = ("dev", "test")


class VoxCeleb2(PreparedBuilder):
    """Utterances of VoxCeleb2; the people of `test` are held out, and 3 % of the utterances of `dev`."""

    name = "voxceleb2"
    ABOUT = "VoxCeleb2: sound, expression and head pose of 1.1 million utterances of 6,112 people."
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html"
    CITATION = "Chung, Nagrani and Zisserman: VoxCeleb2: Deep Speaker Recognition. Interspeech 2018."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    VoxCeleb2 is under CC BY 4.0; the rights of the videos stay with their owners. Ask for it as
    https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html says. Join and unpack vox2_dev_mp4, vox2_test_mp4
    and, where the videos are without sound, vox2_dev_aac and vox2_test_aac, so that there is

        dev/mp4/id00012/21Uxsk56VDQ/00001.mp4    (224 x 224, 25 fps)
        dev/aac/id00012/21Uxsk56VDQ/00001.m4a
        test/mp4/..., test/aac/...

    and give the folder above as --source (or manual_dir). --manifest=FILE lists what there should be (as
    dev/mp4/id00012/21Uxsk56VDQ/00001.mp4); what lacks is no error.
    """

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        paths = [path for part in PARTS for path in sorted(root.glob(f"{part}/mp4/id*/*/*.mp4"))]
        if not paths:
            raise InputError(
                f"{root} holds no clips", expected="dev/mp4/id00012/VIDEO/00001.mp4", code="no_clips"
            )
        clips = {clip.name: clip for clip in (_clip(root, path) for path in paths)}
        names, missing = listed(list(clips), self.manifest, root)
        return clip_jobs([clips[name] for name in names]), missing


def _clip(root: Path, path: Path) -> Clip:
    part, _, person, video, _ = path.relative_to(root).parts
    name = path.relative_to(root).as_posix()
    split = "train"
    if part == "test":
        split = "voice_heldout"
    elif held_out(name, HELDOUT_UTTERANCES):
        split = "utterance_heldout"
    sound = root / part / "aac" / person / video / f"{path.stem}.m4a"
    return Clip(name, person, split, sound=sound.relative_to(root).as_posix() if sound.is_file() else "")
