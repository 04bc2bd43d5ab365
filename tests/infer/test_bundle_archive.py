"""The exported file's container: what was written comes back, and anything else is refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.infer.bundle import tensors
from talkjax.infer.bundle.archive import MANIFEST, Archive, write_archive
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "goldens" / "export" / "person.talkjax"
MEMBERS = {
    "programs/a.jaxexport": bytes(range(256)) * 20,
    "arrays/big.safetensors": bytes(1 << 20),
    "frames/00000.jpg": b"\xff\xd8 no picture",
}


def code_of(path: pathlib.Path) -> str:
    """The code with which a file is refused, in one line that names it."""
    with pytest.raises(InputError) as caught:
        archive = Archive(path)
        try:
            archive.verify()
        finally:
            archive.close()
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.code


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    out = tmp_path / "a.talkjax"
    write_archive(out, {"identity": {"name": "a"}}, MEMBERS)
    return out


def rewritten(path: pathlib.Path, change, *, comment: bytes | None = None, **kinds: int) -> pathlib.Path:
    """The file with other members (`change` gets and gives name -> bytes), its manifest's digest kept
    right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = change(members)
    out = path.with_name("changed.talkjax")
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, kinds.get(name.split("/")[0], zipfile.ZIP_STORED))
        digest = hashlib.sha256(members.get(MANIFEST, b"")).hexdigest()
        archive.comment = b"talkjax manifest sha256 " + digest.encode() if comment is None else comment
    return out


def test_what_was_written_comes_back(path, tmp_path):
    archive = Archive(path)
    archive.verify()
    assert {name: archive.read(name) for name in archive.names()} == MEMBERS
    assert archive.names("frames/") == ["frames/00000.jpg"] and archive.manifest["identity"] == {"name": "a"}
    archive.close()
    again = tmp_path / "b.talkjax"
    write_archive(again, {"identity": {"name": "a"}}, MEMBERS)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.talkjax", "b.talkjax"]  # no temporary file is left


def test_an_existing_file_is_kept(path):
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists") as caught:
        write_archive(path, {}, {})
    assert caught.value.code == "exists" and path.read_bytes() == before
    write_archive(path, {}, {}, overwrite=True)
    assert path.read_bytes() != before
    with pytest.raises(InputError, match=r"\.talkjax"):
        write_archive(path.with_suffix(".zip"), {}, {})


def test_every_flipped_byte_is_found_or_harmless(path):
    """Bytes of dates and the like may differ; contents and manifest may not."""
    whole, found = path.read_bytes(), 0
    places = np.random.default_rng(0).choice(len(whole), 60, replace=False)
    tail = np.arange(len(whole) - 60, len(whole))  # the directory's end and the comment
    for at in [*places, *tail]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(at) % 8
        path.write_bytes(damaged)
        try:
            archive = Archive(path)
            archive.verify()
            assert {name: archive.read(name) for name in archive.names()} == MEMBERS
            archive.close()
        except InputError as error:
            assert error.code in ("damaged_export", "not_an_export", "newer_export")
            found += 1
    assert found > 70


def test_truncated_anywhere(path):
    whole = path.read_bytes()
    for length in (1, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert code_of(path) in ("damaged_export", "not_an_export")


def test_foreign_files(tmp_path, path):
    file = tmp_path / "x.talkjax"
    assert code_of(file) == "missing_file"
    for data, code in ((b"", "empty_file"), (b"hello " * 99, "not_an_export")):
        file.write_bytes(data)
        assert code_of(file) == code
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    assert code_of(file) == "not_an_export"
    for text, code in (
        ("[" * 9999, "not_an_export"),
        ('{"format": 3}', "not_an_export"),
        ("null", "not_an_export"),
    ):
        assert code_of(rewritten(path, lambda m, t=text: {MANIFEST: t.encode()})) == code


def edited(**change):
    """Replaces entries of the manifest."""

    def apply(members: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(members[MANIFEST]) | change
        return {**members, MANIFEST: json.dumps(manifest).encode()}

    return apply


def test_a_newer_format_says_so(path):
    assert code_of(rewritten(path, edited(format_version=2))) == "newer_export"
    assert code_of(rewritten(path, edited(format_version="1"))) == "not_an_export"


def test_members_must_be_those_of_the_manifest(path):
    changes = [
        lambda m: {**m, "extra.py": b"import os"},
        lambda m: {name: data for name, data in m.items() if not name.endswith("jpg")},
        lambda m: {**m, "frames/00000.jpg": b"\xff\xd8 no pictvre"},
        lambda m: {**m, "frames/00000.jpg": b"longer than it says"},
        edited(members=[]),
        edited(members={}),
        edited(members=dict.fromkeys(MEMBERS, 3)),
    ]
    for change in changes:
        assert code_of(rewritten(path, change)) == "damaged_export"
    assert code_of(rewritten(path, lambda m: m, comment=b"")) == "damaged_export"
    assert code_of(rewritten(path, lambda m: m, frames=zipfile.ZIP_BZIP2)) == "damaged_export"


def test_bombs_are_refused_before_they_are_unpacked(path, monkeypatch):
    """A file of some kB that holds 4 MB, more than allowed here."""

    def bomb(members: dict[str, bytes]) -> dict[str, bytes]:
        data = bytes(4 << 20)
        listed = {"zeros": {"bytes": len(data), "sha256": "0" * 64}}
        manifest = json.loads(members[MANIFEST]) | {"members": listed}
        return {MANIFEST: json.dumps(manifest).encode(), "zeros": data}

    out = rewritten(path, bomb, zeros=zipfile.ZIP_DEFLATED)
    assert out.stat().st_size < 1 << 14
    monkeypatch.setattr("talkjax.infer.bundle.archive.MAX_PACKED", 1 << 20)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", _never_many(zipfile.ZipExtFile.read))
    assert code_of(out) == "damaged_export"


def _never_many(read):
    def checked(self, n=-1):
        assert 0 <= n < 1 << 16, "more was unpacked than the manifest"
        return read(self, n)

    return checked


def test_arrays_keep_names_types_and_values():
    rng = np.random.default_rng(0)
    arrays = {
        "a/b": rng.normal(size=(3, 0, 2)).astype(np.float32), "flag": np.array(True),
        "n": np.array(-3, np.int32),
        "bytes": rng.integers(0, 255, (2, 5)).astype(np.uint8), "f16": np.arange(3, dtype=np.float16),
    }  # fmt: skip
    data = tensors.encode(arrays)
    again = tensors.decode(data)
    assert sorted(again) == sorted(arrays) and data == tensors.encode(dict(reversed(arrays.items())))
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype and np.array_equal(again[name], array)
    with pytest.raises(ValueError, match="type"):
        tensors.encode({"x": np.array("text")})
    for damaged in (b"", data[:20], (1 << 60).to_bytes(8, "little") + data[8:], data[:-8]):
        with pytest.raises(ValueError):
            tensors.decode(damaged)


def test_the_golden_file_is_whole():
    archive = Archive(GOLDEN)
    archive.verify()
    assert len(archive.names("frames/")) == 12 and archive.manifest["consent"]["status"] == "recorded"
    for name in archive.names("programs/"):  # nothing of the machine that made it
        assert not any(word in archive.read(name) for word in (b".py", b"/home", b"/root", b"site-packages"))
    archive.close()
