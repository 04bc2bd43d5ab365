"""Does the refiner's memory earn its place? Drawn people, codes from different sources, held-out frames.

    python -m tests.benchmarks.export_refiner_frames --prepared=CORPUS/prepared --side=192 --frames=48
    --quality=88 --out=people.npz
    python -m tests.benchmarks.bench_memory --frames=people.npz --out_dir=OUT

The last quarter of each person's frames is never trained on (`seen people`); the last quarter of the people
is not trained on at all, but their first frames are written into the memory, as when a person is added
(`new people`). Sources of the AdaIN code:

    none          zeros
    memory        read by geometry from the row's own person's slots, in training and test (personal use)
    memory_all    read by geometry from everybody's slots, in training and test (the reference's one bank)
    true          the frame's own feature, in training and test (oracle)
    true_memory   trained on the true feature, tested on the memory's read (reference.md §5.7); own slots
    true_memory_all   likewise, everybody's slots
    person        the mean feature of the person: identity alone

each with and without the borrowed layers as inputs. Reconstruction losses alone, no discriminator. Writes
OUT/memory.json, memory.md and strip_*.jpg. About a minute and a half on an H100.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.infer.personal_refiner import SLOTS_PER_FRAME
from talkjax.tasks.refiner_lite import LiteRefinerSettings, RefinerState
from talkjax.types import MOUTH
from tests.benchmarks.memory_figures import Judge, pooled, tables
from tests.benchmarks.refiner_frames import Frames, read_frames
from tests.benchmarks.refiner_variants import POOL, Gates, Trainer, on_device

FRAMES = flags.DEFINE_string("frames", None, "made by export_refiner_frames")
RESULTS = flags.DEFINE_string("results", None, "memory.json of an earlier run: prints its tables again")
OUT_DIR = flags.DEFINE_string("out_dir", "bench_memory", "folder for tables and strips")
STEPS = flags.DEFINE_integer("steps", 1200, "of every training")
BATCH = flags.DEFINE_integer("batch", 4, "frames per step")
SEEDS = flags.DEFINE_integer("seeds", 3, "repeats; seed after seed")
TAIL = flags.DEFINE_float("tail", 0.25, "share of each person's frames, from the end, that is held out")
NEW = flags.DEFINE_float("new", 0.25, "share of the people that is held out")
JUDGED = flags.DEFINE_integer("judged", 6, "held-out frames per person that are judged")
CODES = flags.DEFINE_list("codes", ["none", "memory", "memory_all", "true", "person"], "what to train")
BORROW = flags.DEFINE_list("borrow", ["0", "1"], "without (0) and with (1) the borrowed layers")
SLOTS = flags.DEFINE_list("slots", ["0.3"], "further memory sizes, slots per frame (one seed, code memory)")
NEAREST = flags.DEFINE_list("nearest", ["1", "16"], "further numbers of slots read (one seed, at test time)")
BUDGET = flags.DEFINE_float("budget_s", 1e9, "no further training is started after so many seconds")

TRAIN_GATES = {
    "none": Gates(memory=0.0, gan=0.0),
    "memory": Gates(own=1.0, gan=0.0),
    "memory_all": Gates(own=0.0, gan=0.0),
    "true": Gates(memory=0.0, gan=0.0),
    "person": Gates(memory=0.0, gan=0.0),
}


class Split(NamedTuple):
    """Row numbers: trained on; held out, of people that are trained on; first and held-out frames of new
    people."""

    train: np.ndarray
    seen: np.ndarray
    new_first: np.ndarray
    new: np.ndarray


def split_of(frames: Frames, tail: float, new: float, judged: int) -> Split:
    """Splits by frame number and by person."""
    people = np.unique(frames.identity)
    fresh = people[len(people) - round(new * len(people)) :]
    length = np.array([(frames.identity == i).sum() for i in frames.identity])
    late = frames.frame >= np.round((1 - tail) * length)
    is_new = np.isin(frames.identity, fresh)

    def thinned(chosen: np.ndarray) -> np.ndarray:
        rows = [np.flatnonzero(chosen & (frames.identity == i)) for i in people]
        some = [r[np.unique(np.linspace(0, len(r) - 1, judged).round().astype(int))] for r in rows if len(r)]
        return np.concatenate(some) if some else np.zeros(0, int)

    valid = frames.valid
    return Split(
        train=np.flatnonzero(valid & ~late & ~is_new),
        seen=thinned(valid & late & ~is_new),
        new_first=np.flatnonzero(valid & ~late & is_new),
        new=thinned(valid & late & is_new),
    )


def person_means(frames: Frames, rows: np.ndarray) -> np.ndarray:
    """`[t v]`: for each frame the mean value of its person's `rows`."""
    means = np.zeros_like(frames.values)
    for i in np.unique(frames.identity):
        means[frames.identity == i] = frames.values[rows[frames.identity[rows] == i]].mean(0)
    return means


