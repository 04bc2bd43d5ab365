"""The job behind configs/refiner_general.py: frames of many people -> checkpoints, pictures,
`weights.npz`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.config import GeneralRefinerConfig
from talkjax.data.grain_input import stacked
from talkjax.data.refiner_rows import RefinerRows
from talkjax.data.train_input import RefinerSizes, corpus_digest, refiner_input, refiner_sizes
from talkjax.errors import InputError
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerBatch
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask, Trunk
from talkjax.track.durable import write_json
from talkjax.train.feed import TrainInput
from talkjax.train.job import Job, Phase
from talkjax.train.params_file import save_params
from talkjax.train.sharding import Rows

HELD_OUT = "identity_heldout"
LOOKED_AT = 32  # held-out frames per look
SHOWN = 4  # of them in a picture
CALIBRATION = 64  # frames on which the random trunk is measured
SMALL = 64  # pixels; below that side the networks are made for tests
_log = logging.getLogger("talkjax")


def make_job(config: GeneralRefinerConfig, corpus: str | None) -> Job:
    """Opens the corpus.

    Raises:
      InputError: no corpus, or one of another kind.
    """
    if corpus is None:
        raise InputError("no corpus of frames is given", fix="--corpus=DIR (docs/corpora.md)", code="usage")
    sizes = refiner_sizes(corpus)
    _log.info("%d frames of %d people, %d pixels", sizes.frames, sizes.identities, sizes.size)
    make = _lite if config.preset == "lite" else _paper
    phases, init, constants, refine = make(config, corpus, sizes)
    held = _held_out(config, corpus)

    def input_for(rows: Rows) -> TrainInput:
        return refiner_input(
            corpus,
            batch=config.batch,
            seed=config.seed,
            preset=config.preset,
            process_index=rows.index,
            process_count=rows.count,
            workers=config.workers,
        )

    def panels(state: Any, batch: Any, *constants: Any) -> Mapping[str, jax.Array]:
        del batch
        some = jax.tree.map(lambda x: x[:SHOWN], held)
        bare, target = (to_unit(x) for x in (_bare(some), some.target))
        columns = [bare, refine(state, some, *constants), target]
        grid = jnp.concatenate(columns, 2)  # each row: bare, refined, real
        return {"heldout": grid.reshape(-1, *grid.shape[2:])}

    look = jax.jit(refine)

    def evaluate(state: Any, step: int) -> Mapping[str, float]:
        del step
        made = np.concatenate(
            [
                np.asarray(look(state, jax.tree.map(lambda x, k=k: x[k : k + 1], held), *constants))
                for k in range(len(held.target))
            ]
        )
        target, bare = (np.asarray(x, np.float32) / 255 for x in (held.target, _bare(held)))
        return {"psnr": round(psnr(made, target), 3), "bare_psnr": round(psnr(bare, target), 3)}

    def finish(state: Any, folder: Path) -> None:
        figures = dict(evaluate(state, config.steps))
        write_json(folder / "report.json", figures)
        kept = {"generator": getattr(state, "average", state.params), "query": state.query}
        metadata = {
            "kind": f"refiner_general_{config.preset}",
            "corpus_sha256": corpus_digest(corpus),
            "sizes": sizes._asdict(),
            "config": json.loads(config.to_json()),
            "report": figures,
        }
        half = jax.tree.map(lambda x: np.asarray(x, np.float16), kept)
        save_params(folder / "weights.npz", half, metadata)
        _log.info("held-out people: %s", json.dumps(figures))

    return Job(
        name=f"refiner_{config.preset}",
        init=init,
        phases=phases,
        input_for=input_for,
        corpus=corpus_digest(corpus),
        constants=constants,
        panels=panels,
        evaluate=evaluate,
        finish=finish,
    )


_Parts = tuple[list[Phase], Callable[[], Any], tuple[Any, ...], Callable[..., jax.Array]]


def _lite(config: GeneralRefinerConfig, corpus: str, sizes: RefinerSizes) -> _Parts:
    del corpus
    task = LiteRefinerTask(
        LiteRefinerSettings(
            size=sizes.size,
            n_features=sizes.n_features,
            n_values=sizes.n_values,
            n_slots=config.n_slots,
            steps=config.steps,
            seed=config.seed,
            width=config.width,
            learning_rate=config.learning_rate,
            accumulate=config.accumulate,
            dtype=config.dtype_name(jax.default_backend()),
        )
    )

    def refine(state: Any, batch: RefinerBatch) -> jax.Array:
        code = task.read_code(state.bank, state.query, jnp.asarray(batch.inputs.features))
        return signed_to_unit(task.refine(state.average, code, batch.inputs))

    adversarial_from = int(task.settings.gan_from * config.steps)
    phases = [Phase(0, task.train_step), Phase(max(adversarial_from, 1), task.adversarial_step)]
    return phases, task.init, (), refine


def _paper(config: GeneralRefinerConfig, corpus: str, sizes: RefinerSizes) -> _Parts:
    small = sizes.size <= SMALL
    task = PaperRefinerTask(
        PaperRefinerSettings(
            size=sizes.size,
            width=config.width,
            adain_hidden=64 if small else 0,
            discriminator_width=config.width,
            trunk_width=16 if small else 64,
            n_slots=config.n_slots,
            learning_rate=config.learning_rate,
            seed=config.seed,
            accumulate=config.accumulate,
            dtype=config.dtype_name(jax.default_backend()),
        )
    )
    pictures = RefinerRows(corpus, config.batch, config.seed, "paper").pictures(CALIBRATION)
    trunk = task.calibrated(task.random_trunk(), jnp.asarray(pictures))

    def refine(state: Any, batch: PaperBatch, trunk: Trunk) -> jax.Array:
        # as in use: the identity feature comes from the memory, never from the real picture
        identity = task.read(trunk, state.query, state.bank, jnp.asarray(batch.window[..., 6:]))
        return signed_to_unit(task.refine(state.params, identity, jnp.asarray(batch.window)))

    return [Phase(0, task.train_step)], task.init, (trunk,), refine


def _held_out(config: GeneralRefinerConfig, corpus: str) -> Any:
    """Frames of people who are not trained on; of the training people where there are no others."""
    split = HELD_OUT
    try:
        rows = RefinerRows(corpus, LOOKED_AT, config.seed, config.preset, split=split, augment=False)
    except InputError as error:
        if error.code != "wrong_corpus":
            raise
        split = "train"
        rows = RefinerRows(corpus, LOOKED_AT, config.seed, config.preset, split=split, augment=False)
    _log.info("looks at %d frames of split %s", LOOKED_AT, split)
    return stacked([rows(0, k) for k in range(LOOKED_AT)])


def _bare(batch: RefinerBatch | PaperBatch) -> Any:
    """The current bare composite, uint8."""
    window = batch.inputs.window if isinstance(batch, RefinerBatch) else batch.window
    return window[..., 6:]


def to_unit(image: Any) -> jax.Array:
    """uint8 -> [0, 1]."""
    return jnp.asarray(image).astype(jnp.float32) / 255


def signed_to_unit(image: jax.Array) -> jax.Array:
    """[-1, 1] -> [0, 1]."""
    return jnp.clip((image + 1) / 2, 0, 1)


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB; images in [0, 1]."""
    error = ((made - real) ** 2).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-12))))
