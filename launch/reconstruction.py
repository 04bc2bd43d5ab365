"""The job behind configs/reconstruction_synthetic.py: drawn faces -> checkpoints, `weights.npz`,
`report.json`."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.assets.model_file import load_model
from talkjax.config import ReconstructionConfig
from talkjax.data.drawn_pool import GROUP, draw_rows, drawn_pool
from talkjax.data.face_shards import MARGIN, FaceFolder, draw_group, joined
from talkjax.data.grain_input import GrainInput
from talkjax.data.painted_texture import with_painted_texture
from talkjax.data.reconstruction_rows import DrawnInput, FolderRows, batch_of, face_measures
from talkjax.data.synthetic_faces import FaceStage
from talkjax.errors import InputError
from talkjax.evaluate.one_shot import one_shot_figures
from talkjax.nets.reconstruction_net import CoeffSizes, ReconstructionNet
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from talkjax.rng import stream_key
from talkjax.tasks.reconstruction import ReconstructionBatch, ReconstructionState, ReconstructionTask
from talkjax.track.durable import file_sha256, write_json
from talkjax.train.feed import TrainInput
from talkjax.train.job import Job, Phase
from talkjax.train.params_file import load_params, save_params
from talkjax.train.sharding import Rows
from talkjax.types import FaceModel

LOOKED_AT = 512  # held-out faces
_EVAL_BATCH = 64
_HELD_GROUPS = 4  # where faces are drawn on the host, slowly
_UNSEEN = 977  # added to the seed of faces that are drawn for evaluation
_log = logging.getLogger("talkjax")


def make_net(config: ReconstructionConfig, model: FaceModel, platform: str) -> Any:
    """The network of a preset, for a model's coefficients."""
    n_tex = 0 if model.tex_basis is None else model.tex_basis.shape[0]
    sizes = CoeffSizes(id=model.id_basis.shape[0], exp=model.exp_basis.shape[0], tex=n_tex)
    dtype = jnp.dtype(config.dtype_name(platform))
    if config.preset == "small":
        return SmallReconstructionNet(sizes, width=config.width, units=config.units, dtype=dtype)
    return ReconstructionNet(sizes, width=config.width, dtype=dtype)


