"""Every phone of every voice has a place in the CMU set, and unknown ones are errors."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

from talkjax.data.coarticulation import PHONES
from talkjax.data.corpus_text import sentence, words
from talkjax.data.corpus_voices import HELDOUT_VARIANTS, TRAIN_VARIANTS, VOICES
from talkjax.data.phone_maps import MAPS, UnknownPhone, cmu_phones, ipa_phones, to_cmu
from talkjax.data.synthesizers import check_installed, espeak, speak_flite
from talkjax.errors import InputError


def _need(*voices) -> None:
    try:
        check_installed((v.synthesizer, v.id, v.package) for v in voices)
    except InputError as error:
        pytest.skip(str(error))


def test_maps_lead_to_phones_with_targets():
    for table in MAPS.values():
        assert {p for phones in table.values() for p in phones} <= set(PHONES)


@pytest.mark.parametrize("phone_set", [*MAPS, "ipa"])
def test_unknown_phones_are_errors(phone_set):
    with pytest.raises(UnknownPhone):
        cmu_phones(phone_set, "☃")


@pytest.mark.parametrize(
    ("name", "phones"),
    [
        ("", "pau"), ("_:", "pau"), ("tʃ", "ch"), ("aɪɚ", "ay axr"), ("mʲ", "m"), ("ɑ̃", "aa"), ("ũ", "uw"),
        ("tsh", "t s"), ("øː", "ow"), ("pf", "p f"), ("ä", "aa"), ("??", "hh hh"), ("l̩", "l"), ("ʲ", "y"),
    ],
)  # fmt: skip
def test_ipa_names(name, phones):
    assert ipa_phones(name) == tuple(phones.split())


def test_translation_shares_time_and_joins_pauses():
    spoken = [("", 0.1), ("_:", 0.2), ("ts", 0.3), ("x0", 0.3), ("aɪ", 0.5)]
    assert to_cmu("ipa", spoken) == [
        ("pau", pytest.approx(0.2)), ("t", pytest.approx(0.25)), ("s", pytest.approx(0.3)), ("ay", 0.5)
    ]  # fmt: skip


FESTIVAL = [v for v in VOICES if v.synthesizer == "festival"]


@pytest.mark.skipif(shutil.which("festival") is None, reason="festival is not installed")
def test_festival_maps_cover_the_phone_sets_of_their_voices():
    """The voices' own lists (PhoneSet.description), all read by one festival."""
    listed = "(format t \"%s %l\\n\" '{0} (mapcar car (cadr (assoc 'phones (PhoneSet.description)))))"
    installed = subprocess.run(
        ["festival", "-b", "(print (voice.list))"], capture_output=True, text=True
    ).stdout
    voices = [v for v in FESTIVAL if v.id in re.findall(r"[\w.-]+", installed)]
    if not voices:
        pytest.skip("no festival voice of the corpus is installed")
    script = " ".join(f"(voice_{v.id}) {listed.replace('{0}', v.id)}" for v in voices)
    done = subprocess.run(["festival", "-b", f"(begin {script})"], capture_output=True, text=True)
    rows = dict(re.findall(r"(\w+) \(([^)]*)\)", done.stdout))
    for voice in voices:
        phones = rows[voice.id].split()
        assert len(phones) > 20
        missing = [p for p in phones if p not in MAPS[voice.phone_set]]
        assert not missing, (voice.id, missing)


ESPEAK = sorted({(v.id, v.language) for v in VOICES if v.synthesizer == "espeak-ng"})


@pytest.mark.parametrize(("id", "language"), ESPEAK)
def test_espeak_map_covers_what_a_language_says(id, language):
    """All the words of the list, and sentences with invented ones."""
    _need(*(v for v in VOICES if v.id == id))
    rng = np.random.default_rng(1)
    listed = words().get(language, ())
    texts = [" ".join(listed[k : k + 40]) for k in range(0, len(listed), 40)]
    texts += [sentence(language, rng) for _ in range(12)]
    heard = {name for text in texts for name, _ in espeak().speak(id, text, 300, 50).phones}
    assert len(heard) > 20
    for name in heard:
        ipa_phones(name)


def test_espeak_variants_exist():
    _need(*(v for v in VOICES if v.synthesizer == "espeak-ng"))
    for variant in (*TRAIN_VARIANTS, *HELDOUT_VARIANTS):
        assert espeak().speak(f"de+{variant}" if variant else "de", "ja", 300, 50).seconds > 0.1
    assert not set(TRAIN_VARIANTS) & set(HELDOUT_VARIANTS)


def test_flite_map_covers_its_speech():
    voices = [v for v in VOICES if v.synthesizer == "flite"]
    _need(*voices)
    spoken = speak_flite("kal16", [" ".join(words()["en"])], 0.7, 105)[0]
    assert {p for name, _ in spoken.phones for p in cmu_phones("english", name)} >= set(PHONES) - {
        "axr",
        "zh",
    }


def test_heldout_voices_and_languages_never_train():
    train = [v for v in VOICES if v.split == "train"]
    held = [v for v in VOICES if v.split == "language_heldout"]
    assert not {v.language for v in train} & {v.language for v in held}
    assert len({v.language for v in held}) >= 2
    aside = [v for v in VOICES if v.split == "voice_heldout"]
    assert {"m", "f"} <= {v.sex for v in aside}
    assert not {v.name for v in aside if not v.variants} & {v.name for v in train}
    assert all("evaluation only" not in v.licence for v in train)
