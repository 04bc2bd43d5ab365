"""Model files: found, taken from a wheel, fetched; damaged and missing files are never used silently."""

from __future__ import annotations

import hashlib
import pathlib
import zipfile

import pytest

from talkjax.assets import catalogue
from talkjax.assets.mediapipe import asset_dirs, landmark_model_files
from talkjax.errors import InputError


@pytest.fixture(scope="session")
def originals() -> dict[str, bytes]:
    """The real bytes, from the user's cache or the package index."""
    try:
        return {key: path.read_bytes() for key, path in landmark_model_files().items()}
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")


@pytest.fixture
def nowhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An assets folder that does not exist yet; the user's cache is out of sight and pip has no index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TALKJAX_ASSETS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "assets"


def _write_wheel(folder: pathlib.Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / catalogue.MEDIAPIPE_WHEEL, "w") as archive:
        for key, data in contents.items():
            archive.writestr(catalogue.LANDMARK_FILES[key].member, data)


def test_files_are_the_pinned_ones(originals):
    for key, file in catalogue.LANDMARK_FILES.items():
        assert hashlib.sha256(originals[key]).hexdigest() == file.sha256
        assert len(originals[key]) == file.size
    assert b"Apache License" in originals["license"]


def test_offline_error_says_what_is_missing_and_how_to_put_it(nowhere):
    with pytest.raises(InputError) as caught:
        landmark_model_files(nowhere)  # lets the real pip fail
    message = str(caught.value)
    assert caught.value.code == "assets_missing"
    for file in catalogue.CATALOGUE:
        assert file.name in message and file.sha256 in message
    assert catalogue.MEDIAPIPE_WHEEL in message and "Apache-2.0" in message and str(nowhere) in message
    assert "pip could not fetch" in message


def test_download_can_be_forbidden(nowhere):
    with pytest.raises(InputError, match="switched off"):
        landmark_model_files(nowhere, allow_download=False)


def test_wheel_lying_in_the_folder_is_enough(nowhere, originals):
    _write_wheel(nowhere, originals)
    files = landmark_model_files(nowhere, allow_download=False)
    assert {key: path.read_bytes() for key, path in files.items()} == originals
    assert all(path.parent == nowhere for path in files.values())
    assert not list(nowhere.glob("*.tmp-*"))
    (nowhere / catalogue.MEDIAPIPE_WHEEL).unlink()
    assert landmark_model_files(nowhere, allow_download=False) == files


def test_damaged_file_is_replaced_not_used(nowhere, originals):
    _write_wheel(nowhere, originals)
    damaged = nowhere / catalogue.FACE_MESH.name
    damaged.write_bytes(originals["mesh"][:-1])
    assert landmark_model_files(nowhere, allow_download=False)["mesh"].read_bytes() == originals["mesh"]
    (nowhere / catalogue.MEDIAPIPE_WHEEL).unlink()
    damaged.write_bytes(originals["mesh"][:-1])
    with pytest.raises(InputError, match="damaged copy"):
        landmark_model_files(nowhere, allow_download=False)


@pytest.mark.parametrize("fault", ["other bytes", "no member", "no zip"])
def test_wrong_wheel_is_refused(nowhere, originals, fault):
    contents = dict(originals)
    if fault == "other bytes":
        contents["detector"] = originals["detector"] + b"\0"
    if fault == "no member":
        del contents["mesh"]
    _write_wheel(nowhere, contents)
    if fault == "no zip":
        (nowhere / catalogue.MEDIAPIPE_WHEEL).write_bytes(b"not a wheel")
    with pytest.raises(InputError) as caught:
        landmark_model_files(nowhere, allow_download=False)
    assert caught.value.code == "assets_damaged"
    assert not (nowhere / catalogue.FACE_DETECTOR.name).exists()


def test_search_order(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("TALKJAX_ASSETS", str(tmp_path / "named"))
    cache = tmp_path / "cache" / "talkjax" / "assets"
    assert asset_dirs(nowhere) == [nowhere, tmp_path / "named", cache]
    assert asset_dirs() == [tmp_path / "named", cache]


def test_unwritable_folder_falls_back_to_the_cache(nowhere, originals, tmp_path):
    _write_wheel(tmp_path / "cache" / "talkjax" / "assets", originals)
    nowhere.write_text("a file where the folder should be")
    files = landmark_model_files(nowhere, allow_download=False)
    assert files["mesh"].parent == tmp_path / "cache" / "talkjax" / "assets"
