"""The identity store against real processes: names, rights, locks, stages that are killed half-way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkjax.errors import InputError
from talkjax.track import stage_cache
from talkjax.track.identity import Identity, delete_identity, list_identities
from talkjax.track.identity_record import identities_root, identity_folder, read_consent


@dataclasses.dataclass(frozen=True)
class _Settings:
    size: int = 3


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "identities"


def _run(identity: Identity, text: str = "one", *, inputs=None, config=None, version=1) -> tuple[str, bool]:
    """Runs a stage that writes `text`; returns what its folder then holds, and whether it was built."""
    built = []

    def build(folder: pathlib.Path) -> None:
        built.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "data.txt").write_text(text)

    folder = identity.run_stage(
        "landmarks",
        inputs=inputs or {"clip": "a"},
        config=config or _Settings(),
        version=version,
        build=build,
    )
    return (folder / "deep" / "data.txt").read_text(), bool(built)


def test_root_is_flag_then_environment_then_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TALKJAX_IDENTITIES", raising=False)
    assert identities_root() == tmp_path / "identities"
    monkeypatch.setenv("TALKJAX_IDENTITIES", str(tmp_path / "env"))
    assert identities_root() == tmp_path / "env"
    assert identities_root(tmp_path / "flag") == tmp_path / "flag"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "-rf", "a b", "a\n", "é", "x" * 65, "a\0"],
)
def test_bad_names_are_refused(root, name):
    with pytest.raises(InputError, match=r"identity name .* is not usable; expected 1-64 letters"):
        identity_folder(name, root)


@given(st.text(max_size=80))
def test_any_name_stays_inside_the_root_or_is_refused(name):
    root = pathlib.Path("/some/root")
    try:
        folder = identity_folder(name, root)
    except InputError:
        return
    assert folder.parent == root and pathlib.Path(os.path.normpath(folder)) == folder


def test_symlinked_folder_and_file_are_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "file").write_text("")
    with pytest.raises(InputError, match="symbolic link"):
        Identity.create("linked", root)
    with pytest.raises(InputError, match="is a file"):
        Identity.create("file", root)


def test_new_identity_is_private_and_has_a_record(root):
    identity = Identity.create("me", root)
    assert stat.S_IMODE(identity.root.stat().st_mode) == 0o700
    record = identity.record
    assert (record.name, record.schema_version, record.fps) == ("me", 1, 25.0)
    assert record.consent["status"] == "not recorded"
    identity.root.chmod(0o755)
    assert Identity.create("me", root).record.created == record.created
    assert stat.S_IMODE(identity.root.stat().st_mode) == 0o700


def test_open_says_how_to_make_a_missing_identity(root):
    with pytest.raises(InputError, match=r"no identity 'you'.*talkjax prepare CLIP --identity=you"):
        Identity.open("you", root)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', "{}"])
def test_damaged_record_is_an_input_error_and_can_be_deleted(root, text):
    identity = Identity.create("me", root)
    (identity.root / "identity.json").write_text(text)
    with pytest.raises(InputError):
        Identity.open("me", root)
    assert delete_identity("me", root) == []
    assert not identity.root.exists()


def test_consent_is_stored_with_the_statement(root, tmp_path):
    identity = Identity.create("me", root)
    identity.set_consent(read_consent("self"))
    assert identity.record.consent["status"] == "recorded"
    assert "own face" in identity.record.consent["statement"]
    paper = tmp_path / "consent.txt"
    paper.write_text("I agree. A. Person")
    identity.set_consent(read_consent(paper))
    assert identity.record.consent["statement"] == "I agree. A. Person"
    assert identity.record.consent["file"] == "consent.txt"
    paper.write_bytes(b"\xff\xfe\xff")
    for bad in (paper, tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(InputError, match="--consent="):
            read_consent(bad)


def test_consent_holds_for_the_clip_it_was_given_for(root):
    identity = Identity.create("me", root)
    clip = root / "clip.mp4"
    clip.write_bytes(b"clip")
    identity.set_source(clip)
    identity.set_consent(read_consent("self"))
    identity.set_source(clip)
    assert identity.record.consent["status"] == "recorded"
    clip.write_bytes(b"another person")
    identity.set_source(clip)
    assert identity.record.consent == {"status": "not recorded", "statement": ""}


def test_stage_is_built_once_until_something_changes(root):
    identity = Identity.create("me", root)
    assert _run(identity, "one") == ("one", True)
    assert _run(identity, "two") == ("one", False)
    assert _run(identity, "two", inputs={"clip": "b"}) == ("two", True)
    assert _run(identity, "three", inputs={"clip": "b"}, config=_Settings(size=4)) == ("three", True)
    assert _run(identity, "four", inputs={"clip": "b"}, config=_Settings(size=4), version=2) == ("four", True)
    assert (
        _run(Identity.open("me", root), "five", inputs={"clip": "b"}, config=_Settings(4), version=2)[1]
        is False
    )
    record = identity.record
    assert record.stages["landmarks"]["key"] == identity.stage_key("landmarks")
    assert sorted(path.name for path in identity.root.iterdir() if path.is_dir()) == ["landmarks"]


@pytest.mark.parametrize("harm", ["missing", "short", "no_stage_file", "bad_stage_file"])
def test_incomplete_stage_is_rebuilt(root, harm):
    identity = Identity.create("me", root)
    _run(identity, "one")
    data = identity.root / "landmarks" / "deep" / "data.txt"
    stage_file = identity.root / "landmarks" / "stage.json"
    {
        "missing": data.unlink,
        "short": lambda: data.write_text("on"),
        "no_stage_file": stage_file.unlink,
        "bad_stage_file": lambda: stage_file.write_text('{"key": 1, "files": []}'),
    }[harm]()
    assert not identity.has_stage("landmarks")
    with pytest.raises(InputError, match="no finished stage"):
        identity.stage_key("landmarks")
    assert _run(identity, "two") == ("two", True)


def test_flipped_bit_is_found_before_use(root):
    identity = Identity.create("me", root)
    with pytest.raises(InputError, match="stage 'landmarks' is missing; fix: talkjax prepare --identity=me"):
        identity.require_stage("landmarks", verb="prepare")
    _run(identity, "one")
    assert identity.require_stage("landmarks", verb="prepare") == identity.root / "landmarks"
    (identity.root / "landmarks" / "deep" / "data.txt").write_text("onf")
    assert identity.has_stage("landmarks")
    with pytest.raises(
        InputError, match=r"data.txt is damaged; fix: delete .*landmarks, then talkjax prepare"
    ):
        identity.require_stage("landmarks", verb="prepare")


def test_failed_build_keeps_the_old_stage(root):
    identity = Identity.create("me", root)
    _run(identity, "one")

    def fail(folder: pathlib.Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        identity.run_stage("landmarks", inputs={"clip": "new"}, config=_Settings(), version=1, build=fail)
    assert _run(identity, "two") == ("one", False)
    assert {path.name for path in identity.root.iterdir() if path.is_dir()} == {"landmarks"}


def test_resumable_build_gets_its_own_files_back_only_for_the_same_key(root):
    identity = Identity.create("me", root)
    seen = []

    def build(folder: pathlib.Path) -> None:
        step = folder / "step.txt"
        seen.append(step.read_text() if step.exists() else "fresh")
        step.write_text(str(len(seen)))
        if len(seen) < 4:
            raise KeyboardInterrupt

    def run(clip: str) -> pathlib.Path:
        return identity.run_stage(
            "refiner", inputs={"clip": clip}, config=_Settings(), version=1, build=build, resumable=True
        )

    for clip in ("a", "a", "b"):
        with pytest.raises(KeyboardInterrupt):
            run(clip)
    assert not identity.has_stage("refiner")
    folder = run("b")
    assert seen == ["fresh", "1", "fresh", "3"]
    assert sorted(path.name for path in folder.iterdir()) == ["stage.json", "step.txt"]
    assert {path.name for path in identity.root.iterdir() if path.is_dir()} == {"refiner"}


_CHILD = """
import pathlib, sys, time
from talkjax.track.identity import Identity
identity = Identity.create("me", sys.argv[1])
def build(folder):
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("half")
        print(name, flush=True)
        time.sleep(60)
