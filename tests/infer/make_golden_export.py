"""Makes `tests/goldens/export/`: python -m tests.infer.make_golden_export [FOLDER]

A drawn person of 96 x 96 pixels with twelve frames and small networks with random weights, exported once,
and what
the runtime made of it. It is made again only when `layout.CONVENTION` is raised: files of one convention must
load with every later talkjax and JAX.
FOLDER keeps the prepared identity between runs.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

import talkjax
from talkjax.data.synthetic_person import synthesize_clip
from talkjax.face.camera import clip_camera
from talkjax.infer.appearance import appearance_from, fit_appearance
from talkjax.infer.bundle import functions, gather
from talkjax.infer.bundle.archive import write_archive
from talkjax.infer.descriptors import fit_geometry_code
from talkjax.infer.detail import Detail
from talkjax.infer.export import bundle_manifest, bundle_members
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.person import Person, first_frames, soft_zones
from talkjax.infer.personal import open_person
from talkjax.infer.personal_refiner import LiteRefiner
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.nets.mapping_default import DefaultMappingNet
from talkjax.tasks.mapping_targets import fit_targets
from talkjax.tasks.refiner_lite import KEY_DIM, LiteRefinerSettings, LiteRefinerTask
from talkjax.track.identity import Identity
from talkjax.track.texture import Texels, TextureBank, texels_of
from talkjax.types import MemoryBank
from tests.infer.bundle_child import voice
from tests.nets.weights import random_variables

FOLDER = Path(__file__).parents[1] / "goldens" / "export"
SIZE, CROP, TEXTURE, FRAMES = 96, 64, 48, 12
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
SHOWN = (0, 9, 25)
"""Frames of the runtime's output that are kept."""


def small_person(person: Person) -> Person:
    """The first frames at a fifth of the resolution."""
    model = person.model.replace(  # type: ignore[attr-defined]
        id_basis=person.model.id_basis[:0],
        # ten bits of each number are enough here, and half as large when packed
        exp_basis=person.model.exp_basis.astype(jnp.float16).astype(jnp.float32),
    )
    texels = texels_of(model, TEXTURE)
    bank = small_bank(person.bank, person.texels, texels)
    features = ZoneFeatures(*(rows[:FRAMES] for rows in person.features))
    segment = first_frames(person.train, FRAMES)
    return dataclasses.replace(
        person,
        name="golden",
        width=SIZE,
        height=SIZE,
        camera=clip_camera(SIZE, SIZE),
        model=model,
        crop_size=CROP,
        texels=texels,
        bank=bank,
        zones=soft_zones(model, texels),
        train=segment,
        features=features,
    )


def small_bank(bank: TextureBank, large: Texels, small: Texels) -> TextureBank:
    """Every texel from the one at its place in the large texture."""
    row, column = np.divmod(small.used, small.size)
    at = [((x + 0.5) * large.size / small.size).astype(int) for x in (row, column)]
    texel = large.fill[at[0] * large.size + at[1]]
    frames, weights = bank.frames[:FRAMES, texel], bank.weights[:FRAMES, texel]
    return TextureBank(bank.mean[texel], frames, weights, bank.sh_coeffs[:FRAMES])


def small_mapping(person: Person, rng: np.random.Generator) -> Mapping:
    """A network of 8 channels and a regression that opens the jaw where it is loud."""
    segment = person.train
    pose = np.concatenate([segment.euler, segment.translation], 1)
    targets = fit_targets(segment.exp, pose, person.model, np.ones(FRAMES, bool), paper=False, relative=False)
    n_exp = len(targets.gap)
    net = DefaultMappingNet(heads=(("out", n_exp + 7), ("flags", 2)), width=8, front=6)
    params = random_variables(net, jnp.zeros((1, 8, 40)))["params"]
    params = jax.tree.map(lambda x: np.asarray(0.5 * x, np.float16).astype(np.float32), params)
    ridge = np.zeros((28, 40, n_exp + 6), np.float32)
    ridge[10:18, 5:20, person.model.exp_names.index("jawOpen")] = 0.02
    weights = {
        "members": ({k: v for k, v in params.items() if k != "flags"},),
        "ridge_weights": ridge,
        "ridge_bias": np.zeros(n_exp + 6, np.float32),
        "share": np.float32(0.7),
        "gain": np.float32(1.2),
        "press": np.array([0.5, 0.9], np.float32),
        "general": params,
        "rest": np.median(segment.exp, 0).astype(np.float32),
    }
    return Mapping("default", targets, weights)


