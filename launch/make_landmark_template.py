"""The template of `talkjax/assets/correspondence.py`: the median of the faces lifted from a corpus of people
who do not exist. Was made from 11 of them:

    python -m launch.prepare_corpus synthetic_people --out=people --count=11
    python -m launch.make_landmark_template --people=people --out=landmark_template.npz
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import app, flags

from talkjax.assets.model_file import load_model

_PEOPLE = flags.DEFINE_string(
    "people", None, "folder below which the people's track/model.npz lie", required=True
)
_OUT = flags.DEFINE_string("out", None, "npz to write", required=True)


def main(argv: list[str]) -> None:
    del argv
    faces = [
        np.asarray(load_model(path).mean) for path in sorted(Path(_PEOPLE.value).rglob("track/model.npz"))
    ]
    if not faces:
        raise SystemExit(f"no track/model.npz below {_PEOPLE.value}")
    np.savez_compressed(_OUT.value, verts=np.median(faces, axis=0).astype(np.float32))
    print(f"median of {len(faces)} faces -> {_OUT.value}")


if __name__ == "__main__":
    app.run(main)
