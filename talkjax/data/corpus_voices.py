"""The voices of the generated corpus: what they are, their terms, and what each is for.

Only voices whose terms put no condition on what is made with their output train the embedded weights: free
BSD-like recordings (flite, most festival voices), and espeak-ng, a program under the GPL that computes its
sound from formant tables (the GPL does not reach a program's output unless that copies the program). Diphone
and HTS voices whose recordings are under the GPL or LGPL are only listened to in evaluation. docs/corpus.md
has the table.
"""

from __future__ import annotations

import dataclasses

BSD = "BSD-like: use, copy, modify, distribute, sell free of charge, notice kept"
GPL_PROGRAM = "GPL-3+ program; formant synthesis, its output is not covered"
GPL_VOICE = "GPL recordings: evaluation only"
LGPL_VOICE = "LGPL recordings: evaluation only"


@dataclasses.dataclass(frozen=True)
class Voice:
    """One voice. share: weight among all utterances; split: "train" or what it is held out for.

    id: the synthesizer's own name; for espeak-ng a language, the variant is drawn from `variants`.
    """

    synthesizer: str
    id: str
    language: str
    sex: str
    phone_set: str
    split: str
    share: float
    package: str
    licence: str
    pitch: float = 0.0  # Hz, flite
    encoding: str = "utf-8"  # festival
    variants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`flite:slt`; for espeak-ng the language, the variant is appended per utterance."""
        return f"{self.synthesizer}:{self.id}"


def _flite(id: str, sex: str, pitch: float, share: float) -> Voice:
    return Voice("flite", id, "en", sex, "english", "train", share, "flite", BSD, pitch=pitch)


def _festival(
    id: str, language: str, sex: str, phone_set: str, split: str, share: float, package: str, licence: str,
    encoding: str = "utf-8",
) -> Voice:  # fmt: skip
    return Voice("festival", id, language, sex, phone_set, split, share, package, licence, encoding=encoding)


TRAIN_VARIANTS = (
    *("", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m8"),
    *("klatt", "klatt2", "klatt4", "Alicia", "Andy", "Annie", "Michael", "adam", "linda", "steph", "john"),
)
HELDOUT_VARIANTS = ("f4", "m7")


def _espeak(
    id: str, language: str, share: float, split: str = "train", variants: tuple[str, ...] = TRAIN_VARIANTS
) -> Voice:
    return Voice(
        "espeak-ng", id, language, "both", "ipa", split, share, "espeak-ng", GPL_PROGRAM, variants=variants
    )


VOICES = (
    _flite("slt", "f", 175, 10),
    _flite("rms", "m", 105, 10),
    _flite("awb", "m", 130, 9),
    _flite("kal16", "m", 105, 5),
    _festival("kal_diphone", "en", "m", "english", "train", 3, "festvox-kallpc16k", BSD),
    _festival("cmu_us_slt_arctic_hts", "en", "f", "english", "train", 4, "festvox-us-slt-hts", BSD),
    _festival("msu_ru_nsh_clunits", "ru", "m", "russian", "train", 6, "festvox-ru", BSD),
    _espeak("en-us", "en", 3),
    _espeak("en-gb-x-rp", "en", 2),
    _espeak("de", "de", 5),
    _espeak("fr", "fr", 4),
    _espeak("es", "es", 4),
    _espeak("pt-br", "pt", 3),
    _espeak("it", "it", 4),
    _espeak("pl", "pl", 3),
    _espeak("tr", "tr", 3),
    _espeak("ru", "ru", 2),
    _espeak("hi", "hi", 3),
    _espeak("cmn-latn-pinyin", "cmn", 5),
    _espeak("nl", "nl", 2),
    _espeak("ja", "ja", 2),
    _festival("ked_diphone", "en", "m", "english", "voice_heldout", 1.6, "festvox-kdlpc16k", BSD),
    _festival("lp_diphone", "it", "f", "italian", "voice_heldout", 1.6, "festvox-italp16k",
              GPL_VOICE, "latin-1"),
    _festival("pc_diphone", "it", "m", "italian", "voice_heldout", 1.2, "festvox-itapc16k",
              GPL_VOICE, "latin-1"),
    _espeak("en-us", "en", 0.6, "voice_heldout", HELDOUT_VARIANTS),
    _espeak("de", "de", 0.6, "voice_heldout", HELDOUT_VARIANTS),
    _espeak("es", "es", 0.6, "voice_heldout", HELDOUT_VARIANTS),
    _festival("suo_fi_lj_diphone", "fi", "f", "finnish", "language_heldout", 1.1, "festvox-suopuhe-lj",
              LGPL_VOICE, "latin-1"),
    _festival("hy_fi_mv_diphone", "fi", "m", "finnish", "language_heldout", 1.1, "festvox-suopuhe-mv",
              LGPL_VOICE, "latin-1"),
    _espeak("fi", "fi", 0.5, "language_heldout"),
    _festival("czech_dita", "cs", "f", "czech", "language_heldout", 1, "festvox-czech-dita", GPL_VOICE,
              "iso-8859-2"),
    _festival("czech_machac", "cs", "m", "czech", "language_heldout", 1, "festvox-czech-machac", GPL_VOICE,
              "iso-8859-2"),
    _espeak("cs", "cs", 0.5, "language_heldout"),
    _festival("upc_ca_ona_hts", "ca", "f", "catalan", "language_heldout", 1, "festvox-ca-ona-hts",
              LGPL_VOICE, "latin-1"),
)  # fmt: skip
"""Held out: ked, lp, pc and two espeak-ng variants as voices of languages that train; Finnish, Czech and
Catalan as languages, with every voice that speaks them."""

SILENCE_SHARE = 2.5
"""Weight, beside the voices' shares, of utterances without speech."""
