"""The job behind configs/mapping_general.py: corpus -> checkpoints -> `weights.npz` and `report.json`."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from talkjax.config import GeneralMappingConfig, config_hash
from talkjax.data.coarticulation import PHONES
from talkjax.data.mapping_batches import GeneralBatches, Item, corpus_scales, make_items
from talkjax.data.speech_corpus import MANIFEST, SpeechCorpus
from talkjax.errors import InputError
from talkjax.evaluate.general_mapping import (
    DEGRADATIONS,
    GeneralPredictor,
    heldout_figures,
    silence_speeds,
)
from talkjax.evaluate.meter import plain
from talkjax.tasks.mapping_general import SEQUENCE_FRAMES, GeneralMappingTask
from talkjax.track.durable import write_json
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import save_params

HELD_OUT = ("utterance_heldout", "voice_heldout", "language_heldout")
GLANCE_ITEMS = 40  # utterances per split while training; the end looks at all
LOG_EVERY = 100
_log = logging.getLogger("talkjax")


def run(config: GeneralMappingConfig, workdir: Path, corpus: str | None) -> dict[str, Any]:
    """Trains, or goes on; returns the report.

    Raises:
      InputError: no corpus, or checkpoints of another configuration. DivergedError. ResumableStop.
    """
    if corpus is None:
        raise InputError("no speech corpus is given", fix="--corpus=DIR", code="usage")
    opened = SpeechCorpus.open(corpus)
    digest = hashlib.sha256((Path(corpus) / MANIFEST).read_bytes()).hexdigest()
    begin = time.monotonic()
    items = list(make_items(opened.select("train"), config.versions, config.seed))
    held = {name: list(make_items(opened.select(name), 1, config.seed)) for name in HELD_OUT}
    held = {name: group for name, group in held.items() if group}
    hours = sum(len(item) for item in items) / 25 / 3600
    _log.info("%d utterances, %.2f h, features in %.0f s", len(items), hours, time.monotonic() - begin)
    scales = corpus_scales(items)
    task = GeneralMappingTask(scales, len(PHONES), config.steps, config.learning_rate, config.seed)
    batches = GeneralBatches(items, config.batch, SEQUENCE_FRAMES, config.seed)
    state = _train(config, digest, task, batches, held, workdir)
    report = final_report(task, state.params, held)
    report["training"] = {"hours": round(hours, 3), "utterances": len(items), "steps": config.steps}
    metadata = {
        "kind": "mapping_general",
        "phones": list(PHONES),
        "corpus_manifest_sha256": digest,
        "corpus_hours": round(hours, 3),
        "config": json.loads(config.to_json()),
        "report": report,
    }
    half = jax.tree.map(lambda x: np.asarray(x, np.float16), state.params)
    save_params(workdir / "weights.npz", {"params": half, "scales": scales._asdict()}, metadata)
    write_json(workdir / "report.json", report)
    _log.info("%s", json.dumps(report, indent=1))
    return report


def _train(
    config: GeneralMappingConfig,
    corpus_digest: str,
    task: GeneralMappingTask,
    batches: GeneralBatches,
    held: dict[str, list[Item]],
    workdir: Path,
) -> Any:
    folder = workdir / "checkpoints"
    identity = hashlib.sha256(f"{config_hash(config)}:{corpus_digest}".encode()).hexdigest()
    state, start = task.init(), 0
    if found := restore_checkpoint(folder, state, config_hash=identity):
        state, start = found
        _log.info("going on from step %d", start)
    recent: list[dict[str, float]] = []
    begin = time.monotonic()

    def on_step(step: int, metrics: dict[str, float]) -> None:
        recent.append(metrics)
        if len(recent) == LOG_EVERY:
            means = {name: np.mean([row[name] for row in recent]) for name in recent[0]}
            text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
            _log.info("step %d: %s (%.0f s)", step + 1, text, time.monotonic() - begin)
            recent.clear()

    def save(state: Any, step: int) -> None:
        save_checkpoint(folder, step, state, config_hash=identity)
        if step % config.eval_every == 0:
            predictor = GeneralPredictor(task, jax.tree.map(np.asarray, state.params))
            for name, group in held.items():
                figures = heldout_figures(predictor, _some(group), task.scales.gap)
                _log.info("step %d, %s: %s", step, name, json.dumps(_rounded(figures)))

    with StopSignals() as stop:
        return run_steps(
            task.train_step,
            state,
            batches,
            config.steps,
            start=start,
            on_step=on_step,
            save_every=config.save_every,
            save_fn=save,
            stop_requested=stop,
        )


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
