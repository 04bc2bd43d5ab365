"""Exports what a refiner learns from and is judged on into one `.npz` that travels to an accelerator.

    python -m tests.benchmarks.export_refiner_frames --identity=real --identities_dir=DIR --out=real.npz
    python -m tests.benchmarks.export_refiner_frames --prepared=CORPUS/prepared --out=people.npz

From a prepared identity: all training frames, and every `--every`th held-out frame of drive `tracked` with
its landmarks. From a refiner corpus (docs/corpora.md; it may still be building): frames of its people, as
`train`. Layout: `refiner_frames`. With pictures of a real person the file is as private as the clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.infer.appearance import Appearance, fit_appearance
from talkjax.infer.descriptors import appearance_values, fit_geometry_code
from talkjax.infer.layers import FrameLayers
from talkjax.infer.person import Person, Segment, load_person, load_segment
from talkjax.infer.training_data import build_refiner_data, composites, own_motion
from talkjax.track.identity import Identity
from tests.benchmarks.refiner_frames import EARLIER, FACES, Writer, write_frames

IDENTITY = flags.DEFINE_string("identity", None, "a prepared identity with held-out frames")
IDENTITIES_DIR = flags.DEFINE_string("identities_dir", None, "folder of all identities")
PREPARED = flags.DEFINE_list("prepared", None, "instead: folders `prepared` of refiner corpora of one size")
_STORED = ("target", *FACES, "region", "valid", "features", "values")
OUT = flags.DEFINE_string("out", None, "the file to write", required=True)
EVERY = flags.DEFINE_integer("every", 3, "one held-out frame of so many")
QUALITY = flags.DEFINE_integer("quality", 92, "of JPEG")
SIDE = flags.DEFINE_integer("side", 0, "people: shrink to so many pixels (0: as they are)")
FRAMES = flags.DEFINE_integer("frames", 0, "people: first frames of each person (0: all)")
PEOPLE = flags.DEFINE_integer("people", 0, "people: first people (0: all)")


def export_identity(person: Person, heldout: Segment, every: int, quality: int) -> dict[str, np.ndarray]:
    """Arrays of the file."""
    geometry = fit_geometry_code(person.features)
    features, values = geometry(person.features), appearance_values(person.bank, person.zones)
    appearance = fit_appearance(
        person.bank, person.features, person.zones, person.texels.region, person.train.valid
    )
    data = build_refiner_data(person, appearance, features, values)
    train = Writer(quality)
    for k in range(len(data.valid)):
        faces = {name: getattr(data, name)[k] for name in FACES}
        rows = {"valid": data.valid[k], "features": features[k], "values": values[k]}
        train.add(data.target[k], data.region[k], faces, identity=np.int32(0), frame=np.int32(k), **rows)
    return train.arrays("train") | _heldout(person, heldout, appearance, geometry, every, quality).arrays(
        "heldout"
    )


def _heldout(
    person: Person, heldout: Segment, appearance: Appearance, geometry: Any, every: int, quality: int
) -> Writer:
    """Drive `tracked`: the held-out frames' own motion over their own surroundings."""
    writer = Writer(quality)
    layers_of = FrameLayers(person, own_motion(heldout), heldout, appearance)
    features = geometry(person.describe(heldout))
    past: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for k, host, layers in layers_of.frames():
        bare, many, one = composites(layers)
        past = [*(past or [(bare, host.crop, layers.region)] * 2), (bare, host.crop, layers.region)]
        if k % every == 0:
            scale = person.crop_size / float(layers_of.crops.side[k])
            corner = layers_of.crops.center[k] - layers_of.crops.side[k] / 2
            points = (heldout.landmarks[k, :, :2] - corner) * scale
            if not heldout.valid[k]:
                points = np.full_like(points, np.nan)
            writer.add(
                host.crop,
                layers.region,
                {"bare": bare, "many": many, "one": one},
                valid=heldout.valid[k],
                features=features[k],
                values=np.zeros(0, np.float32),
                identity=np.int32(0),
                frame=np.int32(k),
                landmarks=points.astype(np.float32),
            )
            for (name, before), (image, crop, region) in zip(EARLIER.items(), past[-2::-1], strict=False):
                writer.earlier(name, before, image, crop, region)
        past = past[-2:]
    return writer


def export_people(
    prepared: list[Path], people: int, frames: int, side: int, quality: int
) -> dict[str, np.ndarray]:
    """Arrays of the file: first `frames` frames of the first `people`, shrunk to `side` pixels (0: all).

    A person who is in several folders is taken from the first.
    """
    found = {path.name: path for folder in reversed(prepared) for path in folder.glob("*/*.npz")}
    writer = Writer(quality)
    for number, path in enumerate([found[name] for name in sorted(found)][: people or None]):
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name][: frames or None] for name in _STORED}
        size = side or data["target"].shape[1]

        def small(image: np.ndarray, how: int = cv2.INTER_AREA, size: int = size) -> np.ndarray:
            return image if len(image) == size else cv2.resize(image, (size, size), interpolation=how)

        for k in range(len(data["valid"])):
            rows = {name: data[name][k] for name in ("valid", "features", "values")}
            rows |= {"identity": np.int32(number), "frame": np.int32(k)}
            faces = {name: small(data[name][k]) for name in FACES}
            region = small(data["region"][k], cv2.INTER_NEAREST)
            writer.add(small(data["target"][k]), region, faces, **rows)
    return writer.arrays("train")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if IDENTITY.value:
        root = Identity.open(IDENTITY.value, IDENTITIES_DIR.value).root
        person = load_person(IDENTITY.value, root / "clip", root / "track", root / "texture")
        heldout = load_segment(root / "heldout", root / "heldout_track")
        arrays = export_identity(person, heldout, EVERY.value, QUALITY.value)
    elif PREPARED.value:
        folders = [Path(folder) for folder in PREPARED.value]
        arrays = export_people(folders, PEOPLE.value, FRAMES.value, SIDE.value, QUALITY.value)
    else:
        raise app.UsageError("--identity or --prepared")
    write_frames(OUT.value, arrays, {"quality": QUALITY.value})
    print(f"{OUT.value}: {Path(OUT.value).stat().st_size / 1e6:.1f} MB")
    for name, array in sorted(arrays.items()):
        print(f"  {name:<24}{array.dtype!s:<9}{array.shape} {array.nbytes / 1e6:.2f} MB")


if __name__ == "__main__":
    app.run(main)