def make_job(config: ReconstructionConfig, corpus: str | None) -> Job:
    """Opens the folder of faces, or makes a stage to draw them on.

    Raises:
      InputError: neither is given, or not what it should be.
    """
    folder = None if corpus is None else FaceFolder(corpus, "train")
    if folder is None and not config.face_model:
        raise InputError(
            "no faces are given",
            fix="--corpus=DIR (launch.make_faces) or --set=face_model=FILE",
            code="usage",
        )
    model = folder.model() if folder else load_model(Path(config.face_model))
    stage = FaceStage.of(model if model.tex_basis is not None else with_painted_texture(model))
    size = folder.manifest["size"] if folder else config.size
    side = round(size / MARGIN)
    task = ReconstructionTask(
        make_net(config, stage.model, jax.default_backend()),
        side,
        config.steps,
        config.learning_rate,
        config.seed,
        photometric=config.photometric,
        accumulate=config.accumulate,
    )
    measures = face_measures(stage)
    n_landmarks = len(stage.landmarks.number)

    def input_for(rows: Rows) -> TrainInput:
        if folder is None and config.pool:
            options = config.batch, config.seed, config.pool, config.reuse
            return drawn_pool(stage, size, *options, (rows.index, rows.count))
        if folder is None:
            return DrawnInput(stage, size, config.batch, config.seed, rows.index, rows.count)
        source = FolderRows(folder, config.batch, config.seed, n_landmarks)
        return GrainInput(source, config.batch, rows.index, rows.count, config.workers, threads=2)

    held = _held_out(corpus, stage, size, config)
    look = jax.jit(task.eval_step)

    def evaluate(state: Any, step: int) -> Mapping[str, float]:
        del step
        said, views = [], []
        for first in range(0, len(held.focal) - _EVAL_BATCH + 1, _EVAL_BATCH):
            part = jax.tree.map(lambda x, first=first: x[first : first + _EVAL_BATCH], held)
            answer, view = jax.device_get(look(state.average, state.batch_stats, part, measures))
            said.append(answer)
            views.append(view)
        answers, seen = (jax.tree.map(lambda *x: np.concatenate(x), *parts) for parts in (said, views))
        return one_shot_figures(stage.model, measures, answers, seen, held)

    def finish(state: Any, run: Path) -> None:
        figures = dict(evaluate(state, config.steps))
        write_json(run / "report.json", figures)
        half = jax.tree.map(lambda x: np.asarray(x, np.float16), state.average)
        metadata = {
            "kind": f"reconstruction_{config.preset}",
            "side": side,
            "width": config.width,
            "units": config.units,
            "model": stage.model.name,
            "sizes": {"id": measures.n_id, "exp": len(stage.model.exp_names), "tex": len(measures.tex_form)},
            "exp_names": list(stage.model.exp_names),
            "head_center": [round(float(x), 5) for x in stage.head_center],
            "faces_sha256": folder.digest if folder else "",
            "config": json.loads(config.to_json()) | _without_folders(config),
            "start_sha256": file_sha256(Path(config.start_from)) if config.start_from else "",
            "report": figures,
        }
        tree = {"params": half}
        if state.batch_stats:
            tree["batch_stats"] = jax.tree.map(lambda x: np.asarray(x, np.float32), state.batch_stats)
        save_params(run / "weights.npz", tree, metadata)
        _log.info("held-out faces: %s", json.dumps(figures))

    return Job(
        name=f"reconstruction_{config.preset}",
        init=_started(task, config) if config.start_from else task.init,
        phases=[Phase(0, task.train_step)],
        input_for=input_for,
        corpus=folder.digest if folder else "",
        constants=(measures,),
        evaluate=evaluate,
        finish=finish,
    )


def _without_folders(config: ReconstructionConfig) -> dict[str, str]:
    """The settings that are files, by name: where they lay means nothing elsewhere."""
    return {name: Path(getattr(config, name)).name for name in ("start_from", "face_model")}


def _started(task: ReconstructionTask, config: ReconstructionConfig) -> Callable[[], ReconstructionState]:
    """`init` with an earlier run's parameters.

    Raises:
      InputError: they are not those of this network.
    """
    tree, about = load_params(Path(config.start_from))
    fresh = jax.eval_shape(task.init)
    wanted = {"params": fresh.params} | ({"batch_stats": fresh.batch_stats} if fresh.batch_stats else {})
    if jax.tree.map(np.shape, tree) != jax.tree.map(lambda x: x.shape, wanted):
        raise InputError(
            f"{config.start_from} is a {about.get('kind')} network of width {about.get('width')}",
            expected=f"preset {config.preset}, width {config.width}, units {config.units}, the same model",
            fix="set the width and units of that run",
            code="bad_config",
        )
    tree = jax.tree.map(lambda x: np.asarray(x, np.float32), tree)

    def init() -> ReconstructionState:
        state = task.init()
        params = jax.tree.map(jnp.asarray, tree["params"])
        stats = jax.tree.map(jnp.asarray, tree.get("batch_stats", {}))
        return dataclasses.replace(state, params=params, average=params, batch_stats=stats)

    return init


def _held_out(
    corpus: str | None, stage: FaceStage, size: int, config: ReconstructionConfig
) -> ReconstructionBatch:
    """Faces that are not trained on."""
    seed = config.seed + _UNSEEN
    if corpus is not None:
        held = FaceFolder(corpus, "heldout")
        rows = held.rows(range(min(LOOKED_AT, len(held))))
    elif config.pool:
        group = min(GROUP, config.batch)
        parts = [
            draw_rows(stage, stream_key(seed, "held out", g), group, size) for g in range(LOOKED_AT // group)
        ]
        rows = joined(jax.device_get(parts))
    else:
        rows = joined([draw_group(stage, seed, g, size) for g in range(_HELD_GROUPS)])
    return batch_of(rows, len(stage.landmarks.number))