class Case(NamedTuple):
    """A way of giving the code at test time to a network trained on `train`."""

    name: str
    train: str
    gates: Gates


def cases_of(train: str, seed: int) -> list[Case]:
    """The tests of one training."""
    gates = TRAIN_GATES[train]
    cases = [Case(train, train, gates)]
    if train == "true":
        cases += [Case("true_memory", train, TRAIN_GATES["memory"])]
        cases += [Case("true_memory_all", train, TRAIN_GATES["memory_all"])]
    if train == "memory" and seed == 0:
        cases += [
            Case(f"memory, {k} nearest", train, gates._replace(nearest=float(k))) for k in NEAREST.value
        ]
    return cases


def smaller(state: RefinerState, count: int) -> RefinerState:
    """A memory of which only the first `count` slots are ever written: the others stay the youngest."""
    age = jnp.where(jnp.arange(len(state.bank.age)) < count, state.bank.age, -1e9)
    return state.replace(bank=state.bank.replace(age=age))


class Experiment:
    """Everything that the trainings share."""

    def __init__(self, frames: Frames):
        self.frames = frames
        self.split = split_of(frames, TAIL.value, NEW.value, JUDGED.value)
        self.known = np.concatenate([self.split.train, self.split.new_first])
        self.data = on_device(frames)
        self.means = person_means(frames, self.known)
        self.judge = Judge(frames, self.known)
        self.tests = {"seen people": self.split.seen, "new people": self.split.new}

    def trainer(self) -> Trainer:
        """The compiled loop."""
        f = self.frames
        settings = LiteRefinerSettings(
            size=f.size,
            n_features=f.features.shape[1],
            n_values=f.values.shape[1],
            n_slots=max(int(SLOTS_PER_FRAME * len(self.known)), 64),
            steps=STEPS.value,
            gan_from=1.0,
        )
        return Trainer(settings, self.data, self.split.train, BATCH.value)

    def given(self, train: str) -> np.ndarray:
        """`[t v]`: the codes of all frames that do not come from the memory."""
        if train == "person":
            return self.means
        return np.zeros_like(self.frames.values) if train == "none" else self.frames.values

    def run(
        self,
        trainer: Trainer,
        train: str,
        borrow: float,
        seed: int,
        pool: ThreadPoolExecutor,
        slots: float = 0.0,
    ) -> list[tuple[dict[str, Any], np.ndarray, Future[Any]]]:
        """Trains once; returns (what, pictures, figures to come) of all its tests. slots: memory size per
        frame (0: `SLOTS_PER_FRAME`)."""
        label = f", {slots:g} slots a frame" if slots else ""
        count = max(int(slots * len(self.known)), POOL) if slots else trainer.settings.n_slots
        f, given = self.frames, self.given(train)
        gates = TRAIN_GATES[train]._replace(borrow=borrow)
        state: RefinerState = trainer.fit(gates, seed, given, lambda state: smaller(state, count))
        if len(self.split.new_first) and train not in ("none", "person"):
            state = trainer.write(state, self.split.new_first)
        result = []
        for case in cases_of(train, seed):
            use = case.gates._replace(borrow=borrow)
            for people, rows in self.tests.items():
                code, right = given[rows], np.full(len(rows), np.nan)
                if use.memory:
                    code, right = trainer.read(state, f.features[rows], f.identity[rows], use)
                true = f.values[rows]
                cosine = (code * true).sum(1) / np.maximum(np.linalg.norm(code, axis=1), 1e-6)
                what = {
                    "case": case.name + label,
                    "borrow": borrow,
                    "seed": seed,
                    "people": people,
                    "read_right_person": float(right.mean()),
                    "code_cosine": float((cosine / np.linalg.norm(true, axis=1)).mean()),
                }
                made = trainer.pictures(state, code, f, rows, use)
                result.append((what, made, pool.submit(self.judge, made, rows)))
        return result


