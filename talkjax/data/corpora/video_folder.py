"""Any folder of talking videos."""

from __future__ import annotations

from pathlib import Path

from talkjax.data.corpora.base import FrameBuilder, PreparedBuilder, listed
from talkjax.data.corpora.speech_jobs import clip_jobs
from talkjax.data.preparation import Job
from talkjax.data.video_corpus import Clip, folder_clips

INSTRUCTIONS = """
    Put videos of one talking person each (.mp4, .mov, .m4v, .mkv, .webm, .avi; any depth of folders) into a
    folder and give it as --source (or manual_dir). You need the consent of the people and the right to use
    the videos.
    """


def _taken(root: Path, manifest: Path | None) -> tuple[list[Clip], list[str]]:
    clips = {clip.name: clip for clip in folder_clips(root)}
    names, missing = listed(list(clips), manifest, root)
    return [clips[name] for name in names], missing


class VideoFolder(PreparedBuilder):
    """Utterances of all videos below a folder; each clip is a voice, a tenth (by name) is held out."""

    name = "video_folder"
    ABOUT = "Sound, expression and head pose of a folder of talking videos."
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        clips, missing = _taken(root, self.manifest)
        return clip_jobs(clips), missing


class VideoFolderFrames(FrameBuilder):
    """Frames of the first seconds of each video below a folder, for the refiner."""

    name = "video_folder_frames"
    ABOUT = "Composites and real frames of a folder of talking videos."
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        clips, missing = _taken(root, self.manifest)
        held = {True: "identity_heldout", False: "train"}
        return [Job(clip.name, held[clip.split != "train"]) for clip in clips], missing
