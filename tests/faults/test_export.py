"""`talkjax export` from command line to marked video, all functions lowered again, and the paper preset.

Slow to compile, so not part of the default run, whose part is in `tests/infer/test_bundle_runtime.py`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import talkjax
from talkjax.assets.model_file import save_model
from talkjax.cli import main
from talkjax.face.deformers import EXP_NAMES
from talkjax.face.points import vertex_points
from talkjax.infer.bundle import refiners
from talkjax.infer.layers import Layers
from talkjax.infer.paper_refiner import PaperRefiner
from talkjax.infer.retrieval import ZONES, ZoneFeatures
from talkjax.media.reader import file_sha256, read_frames
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperRefinerTask
from talkjax.track.identity import Identity
from talkjax.train.params_file import nested, save_params
from talkjax.types import FaceModel, MemoryBank
from tests.conftest import ROOT
from tests.infer.bundle_child import voice
from tests.media.clips import write_wav
from tests.nets.weights import random_variables

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
GOLDEN = ROOT / "tests" / "goldens" / "export" / "person.talkjax"


def stages(talker) -> dict[str, object]:
    """What `prepare` and `finetune` would have left: name -> function that fills the stage's folder."""
    arrays, motion = talker.programs.arrays, talker._motion
    face, bank = arrays["face"], arrays["bank"]
    n_exp = len(EXP_NAMES)
    model = FaceModel(
        mean=face["mean"], id_basis=np.zeros((0, 468, 3), np.float32), exp_basis=face["exp_basis"],
        exp_signed=np.zeros(n_exp, bool), faces=face["faces"], face_region=face["face_region"],
        uvs=face["uvs"], landmarks=vertex_points(np.arange(468), np.arange(468)), exp_names=EXP_NAMES,
    )  # fmt: skip
    n = len(motion["exp"])
    track = {name: motion[name] for name in ("exp", "euler", "translation", "sh")} | {
        "valid": np.ones(n, bool)
    }

    def clip(folder: pathlib.Path) -> None:
        (folder / "frames").mkdir()
        for k in range(n):
            (folder / "frames" / f"{k:05d}.jpg").write_bytes(talker._archive.read(f"frames/{k:05d}.jpg"))
        (folder / "clip.json").write_text(json.dumps({"width": 96, "height": 96}))
        np.savez(folder / "landmarks.npz", landmarks=np.random.default_rng(0).random((n, 478, 3)))
        np.save(folder / "audio.npy", np.zeros(n * 640, np.float32))

    def tracked(folder: pathlib.Path) -> None:
        np.savez(folder / "track.npz", **track)
        save_model(folder / "model.npz", model)

    def texture(folder: pathlib.Path) -> None:
        sizes = {"texture_size": talker.config.texture_size, "crop_size": talker.config.crop_size}
        (folder / "texture.json").write_text(json.dumps(sizes))
        np.savez(folder / "track.npz", **track)
        np.savez(folder / "bank.npz", mean=bank["mean"], sh=motion["sh"])
        np.save(folder / "frames.npy", bank["frames"])
        np.save(folder / "weights.npy", bank["weights"])

    def mapping(folder: pathlib.Path) -> None:
        tree = nested(dict(arrays["mapping"]))
        del tree["weights"]["general"]
        save_params(folder / "mapping.npz", tree, {"preset": "default", "report": {}})

    def refiner(folder: pathlib.Path) -> None:
        tree = nested(dict(arrays["refiner"]))
        tree["geometry"] = {name: arrays["look"][f"code_{name}"] for name in ("mean", "basis")}
        tree["appearance"] = {"frames": arrays["look"]["frames"]}
        for k, zone in enumerate(ZONES):
            texels = np.flatnonzero(bank[f"place_{zone}"] < bank[f"basis_{zone}"].shape[1])
            tree["appearance"][zone] = {
                "texels": texels,
                "share": bank["zones"][k][texels],
                "keys": arrays["look"][zone][arrays["look"]["frames"]],
                "gain": arrays["look"][f"gain_{zone}"],
                "basis": bank[f"basis_{zone}"],
                "length": arrays["look"]["length"][k],
            }
        detail = {"one": talker.config.detail_one, "gain": talker.config.detail_gain}
        about = {"preset": "lite", "settings": talker.config.refiner_settings, "detail": detail}
        save_params(folder / "refiner.npz", tree, about)

    return {"clip": clip, "track": tracked, "texture": texture, "mapping": mapping, "refiner": refiner}


@pytest.fixture(scope="module")
def golden():
    return talkjax.load(GOLDEN)


