"""A folder of results is whole or absent, and nobody else's folder is touched."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from talkjax.errors import InputError
from talkjax.media.output_folder import check_output_folder, replacing_folder

MARK = "track.json"


def _write(out: pathlib.Path, text: str, **options: bool) -> None:
    with replacing_folder(check_output_folder(out, marker=MARK, **options)) as folder:
        (folder / MARK).write_text(text)


def _alone(out: pathlib.Path) -> bool:
    return sorted(p.name for p in out.parent.iterdir()) == [out.name]


def test_a_folder_appears_at_the_end_and_is_replaced_only_when_asked(tmp_path):
    out = tmp_path / "deep" / "out"
    with replacing_folder(check_output_folder(out, marker=MARK)) as folder:
        (folder / MARK).write_text("1")
        (folder / "more").mkdir()
        assert not out.exists()
    assert (out / MARK).read_text() == "1" and _alone(out)
    with pytest.raises(InputError, match="--overwrite"):
        _write(out, "2")
    _write(out, "3", overwrite=True)
    assert (out / MARK).read_text() == "3" and not (out / "more").exists() and _alone(out)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_run_that_fails_leaves_what_was_there(tmp_path, error):
    out = tmp_path / "out"
    _write(out, "1")
    with (
        pytest.raises(InputError if isinstance(error, OSError) else error),
        replacing_folder(check_output_folder(out, marker=MARK, overwrite=True)) as folder,
    ):
        (folder / MARK).write_text("2")
        raise error
    assert (out / MARK).read_text() == "1" and _alone(out)


def test_other_peoples_files_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="holds other files"):
        check_output_folder(tmp_path / "photos", marker=MARK, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        check_output_folder(tmp_path / "photos" / "holiday.jpg", marker=MARK, overwrite=True)
    with pytest.raises(InputError, match="cannot write"):
        check_output_folder(tmp_path / "photos" / "holiday.jpg" / "out", marker=MARK)
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "empty", "1")
    assert (tmp_path / "empty" / MARK).exists()


def test_what_a_killed_run_left_is_cleared_or_put_back(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, living = child.pid, os.getppid()
    out = tmp_path / "out"
    for name in (f".out.tmp-{dead}", f".out.tmp-{living}", f".out.old-{dead}", ".out.tmp-word"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARK).write_text(name)
    # killed between the two moves: the old folder is back, and is not replaced unasked
    with pytest.raises(InputError, match="--overwrite"):
        check_output_folder(out, marker=MARK)
    assert (out / MARK).read_text() == f".out.old-{dead}"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f".out.tmp-{living}", ".out.tmp-word", "out"]
    )
