"""From a clip and a voice to a marked video, an evaluation, and nothing left after `delete`."""

from __future__ import annotations

import json
import shutil
import time

import av
import numpy as np
import pytest

from talkjax import __version__
from talkjax.data.synthetic_voice import load_voice
from talkjax.infer.motion_files import read_track
from talkjax.media.reader import file_sha256, probe, read_audio, read_frames
from talkjax.track.identity import Identity
from tests.flow.conftest import FINETUNE, TRAIN_FRAMES, World
from tests.media.clips import write_wav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = ("clip", "heldout", "track", "texture", "heldout_track", "mapping", "motion", "refiner")


@pytest.fixture(scope="module")
def video(finetuned: World, voice):
    """What `generate` wrote for a second of 8 kHz stereo sound, with the comparison."""
    out = finetuned.folder / "out" / "me.mp4"
    shutil.rmtree(out.parent, ignore_errors=True)
    said = finetuned.run("generate", "--identity=me", f"--audio={voice}", f"--out={out}", "--compare")
    assert "25 frames" in said and "marked as synthetic" in said
    return out


def test_the_video_is_as_long_as_the_voice(video, voice):
    info = probe(video)
    frames = list(read_frames(video))
    assert (info.width, info.height, info.fps, info.has_audio) == (192, 192, 25.0, True)
    assert abs(len(frames) - 25 * 1.0) <= 1
    sound, wanted = read_audio(video, 16_000), read_audio(voice, 16_000)
    n = min(len(sound), len(wanted))
    assert abs(len(sound) - len(wanted)) <= 2 * 1024  # AAC rounds up to whole packets
    assert np.corrcoef(sound[:n], wanted[:n])[0, 1] > 0.95
    levels = np.array([frame.mean() for frame in frames])
    assert levels.min() > 20 and np.ptp(levels) < 40  # pictures, not black


def test_the_face_is_pasted_into_real_frames(video, finetuned):
    """Away from the face the result is the person's own frame; in the face it is not."""
    compare = list(read_frames(video.with_name("me_compare.mp4")))
    assert len(compare) == 25 and compare[0].shape == (192, 384, 3)
    left, right = (np.stack([frame[:, part] for frame in compare]).astype(float) for part in
                   (slice(None, 192), slice(192, None)))  # fmt: skip
    difference = np.abs(left - right).mean((0, 3))
    assert difference[:12, :12].max() < 6 and difference[-12:, :12].max() < 6
    assert difference.max() > 8
    result = np.stack(list(read_frames(video))).astype(float)
    assert np.abs(result - left).mean() < 3  # the same pictures in both files