identity.run_stage("landmarks", inputs={"clip": "a"}, config={}, version=1, build=build,
                   resumable=sys.argv[2] == "resumable")
"""


def _start_child(root: pathlib.Path, kind: str) -> subprocess.Popen[str]:
    """A real second process, returned when it is in the middle of building a stage."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(root), kind],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "a.txt\n"
    return child


@pytest.mark.parametrize("kind", ["plain", "resumable"])
def test_killed_build_is_never_used(root, kind):
    child = _start_child(root, kind)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=20)
    identity = Identity.open("me", root)
    half = [path.name for path in identity.root.iterdir() if path.is_dir()]
    assert half == [f"landmarks.tmp-{child.pid}" if kind == "plain" else "landmarks.partial"]
    assert not identity.has_stage("landmarks")
    found: list[str] = []

    def build(folder: pathlib.Path) -> None:
        found.extend(path.name for path in folder.glob("*.txt"))
        (folder / "a.txt").write_text("whole")

    folder = identity.run_stage(
        "landmarks", inputs={"clip": "a"}, config={}, version=1, build=build, resumable=kind == "resumable"
    )
    assert found == (["a.txt"] if kind == "resumable" else [])
    assert (folder / "a.txt").read_text() == "whole"
    assert [path.name for path in identity.root.iterdir() if path.is_dir()] == ["landmarks"]


