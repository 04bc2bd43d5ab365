"""Speech to lips on a prepared identity: fine-tunes and judges on held-out frames, for several seeds and
starts.

    python -m tests.benchmarks.bench_mapping --identity=real --identities_dir=DIR --seeds=5
    --out_dir=/tmp/mapping

Split `forward` trains on the training frames and tests on the held-out ones; `swapped` the other way round.
Prints a table; writes `mapping.json` and one PNG of curves per split. `--cross_validate` looks at the
training part only (five contiguous folds): choose settings with that, never with the held-out figures.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.assets.model_file import load_model
from talkjax.config import MappingConfig
from talkjax.data.synthetic_voice import fit_voice, load_voice
from talkjax.evaluate import plots
from talkjax.evaluate.mouth import closed_bilabials, model_opening, mouth_figures
from talkjax.evaluate.speech import lip_opening
from talkjax.infer.mapping_session import LOOKAHEAD_MS, Mapping
from talkjax.infer.person import Segment, load_segment
from talkjax.infer.personal_mapping import fit_segment
from talkjax.track.identity import Identity
from talkjax.types import FaceModel

IDENTITY = flags.DEFINE_string("identity", None, "a prepared identity with held-out frames", required=True)
IDENTITIES_DIR = flags.DEFINE_string("identities_dir", None, "folder of all identities")
SEEDS = flags.DEFINE_integer("seeds", 5, "seeds per start")
INITS = flags.DEFINE_list("inits", ["general", "scratch", "ridge"], "starts to compare")
SWAP = flags.DEFINE_bool("swap", True, "also with the halves swapped")
STEPS = flags.DEFINE_integer("steps", MappingConfig().steps, "as --mapping_steps of finetune")
CROSS_VALIDATE = flags.DEFINE_bool("cross_validate", False, "five folds of the training part instead")
VOICE = flags.DEFINE_string("voice", None, "embedded voice of a synthetic person, to judge its m, b, p")
OUT_DIR = flags.DEFINE_string("out_dir", "bench_mapping", "folder for mapping.json and the curves")


def part_of(segment: Segment, index: np.ndarray) -> Segment:
    """Some frames of a segment (without pictures)."""
    names = ("exp", "euler", "translation", "sh", "valid", "landmarks")
    return dataclasses.replace(segment, **{name: getattr(segment, name)[index] for name in names})


def fit(model: FaceModel, segment: Segment, wav: np.ndarray, init: str, seed: int) -> tuple[Mapping, float]:
    """(mapping, seconds). `ridge` is the linear path alone, without the closure output."""
    config = MappingConfig(steps=STEPS.value, init="scratch" if init == "scratch" else "general", seed=seed)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        mapping = fit_segment(model, segment, wav, config, Path(folder))
    seconds = time.perf_counter() - start
    return (linear_alone(mapping) if init == "ridge" else mapping), seconds


def linear_alone(mapping: Mapping) -> Mapping:
    """Only the ridge regression speaks."""
    weights = {**mapping.weights, "share": np.float32(1), "press": np.array([2.0, 3.0], np.float32)}
    return dataclasses.replace(mapping, weights=weights)


def folds(segment: Segment) -> list[tuple[Segment, np.ndarray, Segment, np.ndarray]]:
    """(train, sound, test, sound) of five contiguous folds; the training sound is joined at the gap."""
    n, wav, result = len(segment), segment.wav(), []
    for k in range(5):
        held = (np.arange(n) * 5 // n) == k
        samples = np.repeat(held, 640)
        sound = np.pad(wav, (0, max(0, n * 640 - len(wav))))[: n * 640]
        result.append((part_of(segment, ~held), sound[~samples], part_of(segment, held), sound[samples]))
    return result


def judge(
    mapping: Mapping, model: FaceModel, segment: Segment, wav: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    exp, _ = mapping(wav, len(segment))
    return mouth_figures(model, exp, segment.landmarks, segment.exp, segment.valid), exp


def mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the spread of r."""
    numbers = ("r", "amplitude", "auc_closed", "lag", "width_r", "bias", "control_p99")
    mean: dict[str, Any] = {k: float(np.nanmean([row[k] for row in rows])) for k in numbers}
    mean["r_sd"] = float(np.std([row["r"] for row in rows]))
    mean["interval"] = [float(x) for x in np.nanmean([row["interval"] for row in rows], axis=0)]
    mean["dimensions"] = {
        k: float(np.nanmean([row["dimensions"][k] for row in rows])) for k in rows[0]["dimensions"]
    }
    mean["seconds"] = float(np.mean([row["seconds"] for row in rows]))
    if "bilabials" in rows[0]:
        mean["bilabials"] = float(np.mean([row["bilabials"] for row in rows]))
    return mean