def strip(
    experiment: Experiment, columns: dict[str, np.ndarray], rows: np.ndarray, some: list[int]
) -> np.ndarray:
    """Frames below each other; real, bare and the cases side by side, mouths enlarged below."""
    f, cell, lines = experiment.frames, 144, []
    for place in some:
        k = int(rows[place])
        pictures = [f.target[k], f.bare[k]]
        pictures += [experiment.judge.pasted(made[place], k) for made in columns.values()]
        ys, xs = np.nonzero(f.region[k] == MOUTH)
        if not len(ys):  # closed lips: about where they are
            ys, xs = np.nonzero(f.region[k] >= 0)
            ys = np.array([ys.min() + 0.72 * (ys.max() - ys.min())])
        y, x, half = int(ys.mean()), int(xs.mean()), round(0.16 * f.size)
        cells = []
        for image in pictures:
            face = cv2.resize(image, (cell, cell), interpolation=cv2.INTER_AREA)
            mouth = image[max(y - half // 2, 0) : y + half // 2, max(x - half, 0) : x + half]
            cells.append(
                np.concatenate([face, cv2.resize(mouth, (cell, cell // 2), interpolation=cv2.INTER_CUBIC)])
            )
        lines.append(np.concatenate(cells, 1))
    head = np.full((16, lines[0].shape[1], 3), 255, np.uint8)
    for column, name in enumerate(("real", "bare", *columns)):
        where = (column * cell + 2, 12)
        cv2.putText(head, name, where, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([head, *lines])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if RESULTS.value:
        print(tables(json.loads(Path(RESULTS.value).read_text())))
        return
    if FRAMES.value is None:
        raise app.UsageError("--frames or --results")
    begin = time.perf_counter()
    out_dir = Path(OUT_DIR.value)
    out_dir.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(read_frames(FRAMES.value, ("train",))["train"])
    sizes = {name: len(rows) for name, rows in experiment.split._asdict().items()}
    print(f"{time.perf_counter() - begin:6.1f} s  {sizes} {jax.devices()[0]}", flush=True)
    trainer = experiment.trainer()
    pending: list[tuple[dict[str, Any], np.ndarray, Future[Any]]] = []
    f = experiment.frames
    with ThreadPoolExecutor() as pool:
        for name in ("target", "bare", "many", "one"):
            for people, rows in experiment.tests.items():
                what = {"case": f"({name})", "borrow": None, "seed": 0, "people": people}
                what |= {"read_right_person": np.nan}
                made = getattr(f, name)[rows]
                pending.append((what, made, pool.submit(experiment.judge, made, rows)))
        for seed in range(SEEDS.value):
            for borrow in (float(x) for x in BORROW.value):
                for train in CODES.value:
                    if time.perf_counter() - begin > BUDGET.value:
                        continue
                    pending += experiment.run(trainer, train, borrow, seed, pool)
                    print(f"{time.perf_counter() - begin:6.1f} s  seed {seed} {train} {borrow:g}", flush=True)
        for slots in (float(x) for x in SLOTS.value):
            if time.perf_counter() - begin < BUDGET.value:
                pending += experiment.run(trainer, "memory", 0.0, 0, pool, slots)[:2]
                print(f"{time.perf_counter() - begin:6.1f} s  {slots:g} slots a frame", flush=True)
        results = [_result(experiment, what, future) for what, _, future in pending]
    _write(out_dir, experiment, results, pending)
    print(f"{time.perf_counter() - begin:.1f} s in all")


def _result(experiment: Experiment, what: dict[str, Any], future: Future[Any]) -> dict[str, Any]:
    frames = future.result()
    mean = pooled(frames) | {"read_right_person": what.get("read_right_person", np.nan)}
    rows = experiment.tests[what["people"]]
    return {**what, "mean": mean, "frames": frames, "person": experiment.frames.identity[rows].tolist()}


def _write(out_dir: Path, experiment: Experiment, results: list[dict[str, Any]], pending: list[Any]) -> None:
    (out_dir / "memory.json").write_text(json.dumps(results))
    (out_dir / "memory.md").write_text(tables(results))
    print(tables(results))
    for borrow in (float(x) for x in BORROW.value):
        for people, rows in experiment.tests.items():
            columns = {
                what["case"]: made
                for what, made, _ in pending
                if what["borrow"] == borrow
                and what["people"] == people
                and what["seed"] == 0
                and "," not in what["case"]
            }
            some = list(range(1, len(rows), max(len(rows) // 4, 1)))[:4]
            if columns and some:
                name = f"strip_{people.split()[0]}_{'with' if borrow else 'without'}.jpg"
                image = strip(experiment, columns, rows, some)
                cv2.imwrite(str(out_dir / name), image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))


if __name__ == "__main__":
    app.run(main)
