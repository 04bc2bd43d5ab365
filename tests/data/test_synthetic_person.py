"""The clip itself: size, length, sound, determinism, and a face that the landmark network believes in."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from talkjax.data import synthetic_person
from talkjax.data.synthetic_motion import make_motion, rotation_matrix
from talkjax.data.synthetic_person import make_truth, render_frames, synthesize_clip
from talkjax.data.synthetic_scene import Person, make_person
from talkjax.data.synthetic_voice import load_voice
from talkjax.errors import InputError
from talkjax.media.reader import probe, read_audio, read_frames

SIZE = (480, 480)


@pytest.fixture(scope="module")
def person() -> Person:
    return make_person(0)


@pytest.mark.slow
def test_clip_has_size_length_sound_and_truth(
    person: Person, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_person, "make_person", lambda seed: person)
    path, seen = tmp_path / "clip.mp4", []
    truth = synthesize_clip(
        path, seconds=0.4, size=(96, 96), progress=lambda done, total: seen.append((done, total))
    )
    info = probe(path)
    frames = list(read_frames(path))
    assert (info.width, info.height) == (96, 96) and len(frames) == 10
    assert seen == [(k + 1, 10) for k in range(10)]
    assert abs(len(read_audio(path)) - 0.4 * 16000) <= 16000 / 25
    for field in ("visemes", "exp_weights", "lip_opening", "lip_width", "pose", "gaze", "blink"):
        assert len(getattr(truth, field)) == 10 and np.isfinite(getattr(truth, field)).all()
    assert truth.pose.shape == (10, 6) and truth.visemes.shape[1] == len(truth.viseme_names)


@pytest.mark.slow
def test_same_seed_gives_the_same_pixels(person: Person) -> None:
    again = make_person(0)
    for field in dataclasses.fields(person.scene):
        if field.name != "topology":
            np.testing.assert_array_equal(getattr(person.scene, field.name), getattr(again.scene, field.name))
    motion = make_motion(person.mesh, load_voice("voice_drive").phones, 20, 25.0, 0)
    pictures = [
        np.stack(list(render_frames(p, motion, (96, 96), seed, range(0, 20, 9))))
        for p, seed in ((person, 0), (again, 0), (person, 1))
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_bad_sizes_and_lengths_are_refused(tmp_path: pathlib.Path) -> None:
    for size in ((63, 480), (480, 481), (32, 32)):
        with pytest.raises(InputError, match="even sides"):
            synthesize_clip(tmp_path / "clip.mp4", size=size)
    with pytest.raises(InputError, match="at least one frame"):
        synthesize_clip(tmp_path / "clip.mp4", seconds=0.0)


@pytest.mark.slow
def test_landmark_network_sees_the_face_the_lips_and_the_blink(person: Person) -> None:
    landmarks = pytest.importorskip("talkjax.track.landmarks")
    try:
        models = landmarks.load_landmark_models()
    except InputError as error:
        pytest.skip(f"landmark models not at hand: {error}")
    voice = load_voice("voice_train")
    motion = make_motion(person.mesh, voice.phones, 450, 25.0, 0)
    truth = make_truth(person.mesh, motion, voice, 25.0, SIZE, 0)
    indices = range(int(motion.blink_times[0] * 25) - 6, int(motion.blink_times[0] * 25) + 10)
    track = landmarks.track_landmarks(render_frames(person, motion, SIZE, 0, indices), models)
    points = np.asarray(track.landmarks)[..., :2]
    assert np.asarray(track.valid).all() and np.asarray(track.n_faces).max() == 1
    eyes = np.linalg.norm(points[:, 33] - points[:, 263], axis=-1)
    opening = np.linalg.norm(points[:, 13] - points[:, 14], axis=-1) / eyes
    assert np.abs(opening - truth.lip_opening[indices]).mean() < 0.02
    lids = np.linalg.norm(points[:, 159] - points[:, 145], axis=-1) / eyes
    assert np.corrcoef(lids, motion.blink[indices])[0, 1] < -0.8
    # the tracked eye corners lie where the truth's pose puts the model's
    corners = person.mesh.verts[[person.mesh.lids[n][-1] for n in ("lower_r", "lower_l")]]
    turned = np.einsum("tij,nj->tni", rotation_matrix(truth.pose[indices, :3]), corners)
    cam = turned + truth.pose[indices, None, 3:]
    scale = 1.09375 * max(SIZE) / (10 - cam[..., 2])
    px = np.stack([SIZE[0] / 2 + scale * cam[..., 0], SIZE[1] / 2 - scale * cam[..., 1]], -1)
    assert np.linalg.norm(px - points[:, [33, 263]], axis=-1).mean() / eyes.mean() < 0.04