def table_line(split: str, init: str, m: dict[str, Any]) -> str:
    low, high = m["interval"]
    d = m["dimensions"]
    text = (
        f"{split:<9}{init:<9} r {m['r']:.3f} +- {m['r_sd']:.3f} [{low:.2f} {high:.2f}] lag {m['lag']:+.1f} "
        f"amp {m['amplitude']:.2f} auc {m['auc_closed']:.3f} "
        f"bias {100 * m['bias']:+.1f} width {m['width_r']:.2f} "
        f"dims {d['mean']:.2f} (jaw {d['jaw']:.2f} pucker {d['pucker']:.2f} stretch {d['stretch']:.2f} "
        f"upper {d['upper_lip']:.2f}) {m['seconds']:.0f} s"
    )
    return text + (f" bilabials {m['bilabials']:.2f}" if "bilabials" in m else "")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells much
    identity = Identity.open(IDENTITY.value, IDENTITIES_DIR.value)
    root = identity.root
    model = load_model(root / "track" / "model.npz")
    first = load_segment(root / "clip", root / "track")
    second = load_segment(root / "heldout", root / "heldout_track")
    splits = {"forward": (first, second)} | ({"swapped": (second, first)} if SWAP.value else {})
    voice = None
    if VOICE.value:
        voice = fit_voice(load_voice(VOICE.value), (len(first) + len(second)) / 25)
    out_dir = Path(OUT_DIR.value)
    out_dir.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"lookahead_ms": LOOKAHEAD_MS, "splits": {}}
    for split, (train, test) in splits.items():
        sets = folds(train) if CROSS_VALIDATE.value else [(train, train.wav(), test, test.wav())]
        curves, record["splits"][split] = {}, {}
        for init in INITS.value:
            rows = []
            for seed in range(1 if init == "ridge" else SEEDS.value):
                for part, wav, held, held_wav in sets:
                    mapping, seconds = fit(model, part, wav, init, seed)
                    row, exp = judge(mapping, model, held, held_wav)
                    row |= {"seconds": seconds, "seed": seed}
                    if voice is not None and not CROSS_VALIDATE.value:
                        begin = len(first) / 25 if split == "forward" else 0.0
                        share, count = closed_bilabials(model_opening(model, exp), voice.phones, begin)
                        row |= {"bilabials": share, "bilabial_count": count}
                    rows.append(row)
                    curves.setdefault(init, model_opening(model, exp))
            record["splits"][split][init] = {"mean": mean_of(rows), "seeds": rows}
            print(table_line(split, init, mean_of(rows)), flush=True)
        if not CROSS_VALIDATE.value:
            png = plots.plot_curves(
                {"real": lip_opening(test.landmarks), **curves}, "lip opening, % of eye distance"
            )
            (out_dir / f"{split}.png").write_bytes(png)
    for init in INITS.value if SWAP.value else []:
        both = [record["splits"][s][init]["mean"]["r"] for s in splits]
        print(f"mean of both splits, {init}: r {np.mean(both):.3f}")
    (out_dir / "mapping.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    app.run(main)
