"""The training steps of all presets from shapes alone: no corpus, no weights, no memory.

What launch/compile_only.py and launch/scale.py compile. Sizes that a corpus would decide are the defaults
below; each says where it is from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.config import GeneralMappingConfig, GeneralRefinerConfig, PretrainConfig, ReconstructionConfig
from talkjax.data.coarticulation import PHONES
from talkjax.data.face_shards import MARGIN
from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.face.deformers import EXP_NAMES
from talkjax.face.points import vertex_points
from talkjax.infer.descriptors import N_FEATURES, N_VALUES
from talkjax.nets.reconstruction_net import CoeffSizes, ReconstructionNet
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from talkjax.tasks.mapping import SEQUENCE, MappingBatch, MappingTask
from talkjax.tasks.mapping_general import (
    N_CHANNELS,
    SEQUENCE_FRAMES,
    GeneralBatch,
    GeneralMappingTask,
    GeneralScales,
)
from talkjax.tasks.mapping_targets import LIP_POINTS, Targets
from talkjax.tasks.reconstruction import ReconstructionBatch, ReconstructionTask, make_measures
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerBatch, RefinerInputs
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask
from talkjax.train.job import Job, Phase
from talkjax.train.sharding import Rows
from talkjax.types import FaceModel

CROP = 256  # pixels: the largest crop that `track/crop.py` makes, and the paper's
STEPS = 100_000  # of the schedules; no influence on the program


class Shapes(NamedTuple):
    """A job without its input, the global batch it would read, and the parts that a step takes it in."""

    job: Job
    batch: Any
    accumulate: int = 1


def _spec(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))


def _no_input(rows: Rows) -> NoReturn:
    raise AssertionError(f"rows {rows} of a job that has shapes only")


def mapping(batch: int, dtype: str, accumulate: int = 1) -> Shapes:
    """The general mapping (`configs/mapping_general.py`): sequences of 128 frames."""
    n_exp, t = len(EXP_NAMES), SEQUENCE_FRAMES
    n = N_CHANNELS + n_exp
    scales = GeneralScales(*(np.ones(shape, np.float32) for shape in (n, n, n_exp, ())))
    task = GeneralMappingTask(scales, len(PHONES), STEPS, accumulate=accumulate, dtype=dtype)
    sound, frames = _spec(np.float32, batch, 4 * t, 40), _spec(np.float32, batch, t)
    spec = GeneralBatch(
        rows=sound,
        noise=sound,
        channels=_spec(np.float32, batch, t, N_CHANNELS),
        exp=_spec(np.float32, batch, t, n_exp),
        closed=frames,
        speech=frames,
        phones=_spec(np.int32, batch, t),
        valid=_spec(bool, batch, t),
    )
    return Shapes(Job("mapping", task.init, [Phase(0, task.train_step)], _no_input), spec, accumulate)


def mapping_paper(batch: int, dtype: str, accumulate: int = 1) -> Shapes:
    """The paper's mapping: 16 windows of 28 x 12 MFCC a sequence. In float32 whatever `dtype` says."""
    del dtype
    _one_part("mapping_paper", accumulate)
    e, k = len(EXP_NAMES), 3 * len(LIP_POINTS)
    shapes = ((e + 6,), (e + 6,), (e, k), (e,), (), (), (e,), (), ())
    task = MappingTask(Targets(*(np.ones(shape, np.float32) for shape in shapes)))
    spec = MappingBatch(
        sound=_spec(np.float32, batch, SEQUENCE, 28, 12), target=_spec(np.float32, batch, SEQUENCE, e + 6)
    )
    return Shapes(Job("mapping_paper", task.init, [Phase(0, task.train_step)], _no_input), spec, accumulate)


def refiner(batch: int, dtype: str, accumulate: int = 1, *, width: int = 32, n_slots: int = 8192) -> Shapes:
    """The `lite` refiner with its discriminator at work, which is the longer of its two steps."""
    settings = LiteRefinerSettings(
        CROP, N_FEATURES, N_VALUES, n_slots, STEPS, width=width, accumulate=accumulate, dtype=dtype
    )
    task = LiteRefinerTask(settings)
    picture, plane = _spec(np.uint8, batch, CROP, CROP, 3), _spec(np.uint8, batch, CROP, CROP)
    spec = RefinerBatch(
        inputs=RefinerInputs(
            window=_spec(np.uint8, batch, CROP, CROP, 9),
            many=picture,
            one=picture,
            region=_spec(np.int8, batch, CROP, CROP),
            features=_spec(np.float32, batch, N_FEATURES),
        ),
        target=picture,
        weight=plane,
        values=_spec(np.float32, batch, N_VALUES),
        source=_spec(np.int32, batch),
    )
    return Shapes(Job("refiner", task.init, [Phase(0, task.adversarial_step)], _no_input), spec, accumulate)


