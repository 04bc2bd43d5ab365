"""The job behind configs/mapping_general.py: corpus -> checkpoints -> `weights.npz` and `report.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from talkjax.config import FPS, GeneralMappingConfig
from talkjax.data.coarticulation import PHONES
from talkjax.data.corpora.corpus import SpeechItems
from talkjax.data.mapping_batches import Item
from talkjax.data.train_input import corpus_digest, mapping_input, mapping_scales
from talkjax.errors import InputError
from talkjax.evaluate.general_mapping import (
    DEGRADATIONS,
    GeneralPredictor,
    heldout_figures,
    silence_speeds,
)
from talkjax.evaluate.meter import plain
from talkjax.tasks.mapping_general import GeneralMappingTask
from talkjax.track.durable import write_json
from talkjax.train.feed import TrainInput
from talkjax.train.job import Job, Phase
from talkjax.train.params_file import save_params
from talkjax.train.sharding import Rows

HELD_OUT = ("utterance_heldout", "voice_heldout", "language_heldout")
GLANCE_ITEMS = 40  # utterances per split while training; the end looks at all
_log = logging.getLogger("talkjax")


def make_job(config: GeneralMappingConfig, corpus: str | None) -> Job:
    """Reads the corpus.

    Raises:
      InputError: no corpus.
    """
    if corpus is None:
        raise InputError("no speech corpus is given", fix="--corpus=DIR", code="usage")
    digest = corpus_digest(corpus)
    train = SpeechItems(corpus, "train", config.versions, config.seed)
    held = {name: _held_out(corpus, name, config.seed) for name in HELD_OUT}
    held = {name: group for name, group in held.items() if group}
    hours = float(train.lengths.sum()) / FPS / 3600
    _log.info("%d utterances, %.2f h", len(train), hours)
    scales = mapping_scales(corpus)
    task = GeneralMappingTask(
        scales,
        len(PHONES),
        config.steps,
        config.learning_rate,
        config.seed,
        accumulate=config.accumulate,
        dtype=config.dtype_name(jax.default_backend()),
    )

    def input_for(rows: Rows) -> TrainInput:
        return mapping_input(
            corpus,
            batch=config.batch,
            seed=config.seed,
            process_index=rows.index,
            process_count=rows.count,
            workers=config.workers,
            versions=config.versions,
        )

    def evaluate(state: Any, step: int) -> Mapping[str, float]:
        del step
        predictor = GeneralPredictor(task, state.params)
        figures = {name: heldout_figures(predictor, _some(group), scales.gap) for name, group in held.items()}
        return _rounded(figures)

    def finish(state: Any, folder: Path) -> None:
        report = final_report(task, state.params, held)
        report["training"] = {"hours": round(hours, 3), "utterances": len(train), "steps": config.steps}
        metadata = {
            "kind": "mapping_general",
            "phones": list(PHONES),
            "corpus_manifest_sha256": digest,
            "corpus_hours": round(hours, 3),
            "config": json.loads(config.to_json()),
            "report": report,
        }
        half = jax.tree.map(lambda x: np.asarray(x, np.float16), state.params)
        save_params(folder / "weights.npz", {"params": half, "scales": scales._asdict()}, metadata)
        write_json(folder / "report.json", report)
        _log.info("%s", json.dumps(report, indent=1))

    return Job(
        name="mapping_general",
        init=task.init,
        phases=[Phase(0, task.train_step)],
        input_for=input_for,
        corpus=digest,
        evaluate=evaluate,
        finish=finish,
    )


def _held_out(corpus: str, split: str, seed: int) -> list[Item]:
    """All utterances of a split; none where the corpus has no such split."""
    try:
        items = SpeechItems(corpus, split, 1, seed)
    except InputError as error:
        if error.code != "wrong_corpus":
            raise
        return []
    return [items.item(k, 0) for k in range(len(items))]


def _some(group: Sequence[Item]) -> list[Item]:
    return [group[k] for k in np.unique(np.linspace(0, len(group) - 1, GLANCE_ITEMS).astype(int))]


def final_report(task: GeneralMappingTask, params: Any, held: dict[str, list[Item]]) -> dict[str, Any]:
    """Figures on every held-out utterance: clean, and the voices also through a telephone, music and hiss."""
    predictor = GeneralPredictor(task, params)
    report: dict[str, Any] = {}
    for name, group in held.items():
        kinds = DEGRADATIONS if name == "voice_heldout" else ["clean"]
        report[name] = {kind: heldout_figures(predictor, group, task.scales.gap, kind) for kind in kinds}
        by_voice: dict[str, list[Item]] = {}
        for item in group:
            by_voice.setdefault(f"{item.language} {item.voice}", []).append(item)
        report[name]["by_voice"] = {
            voice: {k: figures[k] for k in ("jaw", "lips", "closed_auc")}
            for voice, figures in (
                (voice, heldout_figures(predictor, part, task.scales.gap)) for voice, part in by_voice.items()
            )
        }
    some = [item for group in held.values() for item in _some(group)[:20]]
    if some:
        report["silence"] = silence_speeds(predictor, some)
    return _rounded(report)


def _rounded(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value
