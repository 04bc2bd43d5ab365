"""Draws faces with known coefficients for the reconstruction network; docs/reconstruction_card.md.

    python -m launch.make_faces --facekit=PATH/TO/ict_facekit --out=faces --count=40960 --seed=0 --workers=2

Can be stopped at any time and run again; finished shards are kept. Exit codes as in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)
from talkjax.assets.ict import load_ict
from talkjax.assets.model_file import load_model
from talkjax.cli.progress import terminal_progress
from talkjax.data.face_shards import GROUP, MODEL_FILE, make_faces
from talkjax.data.painted_texture import with_painted_texture
from talkjax.errors import EXIT_INTERRUPTED, InputError, TalkjaxError
from talkjax.types import FaceModel

_OUT = flags.DEFINE_string("out", None, "Folder of the faces.", required=True)
_FACEKIT = flags.DEFINE_string("facekit", None, "Folder of ICT-FaceKit, or its converted model (.npz).")
_COUNT = flags.DEFINE_integer("count", 40960, "How many faces.", lower_bound=GROUP)
_SEED = flags.DEFINE_integer("seed", 0, "Everything random.")
_SIZE = flags.DEFINE_integer("size", 128, "Side of the pictures, px; networks see 7/8 of it.", lower_bound=32)
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes; does not change the result.", lower_bound=0)


def _model(out: Path) -> FaceModel:
    """The model given, with a texture; when a run goes on, the one that lies there."""
    if (out / MODEL_FILE).is_file():
        return load_model(out / MODEL_FILE)
    if _FACEKIT.value is None:
        raise InputError("no face model is given", fix="--facekit=DIR or FILE.npz", code="usage")
    source = Path(_FACEKIT.value)
    model = load_model(source) if source.is_file() else load_ict(source, "full").model
    return model if model.tex_basis is not None else with_painted_texture(model)


def main(argv: list[str]) -> None:
    try:
        if argv[1:]:
            raise InputError(f"unexpected argument {argv[1]}", expected="flags only")
        out = Path(_OUT.value)
        model = _model(out)
        manifest = make_faces(
            out, model, _COUNT.value, _SEED.value, _SIZE.value, _WORKERS.value, terminal_progress()
        )
        print(f"{manifest['count']} faces in {manifest['shards']} shards")
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    app.run(main)