def test_second_process_is_refused_while_the_first_works(root):
    child = _start_child(root, "plain")
    try:
        identity = Identity.open("me", root)
        with (
            pytest.raises(InputError, match=f"identity 'me' is in use by pid {child.pid} on ") as error,
            identity.lock(),
        ):
            pass
        assert (error.value.code, error.value.exit_code) == ("locked", 2)
        with pytest.raises(InputError, match="in use"):
            delete_identity("me", root)
        with pytest.raises(InputError, match="in use"), identity.lock(shared=True):
            pass
    finally:
        child.kill()
        child.communicate(timeout=20)
    with identity.lock():
        pass


def test_shared_locks_go_together_and_nested_ones_are_free(root):
    identity, other = Identity.create("me", root), Identity.open("me", root)
    with identity.lock(shared=True), other.lock(shared=True):
        identity.add_output(root / "one.mp4")
        other.add_output(root / "two.mp4")
        with pytest.raises(RuntimeError, match="exclusive lock"), identity.lock():
            pass
    assert [pathlib.Path(path).name for path in identity.record.outputs] == ["one.mp4", "two.mp4"]
    with (
        identity.lock(),
        identity.lock(),
        identity.lock(shared=True),
        pytest.raises(InputError, match="in use"),
    ):
        other.update(lambda record: None)


@pytest.mark.parametrize("killed_at", ["before_first_rename", "between_renames", "before_removal"])
def test_kill_while_committing_leaves_old_new_or_nothing(root, killed_at, monkeypatch):
    identity = Identity.create("me", root)
    _run(identity, "old")
    real, calls = os.rename, []

    class Killed(BaseException):
        pass

    def rename(source, target):
        calls.append(target)
        if killed_at == "before_first_rename" or (killed_at == "between_renames" and len(calls) == 2):
            raise Killed
        real(source, target)
        if killed_at == "before_removal" and len(calls) == 2:
            raise Killed

    monkeypatch.setattr(stage_cache.os, "rename", rename)
    with pytest.raises(Killed):
        _run(identity, "new", version=2)
    monkeypatch.undo()
    expected = {"before_first_rename": False, "between_renames": False, "before_removal": True}[killed_at]
    assert _run(identity, "again", version=2) == (("new", False) if expected else ("again", True))
    with identity.lock():
        assert [path.name for path in identity.root.iterdir() if path.is_dir()] == ["landmarks"]


def test_delete_removes_everything_and_names_what_is_elsewhere(root, tmp_path):
    identity = Identity.create("me", root)
    _run(identity)
    for leftover in ("refiner.partial", "landmarks.tmp-1", "evaluation"):
        (identity.root / leftover).mkdir()
        (identity.root / leftover / "face.bin").write_bytes(b"face")
    kept, gone = tmp_path / "kept.mp4", tmp_path / "gone.mp4"
    kept.write_text("video")
    (tmp_path / "kept.mp4.json").write_text("{}")
    identity.add_output(kept)
    identity.add_output(gone)
    assert [entry.name for entry in list_identities(root)] == ["me"]
    assert delete_identity("me", root) == [str(kept), f"{kept}.json"]
    assert list(root.iterdir()) == [] and list_identities(root) == []
    with pytest.raises(InputError, match="no identity 'me'"):
        delete_identity("me", root)


def test_delete_refuses_a_folder_that_is_no_identity(root):
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "holiday.jpg").write_bytes(b"picture")
    with pytest.raises(InputError, match="no identity 'photos'"):
        delete_identity("photos", root)
    assert (root / "photos" / "holiday.jpg").exists()


def test_record_is_readable_by_others(root):
    identity = Identity.create("me", root)
    clip = root / "clip.mp4"
    clip.write_bytes(b"clip")
    identity.set_source(clip)
    data = json.loads((identity.root / "identity.json").read_text())
    assert data["source"] == {"file": "clip.mp4", "sha256": hashlib.sha256(b"clip").hexdigest(), "size": 4}
