"""The embedded files: size, licence, and that sound and phoneme times belong together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from talkjax.data.coarticulation import VOWELS
from talkjax.data.synthetic_mesh import EMBEDDED, FACE, TEETH, load_person
from talkjax.data.synthetic_voice import SAMPLE_RATE, VOICES, fit_voice, load_voice, voice_path
from talkjax.errors import InputError


def test_files_are_small_and_licensed() -> None:
    assert (EMBEDDED / "person.npz").stat().st_size <= 1_500_000
    assert sum(voice_path(name).stat().st_size for name in VOICES) <= 600_000
    licence = (EMBEDDED / "person_LICENSE.md").read_text()
    assert "MIT License" in licence and "USC Institute for Creative Technologies" in licence
    provenance = (EMBEDDED / "README.md").read_text()
    for path in EMBEDDED.iterdir():
        assert path.name == "README.md" or path.stem in provenance


@pytest.mark.parametrize("name", VOICES)
def test_phoneme_times_fit_the_sound(name: str) -> None:
    voice = load_voice(name)
    ends = np.array([end for _, end in voice.phones])
    assert (np.diff(ends) > 0).all()
    assert abs(ends[-1] - voice.seconds) < 0.1
    loudness: dict[bool, list[float]] = {True: [], False: []}
    start = 0.0
    for phone, end in voice.phones:
        if phone in VOWELS or phone == "pau":
            piece = voice.wav[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
            loudness[phone in VOWELS].append(float(np.sqrt(np.mean(piece**2))))
        start = end
    assert np.median(loudness[True]) > 10 * np.median(loudness[False])


@pytest.mark.parametrize("seconds", [3.0, 18.0, 40.0])
def test_voice_is_cut_or_repeated_to_length(seconds: float) -> None:
    voice = fit_voice(load_voice("voice_train"), seconds)
    assert len(voice.wav) == round(seconds * SAMPLE_RATE)
    ends = [end for _, end in voice.phones]
    assert ends[-1] == pytest.approx(seconds) and all(a < b for a, b in itertools.pairwise(ends))


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(InputError, match="voice_drive"):
        voice_path("../secret")


def test_mesh_is_a_head_in_decimetres() -> None:
    mesh = load_person()
    assert mesh.faces.max() < len(mesh.corner_vert) and mesh.corner_vert.max() < len(mesh.verts)
    corners = mesh.verts[[mesh.lids[name][-1] for name in ("lower_l", "lower_r")]]
    assert 0.85 < np.linalg.norm(corners[0] - corners[1]) < 0.95  # outer eye corners of an adult: 9 cm
    teeth = mesh.verts[mesh.vertices_of(TEETH)]
    face = mesh.verts[mesh.vertices_of(FACE)]
    assert (teeth.max(0) < face.max(0)).all()
    left, right = mesh.lids["upper_l"], mesh.lids["upper_r"]
    np.testing.assert_allclose(mesh.verts[left], mesh.verts[right] * (-1, 1, 1), atol=1e-6)


def test_expressions_move_what_they_name() -> None:
    mesh = load_person()
    index = mesh.expression_names.index
    lower, upper = mesh.lids["lower_l"], mesh.lids["upper_l"]
    blink = mesh.expressions[index("eyeBlink_L")]
    closed = (
        mesh.verts[upper, 1].mean()
        + blink[upper, 1].mean()
        - mesh.verts[lower, 1].mean()
        - blink[lower, 1].mean()
    )
    assert closed < 0.25 * (mesh.verts[upper, 1].mean() - mesh.verts[lower, 1].mean())
    chin = np.argmin(mesh.verts[: len(blink), 1] + 10 * (mesh.verts[: len(blink), 2] < 0.9))
    assert mesh.expressions[index("jawOpen"), chin, 1] < -0.2
