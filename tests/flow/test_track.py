"""`talkjax track` from a clip to files that other programs read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from talkjax.infer.motion_files import read_track
from talkjax.media.image import read_image
from talkjax.media.reader import probe, read_frames
from tests.flow.conftest import World
from tests.oracles.gltf_reader import read_scene

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

SECONDS, FRAMES = 2, 50


def test_a_clip_becomes_files_that_agree(world: World, clip, tmp_path):
    out = tmp_path / "tracked"
    words = ("track", clip, f"--out={out}", f"--max_seconds={SECONDS}", "--obj_sequence", "--every=20")
    said = world.run(*words, "--texture_modes=2")
    assert f"{FRAMES} frames, {FRAMES} with a face" in said
    record = json.loads((out / "track.json").read_text())
    assert set(record["files"]) == {p.name for p in out.iterdir()} - {"track.json"}
    assert record["figures"]["landmark_error_percent_of_eye_distance"]["all"] < 1.0
    assert record["model"]["name"] == "lifted" and record["frames"] == FRAMES
    with np.load(out / "coefficients.npz", allow_pickle=False) as data:
        plain = dict(data)
    assert plain["exp"].shape == (FRAMES, 43) and plain["valid"].all()
    # one motion in every file
    scene = read_scene((out / "face.glb").read_bytes())
    assert len(scene.times) == FRAMES and scene.times[-1] == pytest.approx((FRAMES - 1) / 25)
    np.testing.assert_allclose(10 * scene.translation, plain["translation"], atol=1e-5)
    columns = [list(plain["exp_names"]).index(name) for name in scene.targets]
    np.testing.assert_allclose(scene.weights, plain["exp"][:, columns], atol=1e-6)
    np.testing.assert_allclose(read_track(out / "pose.csv").euler, plain["euler"], atol=2e-6)
    meshes = sorted((out / "meshes").glob("*.obj"))
    assert [m.name for m in meshes] == ["frame_00000.obj", "frame_00020.obj", "frame_00040.obj"]
    rows = [line.split()[1:] for line in meshes[1].read_text().splitlines() if line.startswith("v ")]
    np.testing.assert_allclose(np.array(rows, float), 10 * scene.at(20), atol=1e-4)
    assert scipy.io.loadmat(out / "coefficients.mat")["coeff"].shape == (FRAMES, 257)
    # a picture of the person, everywhere colored; the same in the glb
    texture = read_image(out / "texture.png")
    assert scene.png == (out / "texture.png").read_bytes() and texture.min(2).mean() > 20
    drawn = next(read_frames(out / "overlay.mp4")).astype(int)
    plainly = next(read_frames(clip)).astype(int)
    changed = (np.abs(drawn - plainly) > 40).any(-1)
    with np.load(out / "landmarks.npz") as data:
        low, high = (f(data["landmarks"][0, :468, :2], axis=0) for f in (np.min, np.max))
    y, x = np.nonzero(changed)
    inside = (x > low[0] - 4) & (x < high[0] + 4) & (y > low[1] - 4) & (y < high[1] + 4)
    assert inside.mean() > 0.95 and len(x) > 200
    info = probe(out / "overlay.mp4")
    assert info.n_frames == FRAMES and info.has_audio and (info.width, info.height) == (192, 192)
    # an earlier result is kept unless the user says otherwise
    assert "--overwrite" in world.refused("track", clip, f"--out={out}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tracked"]
