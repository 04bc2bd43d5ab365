"""An exported file against jit of the same functions, and its pictures against `generate`'s. Prints tables.

    python -m tests.benchmarks.bench_export --export=me.talkjax [--identity=me --identities_dir=DIR]
        [--voice=voice.wav] [--frames=60] [--repeats=30] [--onnx]

Per program: milliseconds (minima over alternated repeats, one process) of the file's StableHLO and of jit,
and the largest difference of any output. With --identity: PSNR of each frame, whole and in the face, between
the runtime's pictures and those that `talkjax generate` makes of the same voice with pose=clip. With --onnx,
also each of its networks in onnxruntime and under jit, and the difference (needs the extra onnx).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("export", None, "a file of talkjax export", required=True)
flags.DEFINE_string("identity", None, "the identity that it was made of")
flags.DEFINE_string("identities_dir", None, "folder of all identities")
flags.DEFINE_string("voice", None, "a sound file; none: the embedded voice")
flags.DEFINE_integer("frames", 60, "frames of pictures", lower_bound=20)
flags.DEFINE_integer("repeats", 30, "runs of each program; the fastest counts", lower_bound=1)
flags.DEFINE_bool("onnx", False, "also the networks in onnxruntime")


def voice() -> np.ndarray:
    from talkjax.data.synthetic_voice import load_voice
    from talkjax.media.reader import read_audio

    wav = load_voice("voice_drive").wav if FLAGS.voice is None else read_audio(FLAGS.voice)
    return wav[: 640 * FLAGS.frames]


def recorded_calls(talker: Any, wav: np.ndarray) -> tuple[dict[str, tuple[Any, ...]], list[np.ndarray]]:
    """The arguments of each program's last call but one, and the pictures."""
    programs, calls = talker.programs, {}

    class Recorder:
        config = programs.config

        def __call__(self, name: str, *given: Any) -> Any:
            calls.setdefault(name, []).append(given)
            calls[name] = calls[name][-2:]
            return programs(name, *given)

    talker.programs = Recorder()
    try:
        frames = list(talker.generate(wav))
    finally:
        talker.programs = programs
    return {name: given[0] for name, given in calls.items()}, frames


def difference(a: Any, b: Any) -> float:
    import jax

    def apart(x: Any, y: Any) -> float:
        return float(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max(initial=0))

    return max(jax.tree.leaves(jax.tree.map(apart, a, b)))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def compare_pictures(frames: list[np.ndarray], wav: np.ndarray) -> None:
    from talkjax.config import GenerateConfig
    from talkjax.infer.generate import plan_video, speech_to_face
    from talkjax.infer.personal import open_person
    from talkjax.infer.personal_mapping import load_mapping
    from talkjax.infer.personal_refiner import load_refiner
    from talkjax.infer.synthesis import pictures
    from talkjax.track.identity import Identity

    identity = Identity.open(FLAGS.identity, FLAGS.identities_dir)
    mapping, refiner = load_mapping(identity.root / "mapping"), load_refiner(identity.root / "refiner")
    person = open_person(identity, all_frames=refiner.all_frames)
    exp, _ = speech_to_face(person, mapping, wav, len(frames))
    motion = plan_video(identity, person, exp, wav, GenerateConfig()).motion
    crops, whole, face, begin = person.crops(motion.pose), [], [], 0.0
    for k, picture in enumerate(pictures(person, refiner, motion, person.train)):
        begin = begin or time.perf_counter()
        whole.append(psnr(frames[k], picture.result))
        (x, y), half = crops.center[k], 0.35 * crops.side[k]
        part = np.s_[max(int(y - half), 0) : int(y + half), max(int(x - half), 0) : int(x + half)]
        face.append(psnr(frames[k][part], picture.result[part]))
    rate = (len(frames) - 1) / (time.perf_counter() - begin)
    print(f"\n{len(frames)} frames against generate's ({rate:.1f} frames per second), PSNR in dB")
    for name, values in (("whole picture", whole), ("face", face)):
        print(f"  {name:<16} mean {np.mean(values):5.1f}  least {np.min(values):5.1f}")


def compare_onnx() -> None:
    from talkjax.infer.export_onnx import export_networks, networks
    from talkjax.infer.personal_mapping import load_mapping
    from talkjax.infer.personal_refiner import load_refiner
    from talkjax.track.identity import Identity

    root = Identity.open(FLAGS.identity, FLAGS.identities_dir).root
    found = networks(load_mapping(root / "mapping"), load_refiner(root / "refiner"))
    print(f"\n{'network':<12} {'onnxruntime':>12} {'jit':>10} {'ratio':>7} {'difference':>11}")
    with tempfile.TemporaryDirectory() as folder:
        differences = export_networks(found, Path(folder), {})
        for network in found:
            best = _onnx_times(network, Path(folder) / f"{network.name}.onnx")
            ratio, worst = best["jit"] / best["onnx"], differences[network.name]
            _row(network.name, best["onnx"], best["jit"], ratio, worst)


def _onnx_times(network: Any, path: Path) -> dict[str, float]:
    import jax

    from talkjax.infer.export_onnx import session
    from tests.benchmarks.timing import alternated_minima

    given, run, other = network.example(), jax.jit(network.function), session(path)
    feed, names = dict(zip(network.inputs, given, strict=True)), list(network.outputs)
    on_device = jax.device_put(given)
    cases = {"onnx": lambda: other.run(names, feed), "jit": lambda: run(*on_device)}
    return alternated_minima(cases, FLAGS.repeats)


def _row(name: str, first: float, second: float, ratio: float, worst: float) -> None:
    print(f"{name:<12} {first:9.2f} ms {second:7.2f} ms {ratio:7.3f} {worst:11.1e}")


def main(argv: list[str]) -> None:
    del argv
    import jax

    import talkjax
    from tests.benchmarks.timing import alternated_minima

    begin = time.perf_counter()
    talker = talkjax.load(FLAGS.export)
    print(f"{FLAGS.export}: {Path(FLAGS.export).stat().st_size / 1e6:.1f} MB")
    print(f"loaded and checked in {time.perf_counter() - begin:.2f} s")
    wav, begin = voice(), time.perf_counter()
    next(talker.generate(wav))
    print(f"first picture, compiling included, after {time.perf_counter() - begin:.1f} s")
    calls, frames = recorded_calls(talker, wav)
    begin = time.perf_counter()
    count = sum(1 for _ in talker.generate(wav))
    print(f"{count / (time.perf_counter() - begin):.1f} frames per second on {jax.devices()[0].device_kind}")
    again = talkjax.load(FLAGS.export, lower_again=True).programs
    print(f"\n{'program':<12} {'StableHLO':>12} {'jit':>10} {'ratio':>7} {'difference':>11}")
    for name, given in calls.items():
        given = jax.device_put(given)
        ours, theirs = talker.programs(name, *given), again(name, *given)
        cases = {
            "file": lambda n=name, g=given: talker.programs(n, *g),
            "jit": lambda n=name, g=given: again(n, *g),
        }
        best = alternated_minima(cases, FLAGS.repeats)
        _row(name, best["file"], best["jit"], best["file"] / best["jit"], difference(ours, theirs))
    if FLAGS.identity:
        compare_pictures(frames, wav)
        if FLAGS.onnx:
            compare_onnx()


if __name__ == "__main__":
    app.run(main)