def test_marks_in_the_file_and_beside_it(video, voice, finetuned):
    with av.open(str(video)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert "synthetic" in tags["comment"].lower() and tags["synthetic"] == "true"
    assert tags["talkjax_identity"] == "me" and tags["talkjax_consent"] == "recorded"
    sidecar = json.loads(video.with_name("me.mp4.json").read_text())
    assert sidecar["synthetic"] == "true" and sidecar["talkjax_version"] == __version__
    assert sidecar["audio"] == {"file": "voice.wav", "sha256": file_sha256(voice)}
    assert sidecar["output"]["sha256"] == file_sha256(video) and sidecar["output"]["frames"] == 25
    assert sidecar["identity_source"]["sha256"] == file_sha256(finetuned.clip)
    assert sidecar["consent_record"]["status"] == "recorded"
    identity = Identity.open("me", finetuned.identities)
    for stage, name in (("mapping", "mapping.npz"), ("refiner", "refiner.npz")):
        assert sidecar["models"][stage][name] == file_sha256(identity.root / stage / name)


@pytest.mark.long
def test_a_second_run_of_everything_is_cached(finetuned, video, voice):
    identity = Identity.open("me", finetuned.identities)
    before = {stage: identity.stage_files(stage) for stage in STAGES}
    made = {stage: (identity.root / stage).stat().st_mtime_ns for stage in STAGES}
    assert all(before.values())
    start = time.monotonic()
    finetuned.run("prepare", finetuned.clip, "--identity=me", f"--train_frames={TRAIN_FRAMES}")
    finetuned.run("finetune", "--identity=me", *FINETUNE)
    seconds = time.monotonic() - start
    took = sum(stage["seconds"] for stage in identity.record.stages.values())
    assert seconds < took  # two processes that start and look, nothing more
    assert {stage: identity.stage_files(stage) for stage in STAGES} == before
    assert {stage: (identity.root / stage).stat().st_mtime_ns for stage in STAGES} == made
    assert identity.record.consent["status"] == "recorded"  # the same clip: consent holds
    again = finetuned.folder / "out" / "again.mp4"
    finetuned.run("generate", "--identity=me", f"--audio={voice}", f"--out={again}", "--nocompare")
    for one, two in zip(read_frames(video), read_frames(again), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.long
def test_silence_makes_a_resting_mouth_and_a_head_that_lives(finetuned):
    silence = write_wav(finetuned.folder / "silence.wav", np.zeros(16_000, np.int16), 16_000)
    out = finetuned.folder / "out" / "silence.mp4"
    shutil.rmtree(out.parent, ignore_errors=True)
    track, again = out.with_name("a.csv"), out.with_name("b.csv")
    words = ("--identity=me", f"--audio={silence}", "--seed=3")
    finetuned.run("generate", *words, f"--out={out}", "--pose=generated", f"--motion_out={track}")
    assert len(list(read_frames(out))) == 25
    motion = read_track(track)
    assert len(motion) == 25 and motion.lid is not None and motion.gaze is not None
    assert np.abs(np.diff(motion.euler, axis=0)).sum() > np.deg2rad(0.2)  # idle, not frozen
    finetuned.run("motion", "generate", *words, f"--out={again}", f"--pose=track:{track}")
    assert again.read_text() == track.read_text()  # what it plays is what it read, to the last digit
    from talkjax.evaluate.mouth import model_opening
    from talkjax.infer.generate import speech_to_face
    from talkjax.infer.personal import open_person
    from talkjax.infer.personal_mapping import load_mapping

    identity = Identity.open("me", finetuned.identities)
    person, mapping = open_person(identity), load_mapping(identity.root / "mapping")
    exp, _ = speech_to_face(person, mapping, np.zeros(16_000, np.float32), 25)
    assert np.abs(np.diff(exp, axis=0)).max() < 1e-5  # at rest
    opening = model_opening(person.model, np.concatenate([exp[:1], person.train.exp]))
    assert opening[0] <= np.percentile(opening[1:], 25)  # and closed, as far as this person's mouth is
    speech = load_voice("voice_drive").wav[:48_000]
    spoken, _ = speech_to_face(person, mapping, speech, 75)
    assert spoken.std(0).max() > 0.02  # not at rest when somebody speaks


def test_evaluation_of_the_held_out_frames(finetuned):
    said = finetuned.run("evaluate", "--identity=me", "--max_frames=25")
    folder = finetuned.identities / "me" / "evaluation"
    assert "report.html" in said and (folder / "report.html").stat().st_size > 10_000
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["clip"]["train_frames"] == TRAIN_FRAMES and metrics["clip"]["heldout_frames"] == 25
    for name in ("tracked", "audio"):
        likeness = metrics["drives"][name]["identity"]
        assert 0 < likeness["ratio"] < 2 and likeness["bare"]["frames"] == likeness["frames"] > 3
        frames = list(read_frames(folder / f"heldout_{name}.mp4"))
        assert len(frames) == 25 and frames[0].shape == (192, 192, 3)
        assert probe(folder / f"heldout_{name}.mp4").has_audio
    # frame k of the video is the k-th held-out frame: away from the face they are the same
    real = np.stack(list(read_frames(finetuned.clip))[TRAIN_FRAMES : TRAIN_FRAMES + 25]).astype(float)
    shown = np.stack(list(read_frames(folder / "heldout_tracked.mp4"))).astype(float)
    border = np.r_[0:10, 182:192]
    assert np.abs(real - shown)[:, border].mean() < 4
    assert not list(folder.glob("*.tmp*"))
    assert len(list(read_frames(folder / "free.mp4"))) == 25
    assert metrics["head_motion"]["seeds"] == 5 and metrics["head_motion"]["seed_correlation"] < 1
    # this clip of four seconds is too short to judge a rate by; test_eye_motion does
    assert np.isfinite(metrics["eyes"]["blinks_per_minute"]["out"])


def test_delete_removes_every_trace(finetuned, voice):
    """On a copy, as the others still need the person."""
    root, copy = finetuned.identities / "me", finetuned.identities / "gone"
    shutil.copytree(root, copy)
    out = finetuned.folder / "out" / "gone.mp4"
    record = json.loads((copy / "identity.json").read_text()) | {"name": "gone", "outputs": []}
    (copy / "identity.json").write_text(json.dumps(record))
    finetuned.run("generate", "--identity=gone", f"--audio={voice}", f"--out={out}", "--preview")
    said = finetuned.run("identity", "delete", "gone")
    assert not copy.exists() and not list(finetuned.identities.glob("gone*"))
    assert str(out) in said and f"{out}.json" in said and str(root) not in said  # what is left elsewhere
    assert "gone" not in finetuned.run("identity", "list")