def refiner_paper(
    batch: int, dtype: str, accumulate: int = 1, *, width: int = 64, n_slots: int = 30_000
) -> Shapes:
    """The paper's refiner at its own sizes: 256 pixels, 30,000 rows of memory."""
    s = PaperRefinerSettings(
        size=CROP, width=width, discriminator_width=width, n_slots=n_slots, accumulate=accumulate, dtype=dtype
    )
    task = PaperRefinerTask(s)
    spec = PaperBatch(
        window=_spec(np.uint8, batch, s.size, s.size, 9),
        target=_spec(np.uint8, batch, s.size, s.size, 3),
        identity=_spec(np.float32, batch, s.n_values),
        source=_spec(np.int32, batch),
    )
    constants = (jax.eval_shape(task.random_trunk),)
    job = Job("refiner_paper", task.init, [Phase(0, task.train_step)], _no_input, constants=constants)
    return Shapes(job, spec, accumulate)


def reconstruction(
    batch: int,
    dtype: str,
    accumulate: int = 1,
    *,
    preset: str = "small",
    width: int = 48,
    units: int = 2,
    size: int = 128,
    photometric: float = 0.0,
) -> Shapes:
    """R-Net on drawn faces (`configs/reconstruction_synthetic.py`): ICT-FaceKit's axes, 468 landmarks.

    What the photometric term draws is the 468-point mesh, not ICT-FaceKit's front.
    """
    sizes = CoeffSizes(id=20, exp=53, tex=16)
    n = mesh468.N_MESH
    model = FaceModel(
        mean=jnp.zeros((n, 3)),
        id_basis=jnp.zeros((sizes.id, n, 3)),
        exp_basis=jnp.zeros((sizes.exp, n, 3)),
        exp_signed=jnp.zeros(sizes.exp, bool),
        faces=jnp.asarray(mesh468.FACES),
        face_region=jnp.asarray(mesh468.FACE_REGION),
        uvs=jnp.zeros((n, 2)),
        landmarks=vertex_points(np.arange(n), np.arange(n)),
        tex_mean=jnp.zeros((n, 3)),
        tex_basis=jnp.zeros((sizes.tex, n, 3)),
        exp_names=tuple(map(str, range(sizes.exp))),
    )
    every = np.ones(n, bool)
    measures = make_measures(model, every, every, np.ones(n), np.zeros(3))
    if preset == "small":
        net: Any = SmallReconstructionNet(sizes, width=width, units=units, dtype=jnp.dtype(dtype))
    else:
        net = ReconstructionNet(sizes, width=width, dtype=jnp.dtype(dtype))
    task = ReconstructionTask(
        net, round(size / MARGIN), STEPS, photometric=photometric, accumulate=accumulate
    )
    shapes = {
        **{f"{name}_coeffs": (k,) for name, k in sizes._asdict().items()},
        **{"sh_coeffs": (3, 9), "euler": (3,), "translation": (3,), "focal": (), "center": (2,)},
        **{"known": (), "landmarks": (n, 2)},
    }
    spec = ReconstructionBatch(
        images=_spec(np.uint8, batch, size, size, 3),
        **{name: _spec(np.float32, batch, *shape) for name, shape in shapes.items()},
    )
    job = Job(
        f"reconstruction_{preset}", task.init, [Phase(0, task.train_step)], _no_input, constants=(measures,)
    )
    return Shapes(job, spec, accumulate)


PRESETS: dict[str, Callable[..., Shapes]] = {
    "mapping": mapping,
    "mapping_paper": mapping_paper,
    "refiner": refiner,
    "refiner_paper": refiner_paper,
    "reconstruction": reconstruction,
}


def of_config(config: PretrainConfig, platform: str) -> Shapes:
    """What launch.train would train with a config, on a corpus of 256-pixel frames.

    Raises:
      InputError: a config of no preset.
    """
    common = (config.batch, config.dtype_name(platform), config.accumulate)
    if isinstance(config, GeneralMappingConfig):
        return mapping(*common)
    if isinstance(config, GeneralRefinerConfig):
        make = refiner if config.preset == "lite" else refiner_paper
        return make(*common, width=config.width, n_slots=config.n_slots)
    if isinstance(config, ReconstructionConfig):
        sizes = {name: getattr(config, name) for name in ("preset", "width", "units", "size", "photometric")}
        return reconstruction(*common, **sizes)
    raise InputError(
        f"{type(config).__name__} has no shapes", expected=f"--preset={'|'.join(PRESETS)}", code="bad_config"
    )


def _one_part(name: str, accumulate: int) -> None:
    if accumulate != 1:
        raise InputError(f"{name} has no gradient accumulation", expected="accumulate=1", code="bad_config")
