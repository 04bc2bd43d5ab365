"""A fresh process that plays the golden file: python -m tests.infer.bundle_child FILE OUT

Writes pictures, the runtime's calls and the names of all loaded modules.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

N_FRAMES = 26


def voice() -> np.ndarray:
    """Bursts of noise, a little more than 26 frames."""
    rng = np.random.default_rng(0)
    wav = rng.normal(size=N_FRAMES * 640 + 100) * (np.sin(np.arange(N_FRAMES * 640 + 100) / 2000) > 0)
    return (0.1 * wav).astype(np.float32)


def recorded(programs: Any, calls: dict[str, Any]) -> Any:
    """The programs, the arguments and results of each one's third call kept in `calls`."""
    count: dict[str, int] = {}

    class Recorder:
        config = programs.config

        def __call__(self, name: str, *given: Any) -> Any:
            made = programs(name, *given)
            count[name] = count.get(name, 0) + 1
            if count[name] == 3:
                parts = {"state": made[0], "out": made[1]}
                parts |= {f"given{k}": part for k, part in enumerate(given)}
                for part, arrays in parts.items():
                    calls.update({f"{name}|{part}|{key}": np.asarray(x) for key, x in arrays.items()})
            return made

    return Recorder()


def main(path: str, out: str) -> None:
    import talkjax

    talker = talkjax.load(path)
    after_load = sorted(sys.modules)
    programs, calls = talker.programs, {}
    talker.programs = recorded(programs, calls)
    wav, rng = voice(), np.random.default_rng(1)
    frames = np.stack(list(talker.generate(wav)))
    talker.programs, session, parts, at = programs, talker.session(), [], 0
    while at < len(wav):
        step = int(rng.choice([1, 37, 640, 3000]))
        parts += list(session.push(wav[at : at + step]))
        at += step
    parts += list(session.finish())
    fixed = np.stack(list(talker.generate(wav, pose="fixed", seed=3)))
    np.savez(out, frames=frames, streamed=np.concatenate(parts), fixed=fixed, **calls)
    about = {
        "modules": sorted(sys.modules), "after_load": after_load, "lowered_again": programs.lowered_again,
    }  # fmt: skip
    with open(out + ".json", "w") as file:
        json.dump(about, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
