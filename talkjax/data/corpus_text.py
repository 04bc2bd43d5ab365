"""What the synthesizers say: sentences made from words written down for this project.

Every language has a list of everyday words (facts of the language, collected by the authors; no text was
copied). A sentence is a random row of them; about a quarter of the words are invented by a chain over the
list's letters, so that every sound meets every other. English also has sentences with grammar, and Mandarin
rows of pinyin syllables with tones.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.errors import InputError

WORDS_FILE = Path(__file__).resolve().parent / "embedded" / "corpus_words.json"
_INVENTED_SHARE = 0.25

_PINYIN_FINALS = {
    **dict.fromkeys(["b", "p", "m"], "a ai ao an ang o ei en eng u i"),
    "f": "a ei an en ou ang eng u",
    **dict.fromkeys(["d", "t"], "a ai ao an ang e eng ou ong u ui uo un i ian iao"),
    **dict.fromkeys(["n", "l"], "a ai ao an ang e eng ou ong u uo i ian iao iang in ing"),
    **dict.fromkeys(["g", "k", "h"], "a ai ao an ang e en eng ou ong u ua uai uan uang ui uo un"),
    **dict.fromkeys(["j", "q", "x"], "i ia ian iang iao ie in ing iong iu u uan ue un"),
    **dict.fromkeys(["zh", "ch", "sh", "z", "c", "s"], "a ai ao an ang e en eng ou u uan ui uo un i"),
    "r": "an ang e en eng ou u i ong",
    "y": "a an ang ao e i in ing ong ou u uan ue un",
    "w": "a ai an ang ei en o u",
}


@functools.cache
def _file() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    return data


@functools.cache
def words() -> dict[str, tuple[str, ...]]:
    """Language code -> its words."""
    return {language: tuple(text.split()) for language, text in _file()["words"].items()}


@functools.cache
def _chain(language: str) -> dict[str, str]:
    """Two letters -> the letters that follow them in the list (`^` before, `$` after a word)."""
    follow: dict[str, str] = {}
    for word in words()[language]:
        padded = f"^^{word}$"
        for i in range(2, len(padded)):
            follow[padded[i - 2 : i]] = follow.get(padded[i - 2 : i], "") + padded[i]
    return follow


def invented_word(language: str, rng: np.random.Generator) -> str:
    """Three to ten letters that look like a word of the language."""
    chain = _chain(language)
    for _ in range(50):
        word = "^^"
        while word[-1] != "$" and len(word) < 14:
            following = chain[word[-2:]]
            word += following[int(rng.integers(len(following)))]
        letters = word[2:].removesuffix("$")
        if word[-1] == "$" and 3 <= len(letters) <= 10:
            return letters
    return words()[language][int(rng.integers(len(words()[language])))]


def _pick(rng: np.random.Generator, items: tuple[str, ...] | list[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _pinyin(rng: np.random.Generator) -> str:
    initial = _pick(rng, list(_PINYIN_FINALS))
    return f"{initial}{_pick(rng, _PINYIN_FINALS[initial].split())}{rng.integers(1, 5)}"


def sentence(language: str, rng: np.random.Generator) -> str:
    """One sentence, about two to four seconds of speech.

    Raises:
      InputError: a language without words.
    """
    if language == "cmn":
        row = [_pinyin(rng) for _ in range(int(rng.integers(6, 13)))]
    elif language not in words():
        raise InputError(f"no words for the language {language!r}", expected=", ".join(["cmn", *words()]))
    elif language == "en" and rng.uniform() < 0.6:
        parts = [_pick(rng, part) for part in _file()["english_sentences"]]
        return " ".join(part for part in parts if part) + "."
    else:
        row = [
            invented_word(language, rng) if rng.uniform() < _INVENTED_SHARE else _pick(rng, words()[language])
            for _ in range(int(rng.integers(4, 9)))
        ]
    if len(row) > 5 and rng.uniform() < 0.3:
        row[int(rng.integers(1, len(row) - 2))] += ","
    return " ".join(row) + "."
