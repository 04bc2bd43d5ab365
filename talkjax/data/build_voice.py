"""Makes the embedded voices (`embedded/voice_*.flac` and their phoneme times) with the flite synthesizer.

    python -m talkjax.data.build_voice          # needs the `flite` program (tested with 2.2) on the PATH

Run once by a maintainer; users only read the files. The texts are written for this project. The voices are
flite's CMU ARCTIC voices `rms` and `slt`, free software without restriction on commercial or other use;
see embedded/README.md.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import wave

import av
import numpy as np

EMBEDDED = pathlib.Path(__file__).resolve().parent / "embedded"
SAMPLE_RATE = 16000

SCRIPTS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "voice_train": (
        "rms",
        0.96,
        (
            "Welcome to my workshop by the river.",
            "Every week I build a small wooden boat, paint it blue, and float it past the mill.",
            "Most of them move quite well, but a few go under before supper.",
            "My favourite problem is the wind, because it pushes the bow up, and the whole plan falls over.",
        ),
    ),
    "voice_drive": (
        "slt",
        1.0,
        ("Please open the window, this room is far too warm.", "Maybe we should walk home before supper."),
    ),
}
"""File name -> (flite voice, duration stretch, sentences)."""


def speak(voice: str, stretch: float, sentence: str) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """One sentence -> (samples int16 [n] at 16 kHz, [(phone, end time in seconds), ...])."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "sentence.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-t", sentence]
        result = subprocess.run(
            [*command, "-o", str(path), "-psdur"], check=True, capture_output=True, text=True
        )
        with wave.open(str(path)) as file:
            if file.getframerate() != SAMPLE_RATE or file.getnchannels() != 1:
                raise ValueError(f"flite voice {voice} is not {SAMPLE_RATE} Hz mono")
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    phones = [item.rsplit(":", 1) for item in result.stdout.split()]
    return samples, [(phone, float(end)) for phone, end in phones]


def write_flac(path: pathlib.Path, samples: np.ndarray) -> None:
    """int16 [n] -> 16 kHz mono FLAC."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        stream.options = {"compression_level": "12"}
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def main() -> None:
    """Writes every script of `SCRIPTS` as <name>.flac and <name>.json into the embedded folder."""
    EMBEDDED.mkdir(exist_ok=True)
    for name, (voice, stretch, sentences) in SCRIPTS.items():
        pieces: list[np.ndarray] = []
        phones: list[list[str | float]] = []
        offset = 0.0
        for sentence in sentences:
            samples, spoken = speak(voice, stretch, sentence)
            phones += [[phone, round(offset + end, 3)] for phone, end in spoken]
            pieces.append(samples)
            offset += len(samples) / SAMPLE_RATE
        write_flac(EMBEDDED / f"{name}.flac", np.concatenate(pieces))
        record = {
            "text": " ".join(sentences),
            "voice": f"flite 2.2, cmu_us_{voice}",
            "seconds": round(offset, 4),
            "phones": phones,
        }
        (EMBEDDED / f"{name}.json").write_text(json.dumps(record) + "\n")
        print(f"{name}: {offset:.2f} s, {len(phones)} phones")


if __name__ == "__main__":
    main()
