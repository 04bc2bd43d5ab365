"""What each part of the personal `lite` refiner is worth: one part taken away at a time, on held-out frames.

    python -m tests.benchmarks.export_refiner_frames --identity=NAME --identities_dir=DIR --out=frames.npz
    python -m tests.benchmarks.bench_refiner_ablation --frames=frames.npz --general=RUN/weights.npz
    --out_dir=OUT

Every row trains for the same steps on the same frames in the same order. Figures: `talkjax.evaluate`'s, on
the head crop with the face pasted into the real surroundings; `as used` adds the borrowed high frequencies
that synthesis adds (`infer/detail`), `network` does not. Writes OUT/ablation.json, ablation.md and
one strip of pictures per row (real, bare, result). On two cores `--rows`, `--steps` and `--every` make it
smaller.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.evaluate import regions
from talkjax.evaluate.meter import PictureMeter, mean_of_measured
from talkjax.evaluate.strip import strip_image
from talkjax.infer import compose
from talkjax.infer.detail import Detail, fit_detail, with_detail
from talkjax.infer.personal_refiner import DETAIL_FRAMES, GAN_WEIGHT, SLOTS_PER_FRAME
from talkjax.infer.training_data import to_bytes
from talkjax.tasks.refiner_lite import LiteRefinerSettings, RefinerState
from talkjax.train.params_file import load_params
from tests.benchmarks.refiner_frames import Frames, read_frames
from tests.benchmarks.refiner_variants import Gates, Trainer, on_device

FRAMES = flags.DEFINE_string("frames", None, "made by export_refiner_frames", required=True)
GENERAL = flags.DEFINE_string("general", None, "weights.npz of configs/refiner_general.py, lite")
OUT_DIR = flags.DEFINE_string("out_dir", "bench_ablation", "folder for the table and the strips")
STEPS = flags.DEFINE_integer("steps", 900, "of every row")
WIDTH = flags.DEFINE_integer("width", 32, "of the generator")
BATCH = flags.DEFINE_integer("batch", 1, "frames a step")
RATE = flags.DEFINE_float("learning_rate", 1e-3, "at the start")
DTYPE = flags.DEFINE_string("dtype", "float32", "of the networks' arithmetic")
GAN = flags.DEFINE_float("gan_weight", GAN_WEIGHT, "of the discriminator, where a row has one")
SEEDS = flags.DEFINE_integer("seeds", 2, "repeats of every row; seed after seed; 0: no network")
ROWS = flags.DEFINE_list("rows", [], "only these rows")
EVERY = flags.DEFINE_integer("every", 1, "judge one of so many held-out frames of the file")
BUDGET = flags.DEFINE_float("budget_s", 1e9, "no further row is started after so many seconds")

REGIONS = regions.REGION_NAMES


class Row(NamedTuple):
    """A line of the table. train: 0 leaves the general weights as they are; general: where it starts."""

    title: str
    gates: Gates
    train: bool = True
    general: bool = True


ROWS_BY_NAME = {
    "full": Row("full", Gates()),
    "no_memory": Row("no memory (code 0)", Gates(memory=0.0)),
    "no_attention": Row("no attention (painted colour alone)", Gates(attention=0.0)),
    "one_frame": Row("one frame instead of three", Gates(window=0.0)),
    "no_retrieval": Row("no retrieval (bare render alone)", Gates(borrow=0.0)),
    "no_discriminator": Row("no discriminator", Gates(gan=0.0)),
    "no_general": Row("no general weights (from scratch)", Gates(), general=False),
    "no_finetune": Row("no fine-tune (general weights alone)", Gates(), train=False),
}


def starts_from(path: str) -> Any:
    """A function that puts general weights into a fresh state."""
    tree, metadata = load_params(path)
    if metadata["kind"] != "refiner_general_lite":
        raise ValueError(f"{path} holds {metadata['kind']}, expected refiner_general_lite")
    tree = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    params, query = tree["generator"], tree["query"]

    def start(state: RefinerState) -> RefinerState:
        return state.replace(params=params, average=jax.tree.map(jnp.copy, params), query=query)

    return start


_HELD_OUT: dict[str, Frames] = {}


def _open(path: str) -> None:
    _HELD_OUT["frames"] = read_frames(path, ("heldout",))["heldout"]


def judged(made: np.ndarray | str, rows: np.ndarray, detail: Detail | None) -> dict[str, Any]:
    """Figures of refined crops (or of a layer's), pasted; `series` PSNR per frame, `pasted` the pictures.

    Runs in a process of its own, which has read the frames itself.
    """
    frames = _HELD_OUT["frames"]
    made = getattr(frames, made)[rows] if isinstance(made, str) else made
    meter, pasted = PictureMeter(), []
    assert frames.landmarks is not None
    for picture, k in zip(made, rows, strict=True):
        face = picture.astype(np.float32) / 255
        if detail is not None:
            face = with_detail(face, frames.one[k], detail)
        alpha = compose.face_alpha(frames.region[k])
        out = to_bytes(compose.composite(face, frames.target[k].astype(np.float32) / 255, alpha))
        meter.add(frames.target[k], out, frames.landmarks[k])
        pasted.append(out)
    return {
        "out": meter.result()["out"],
        "series": {name: meter.series(name) for name in REGIONS},
        "pasted": np.stack(pasted),
    }


def line(title: str, figures: dict[str, Any], bare: dict[str, Any] | None) -> dict[str, Any]:
    """One row of numbers."""
    row: dict[str, Any] = {"row": title}
    for name in REGIONS:
        row |= {f"{name} {k}": figures["out"][name][k] for k in ("psnr", "ssim", "sharpness")}
    if bare is not None:
        for name in ("face", "mouth"):
            gain = figures["series"][name] - bare["series"][name]
            row[f"{name} better"] = mean_of_measured(np.where(np.isfinite(gain), gain > 0, np.nan))
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; several rows of one title become mean +- spread."""
    head = ["", "face", "mouth", "interior", "eyes", "sharp face / mouth", "mouth beats bare"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]

    def shown(group: list[dict[str, Any]], key: str, digits: int) -> str:
        values = np.array([row.get(key, np.nan) for row in group], float)
        if not np.isfinite(values).all():
            return "-"
        spread = f" +- {values.std():.{digits}f}" if len(values) > 1 and values.std() > 0 else ""
        return f"{values.mean():.{digits}f}{spread}"

    for title in dict.fromkeys(row["row"] for row in rows):
        group = [row for row in rows if row["row"] == title]
        cells = [title]
        for name in ("face", "mouth", "mouth_interior", "eyes"):
            cells.append(f"{shown(group, name + ' psnr', 2)} / {shown(group, name + ' ssim', 3)}")
        cells.append(f"{shown(group, 'face sharpness', 2)} / {shown(group, 'mouth sharpness', 2)}")
        cells.append(shown(group, "mouth better", 2))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_strip(path: Path, frames: Frames, rows: np.ndarray, pasted: np.ndarray, count: int = 6) -> None:
    """real | bare | result of frames spread over the held-out part."""
    some = np.linspace(0, len(rows) - 1, count).round().astype(int)
    at = rows[some]
    assert frames.landmarks is not None
    sheet = strip_image(
        list(frames.target[at]),
        list(frames.bare[at]),
        list(pasted[some]),
        frames.landmarks[at],
        at.tolist(),
        3,
    )
    cv2.imwrite(str(path), sheet[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 88))


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    begin = time.perf_counter()
    out_dir = Path(OUT_DIR.value)
    out_dir.mkdir(parents=True, exist_ok=True)
    splits = read_frames(FRAMES.value)
    train, heldout = splits["train"], splits["heldout"]
    usable = np.flatnonzero(train.valid)
    settings = LiteRefinerSettings(
        size=train.size,
        n_features=train.features.shape[1],
        n_values=train.values.shape[1],
        n_slots=max(int(SLOTS_PER_FRAME * len(usable)), 64),
        steps=STEPS.value,
        width=WIDTH.value,
        learning_rate=RATE.value,
        dtype=DTYPE.value,
    )
    trainer = Trainer(settings, on_device(train), usable, batch=BATCH.value)
    rows = np.arange(0, len(heldout), EVERY.value)
    chosen = ROWS.value or list(ROWS_BY_NAME)
    if GENERAL.value is None:
        print("no --general: all rows start from scratch; rows no_general and no_finetune are left out")
        chosen = [name for name in chosen if name not in ("no_general", "no_finetune")]
    print(f"{time.perf_counter() - begin:6.1f} s  read, {jax.devices()[0]}", flush=True)
    workers = max(min((os.cpu_count() or 2) - 2, 10), 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_open, initargs=(FRAMES.value,)) as pool:
        layers = _layers(train, usable, rows, pool)
        pending: list[tuple[str, int, bool, Future[Any]]] = []
        for seed in range(SEEDS.value):
            for name in chosen:
                if time.perf_counter() - begin > BUDGET.value or (seed and not ROWS_BY_NAME[name].train):
                    continue
                pending += _run(trainer, train, heldout, rows, name, seed, pool)
                print(f"{time.perf_counter() - begin:6.1f} s  seed {seed} {name}", flush=True)
        _report(out_dir, heldout, rows, layers, pending)
    print(f"{time.perf_counter() - begin:.1f} s in all")


def _some(usable: np.ndarray) -> np.ndarray:
    """Training frames on which the amount of detail is found."""
    return usable[np.linspace(0, len(usable) - 1, min(len(usable), DETAIL_FRAMES)).astype(int)]


def _layers(train: Frames, usable: np.ndarray, rows: np.ndarray, pool: Any) -> dict[str, Future[Any]]:
    """What the network is given, judged without any network; `used` with the detail that fits it."""
    some = _some(usable)
    pictures = train.many[some].astype(np.float32) / 255
    detail = fit_detail(pictures, train.one[some], train.target[some], train.region[some] >= 0)
    jobs = {name: pool.submit(judged, name, rows, None) for name in ("bare", "one", "many")}
    return jobs | {"used": pool.submit(judged, "many", rows, detail)}


def _run(
    trainer: Trainer, train: Frames, heldout: Frames, rows: np.ndarray, name: str, seed: int, pool: Any
) -> list[tuple[str, int, bool, Future[Any]]]:
    """Trains a row and hands its pictures to be judged."""
    row = ROWS_BY_NAME[name]
    row = row._replace(gates=row.gates._replace(gan=GAN.value if row.gates.gan else 0.0))
    start = starts_from(GENERAL.value) if GENERAL.value and row.general else (lambda state: state)
    if row.train:
        zeros = np.zeros(trainer.data.values.shape, np.float32)
        state = trainer.fit(row.gates, seed, None if row.gates.memory else zeros, start)
    else:
        state = trainer.write(start(trainer.fresh(seed)), trainer.usable)
    code, _ = trainer.read(state, heldout.features[rows], np.zeros(len(rows), np.int32), row.gates)
    made = trainer.pictures(state, row.gates.memory * code, heldout, rows, row.gates)
    jobs = [(name, seed, False, pool.submit(judged, made, rows, None))]
    if row.gates.borrow:
        detail = _detail(trainer, train, state, row.gates)
        print(f"        detail {detail}", flush=True)
        jobs.append((name, seed, True, pool.submit(judged, made, rows, detail)))
    return jobs


def _detail(trainer: Trainer, train: Frames, state: RefinerState, gates: Gates) -> Detail:
    """As fine-tuning finds it: on training frames that were read without their neighbors."""
    some = _some(trainer.usable)
    code, _ = trainer.read(state, train.features[some], np.zeros(len(some), np.int32), gates)
    made = trainer.pictures(state, gates.memory * code, train, some, gates)
    pictures = made.astype(np.float32) / 255
    return fit_detail(pictures, train.one[some], train.target[some], train.region[some] >= 0)


def _report(
    out_dir: Path, heldout: Frames, rows: np.ndarray, layers: dict[str, Future[Any]], pending: list[Any]
) -> None:
    bare = layers["bare"].result()
    first = [line("bare render", bare, None), line("single look-alike", layers["one"].result(), bare)]
    lines: dict[bool, list[dict[str, Any]]] = {True: list(first), False: list(first)}
    for detail, name in ((True, "used"), (False, "many")):
        lines[detail].append(line("no network (appearance memory alone)", layers[name].result(), bare))
    for name, seed, detail, future in pending:
        figures = future.result()
        row = ROWS_BY_NAME[name]
        lines[detail].append(line(row.title, figures, bare) | {"name": name, "seed": seed})
        if not row.gates.borrow:  # nothing borrowed, nothing to add
            lines[True].append(lines[False][-1])
        if seed == 0 and (detail or not row.gates.borrow):
            write_strip(out_dir / f"strip_{name}.jpg", heldout, rows, figures["pasted"])
    text = f"As used:\n\n{table(lines[True])}\nNetwork alone:\n\n{table(lines[False])}"
    (out_dir / "ablation.md").write_text(text)
    (out_dir / "ablation.json").write_text(
        json.dumps({"as_used": lines[True], "network": lines[False]}, indent=1)
    )
    print(text)


if __name__ == "__main__":
    app.run(main)