def small_refiner(person: Person, rng: np.random.Generator) -> LiteRefiner:
    """Random weights and a memory of a slot per frame."""
    settings = LiteRefinerSettings(size=CROP, n_features=24, n_values=8, n_slots=FRAMES, steps=1, width=8)
    task = LiteRefinerTask(settings)
    images, code = jnp.zeros((1, CROP, CROP, 18)), jnp.zeros((1, 8))
    params = random_variables(task.generator, images, code)
    params = jax.tree.map(coarse, params)
    params["params"]["head"]["bias"] = np.asarray(task.generator._head_bias(None, (40,)), np.float32)
    keys = rng.normal(size=(FRAMES, KEY_DIM)).astype(np.float32)
    bank = MemoryBank(
        keys=keys / np.linalg.norm(keys, axis=1, keepdims=True),
        values=rng.normal(size=(FRAMES, 8)).astype(np.float32),
        age=np.zeros(FRAMES, np.float32),
        source_id=np.arange(FRAMES, dtype=np.int32),
    )
    query = rng.normal(size=(24, KEY_DIM)).astype(np.float32) / 5
    geometry = fit_geometry_code(person.features)
    appearance = fit_appearance(
        person.bank, person.features, person.zones, person.texels.region, np.ones(FRAMES, bool)
    )
    appearance = appearance_from(appearance.tree())  # as from its file
    return LiteRefiner("lite", task, params, query, bank, geometry, appearance, Detail(gain=0.3))


def coarse(x: Any) -> np.ndarray:
    """A third of the weights' size, in a few steps: these pack well."""
    x = np.asarray(x)
    step = max(float(np.abs(x).max()), 1e-6) / 4
    return (0.3 * step * np.round(x / step)).astype(np.float32)


def small_pictures(person: Person) -> list[bytes]:
    """The clip's frames, shrunk, as jpeg."""
    out = []
    for k in range(FRAMES):
        image = cv2.resize(person.train.frame(k), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        out.append(cv2.imencode(".jpg", image[..., ::-1], JPEG)[1].tobytes())
    return out


def prepared_identity(folder: Path) -> Identity:
    """Four seconds of the drawn person at 192 x 192."""
    if not (folder / "identities" / "golden" / "texture" / "stage.json").exists():
        synthesize_clip(folder / "clip.mp4", seconds=4.0, size=(192, 192), overwrite=True)
        options: dict[str, Any] = {"identities_dir": folder / "identities", "consent": "self"}
        talkjax.prepare(folder / "clip.mp4", "golden", train_frames=60, **options)
    return Identity.open("golden", folder / "identities")


def main(folder: Path) -> None:
    """Writes the file and some frames of its output."""
    identity, rng = prepared_identity(folder), np.random.default_rng(0)
    person = small_person(open_person(identity))
    mapping, refiner = small_mapping(person, rng), small_refiner(person, rng)
    config = gather.bundle_config(person, mapping, refiner)
    arrays = gather.bundle_arrays(person, mapping, refiner)
    programs = functions.lower_all(config, arrays, ("cpu",))  # a third of the size
    members = bundle_members(config, arrays, gather.motion_arrays(person), programs, small_pictures(person))
    about = {"name": "golden", "source": {"file": "drawn, no real person"}, "all_frames": False}
    head = bundle_manifest(config, programs, about, identity.record.consent, {})
    FOLDER.mkdir(exist_ok=True)
    write_archive(FOLDER / "person.talkjax", head, members, overwrite=True)
    frames = list(talkjax.load(FOLDER / "person.talkjax").generate(voice()))
    np.savez_compressed(FOLDER / "frames.npz", **{f"frame_{k}": frames[k] for k in SHOWN})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