@pytest.fixture(scope="module")
def exported(golden, tmp_path_factory):
    """A file that `talkjax export` made of an identity in the store, and the store."""
    store = tmp_path_factory.mktemp("identities")
    identity = Identity.create("me", store)
    for name, build in stages(golden).items():
        identity.run_stage(name, inputs={}, config={}, version=1, build=build)
    identity.set_consent({"status": "recorded", "statement": "I agree."})
    out = store.parent / "me.talkjax"
    assert main.run(["export", "--identity=me", f"--identities_dir={store}", f"--out={out}"]) == 0
    return out, store


def test_all_functions_lowered_again_give_the_same_pictures(golden):
    """The same process, the same platform: StableHLO of the file against jit of today's functions."""
    again, wav = talkjax.load(GOLDEN, lower_again=True), voice()[: 640 * 18]
    for ours, theirs in zip(golden.generate(wav), again.generate(wav), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(again.programs.lowered_again) == 6 and not golden.programs.lowered_again


def test_an_identity_becomes_a_file_and_a_marked_video(golden, exported, tmp_path, capsys):
    out, store = exported
    talker = talkjax.load(out)
    for group in ("bank", "refiner"):
        for name, array in golden.programs.arrays[group].items():
            np.testing.assert_allclose(talker.programs.arrays[group][name], array, atol=1e-5, err_msg=name)
    assert talker.manifest["consent"]["statement"] == "I agree." and talker.n_clip == 12
    assert talker.manifest["platforms"] == ["cpu", "cuda", "tpu"] and len(talker.manifest["programs"]) == 18
    assert not any(b".py" in talker._archive.read(entry["file"]) for entry in talker.manifest["programs"])
    assert sum(name.startswith("licences/") for name in talker.manifest["members"]) == 3
    write_wav(tmp_path / "voice.wav", (voice() * 30_000).astype(np.int16), 16_000)
    result = talker.write(tmp_path / "voice.wav", tmp_path / "out.mp4")
    assert len(list(read_frames(result.path))) == result.frames == 26
    with av.open(str(result.path)) as container:
        assert (
            container.metadata["synthetic"] == "true" and container.metadata["talkjax_consent"] == "recorded"
        )
    record = json.loads(result.sidecar.read_text())
    assert record["output"]["sha256"] == file_sha256(result.path) and record["talkjax_identity"] == "me"
    capsys.readouterr()
    assert main.run(["identity", "delete", "me", f"--identities_dir={store}"]) == 0
    assert str(out) in capsys.readouterr().out


def test_paper_refiner_frame_after_frame(golden):
    """Against `PaperRefiner.sequence` without look-ahead, over a second reading of the memory."""
    n, size, side = 28, 16, 24
    settings = PaperRefinerSettings(
        size=size, width=4, trunk_width=4, n_slots=20, n_keys=8, n_values=8, discriminator_width=4
    )
    task, rng = PaperRefinerTask(settings), np.random.default_rng(0)
    params = random_variables(task.generator, jnp.zeros((1, size, size, 9)), jnp.zeros((1, 8)))
    query = random_variables(task.encoder, jnp.zeros((1, 32)))
    unit = [rng.normal(size=(20, 8)).astype(np.float32) for _ in range(2)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
    bank = MemoryBank(*unit, np.zeros(20, np.float32), np.arange(20, dtype=np.int32))
    refiner = PaperRefiner(task, params, query, bank, task.random_trunk())
    lit = rng.random((n, side, side, 9)).astype(np.float32)
    background = rng.integers(0, 255, (n, side, side, 3)).astype(np.uint8)
    alpha = rng.random((n, side, side)).astype(np.float32)
    refine = refiner.sequence(ZoneFeatures(*[np.zeros((n, 1))] * 3))
    wanted = [
        refine(k, Layers(*(lit[k][..., i : i + 3] for i in (0, 3, 6)), None, alpha[k], background[k] / 255))
        for k in range(n)
    ]
    config = dataclasses.replace(
        golden.config, crop_size=side, refiner="paper", refiner_settings=dataclasses.asdict(settings)
    )
    program, state = jax.jit(refiners.refine_program(config)), refiners.start_refiner(config)
    weights, made = refiners.refiner_arrays(refiner), []
    for k in range(0, n, 4):
        inputs = {"lit": lit[k : k + 4], "background": background[k : k + 4], "alpha": alpha[k : k + 4]}
        state, out = program(weights, state, inputs)
        made += list(np.asarray(out["face"]))
    error = np.abs(np.stack(made) - np.stack(wanted))
    assert np.stack(wanted).std() > 0.1 and error.mean() < 2e-3 and error[26].mean() < 2e-3
