"""Speech synthesizers of the system's packages: text -> sound with phone times.

flite and festival run as programs, espeak-ng as a C library (its phoneme events carry sample positions).
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soxr

from talkjax.errors import InputError

SAMPLE_RATE = 16_000
SYNTHESIZERS = ("flite", "festival", "espeak-ng")
_ESPEAK_LIBRARY = "libespeak-ng.so.1"
_TIMEOUT = 120.0  # seconds for a few sentences


@dataclasses.dataclass(frozen=True)
class Spoken:
    """wav: float32 [n] at 16 kHz; phones: (the synthesizer's own name, end in seconds), from time 0."""

    wav: np.ndarray
    phones: list[tuple[str, float]]

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.wav) / SAMPLE_RATE


class SynthesisError(RuntimeError):
    """A synthesizer failed on a text."""


def _missing(what: str, package: str) -> InputError:
    return InputError(
        f"{what} is not installed",
        expected="the speech synthesizers of the generated corpus",
        fix=f"apt-get install {package} (or leave it out with --synthesizers)",
        code="no_synthesizer",
    )


def check_installed(voices: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Checks (synthesizer, voice id, package) triples; returns synthesizer -> version.

    Raises:
      InputError: names the first missing synthesizer or voice and the package that brings it.
    """
    versions: dict[str, str] = {}
    known: dict[str, set[str]] = {}
    for synthesizer, voice, package in voices:
        if synthesizer not in versions:
            if synthesizer == "espeak-ng":
                versions[synthesizer] = _espeak_version()
            elif shutil.which(synthesizer) is None:
                raise _missing(synthesizer, synthesizer)
            elif synthesizer == "flite":
                versions[synthesizer] = _flite_version()
                known[synthesizer] = set(_run(["flite", "-lv"]).split())
            else:
                versions[synthesizer] = _run(["festival", "--version"]).strip().splitlines()[0]
                known[synthesizer] = set(
                    re.findall(r"[\w.-]+", _run(["festival", "-b", "(print (voice.list))"]))
                )
        if synthesizer in known and voice not in known[synthesizer]:
            raise _missing(f"the {synthesizer} voice {voice}", package)
    return versions


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT)
    return done.stdout + done.stderr


def _flite_version() -> str:
    found = re.search(r"version:\s*(\S+)", _run(["flite", "--version"]))
    return found.group(1) if found else "unknown"


def read_wav(path: Path) -> np.ndarray:
    """A 16-bit mono wav of any rate -> float32 [n] at 16 kHz."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise SynthesisError(f"{path.name}: not 16-bit mono")
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return resample(samples.astype(np.float32) / 32768, rate)


def resample(wav: np.ndarray, rate: float) -> np.ndarray:
    """float32 [n] at `rate` Hz -> 16 kHz."""
    return wav if rate == SAMPLE_RATE else np.asarray(soxr.resample(wav, rate, SAMPLE_RATE), np.float32)


def speak_flite(voice: str, sentences: Sequence[str], stretch: float, pitch: float) -> list[Spoken]:
    """flite, one call per sentence. stretch: of durations; pitch: mean f0 in Hz."""
    spoken = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.wav"
        settings = ["--setf", f"duration_stretch={stretch:.4f}", "--setf", f"int_f0_target_mean={pitch:.2f}"]
        for sentence in sentences:
            command = ["flite", "-voice", voice, *settings, "-t", sentence, "-o", str(path), "-psdur"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
            if done.returncode or not path.exists():
                raise SynthesisError(f"flite {voice}: {done.stderr.strip()[:200]}")
            phones = [item.rsplit(":", 1) for item in done.stdout.split()]
            spoken.append(Spoken(read_wav(path), [(name, float(end)) for name, end in phones]))
            path.unlink()
    return spoken


def speak_festival(voice: str, sentences: Sequence[str], stretch: float, encoding: str) -> list[Spoken]:
    """festival, one process for all sentences. stretch: of durations (HTS voices ignore it)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {stretch:.4f})"]
        for k, sentence in enumerate(sentences):
            if set(sentence) & set('"\\()'):
                raise SynthesisError(f"festival: cannot quote {sentence!r}")
            lines += [
                f'(set! u (utt.synth (Utterance Text "{sentence}")))',
                f'(utt.save.wave u "{folder / f"{k}.wav"}" \'riff)',
                f'(utt.save.segs u "{folder / f"{k}.seg"}")',
            ]
        script = folder / "script.scm"
        script.write_bytes("\n".join(lines).encode(encoding))
        done = subprocess.run(["festival", "-b", str(script)], capture_output=True, timeout=_TIMEOUT)
        paths = [folder / f"{k}.seg" for k in range(len(sentences))]
        if not all(path.exists() for path in paths):
            raise SynthesisError(f"festival {voice}: {done.stderr.decode(errors='replace').strip()[:200]}")
        return [Spoken(read_wav(path.with_suffix(".wav")), _read_segments(path)) for path in paths]


def _read_segments(path: Path) -> list[tuple[str, float]]:
    """An Xlabel file: after `#`, lines of end time, a number, name."""
    body = path.read_text(errors="replace").split("#\n", 1)[-1]
    rows = [line.split() for line in body.splitlines() if line.strip()]
    return [(row[2], float(row[0])) for row in rows]


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):  # espeak_EVENT of espeak-ng's speak_lib.h
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_RETRIEVAL, _PHONEME_EVENTS, _IPA_NAMES = 1, 1, 2
_VOICELESS_STOPS = ("p", "t", "k", "c", "q", "ʈ")
_LONGEST_CLOSURE, _SILENT = 2000, 8  # samples at 22,050 Hz (90 ms); int16 steps
_EVENT_END, _EVENT_PHONEME, _UTF8, _RATE, _PITCH = 0, 7, 1, 1, 3


class Espeak:
    """The espeak-ng library of this process; it keeps state, so calls are made one after the other."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_ESPEAK_LIBRARY)
        except OSError:
            raise _missing("espeak-ng", "espeak-ng") from None
        self.rate = self._library.espeak_Initialize(_RETRIEVAL, 500, None, _PHONEME_EVENTS | _IPA_NAMES)
        if self.rate <= 0:
            raise _missing("the data of espeak-ng", "espeak-ng-data")
        self._libc = ctypes.CDLL(None)
        self._sound: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
        )
        self._callback = kind(self._take)  # kept alive as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if samples and count > 0:
            self._sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                name = events[i].id.string.decode("utf-8", "replace")
                if not name.startswith("("):  # "(en)": a change of language, not a phone
                    self._events.append((events[i].sample, name))
            i += 1
        return 0

    def speak(self, voice: str, sentence: str, words_per_minute: int, pitch: int) -> Spoken:
        """One sentence. voice: e.g. `de+f2`; pitch: 0..99."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise _missing(f"the espeak-ng voice {voice}", "espeak-ng-data")
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._sound.clear()
        self._events.clear()
        self._libc.srand(1)  # breath and Klatt noise use rand()
        text = sentence.encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._sound or not self._events:
            raise SynthesisError(f"espeak-ng {voice} says nothing to {sentence!r}")
        wav = np.concatenate(self._sound)
        starts = [_closure_start(wav, sample, name) for sample, name in self._events]
        ends = [*starts[1:], len(wav)]
        phones = [("", starts[0] / self.rate)] if starts[0] else []
        phones += [(name, end / self.rate) for (_, name), end in zip(self._events, ends, strict=True)]
        return Spoken(resample(wav.astype(np.float32) / 32768, self.rate), phones)


def _closure_start(wav: np.ndarray, sample: int, name: str) -> int:
    """Where a phone begins: espeak-ng reports a voiceless stop at its burst, after the silent closure."""
    if not name.startswith(_VOICELESS_STOPS):
        return sample
    before = np.abs(wav[max(sample - _LONGEST_CLOSURE, 0) : sample].astype(np.int32)) > _SILENT
    return sample - int(np.argmax(before[::-1])) if before.any() else sample


@functools.cache
def espeak() -> Espeak:
    """The library, initialised once per process."""
    return Espeak()


def _espeak_version() -> str:
    library = espeak()._library
    library.espeak_Info.restype = ctypes.c_char_p
    return library.espeak_Info(None).decode().split()[0]
