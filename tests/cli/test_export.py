"""`talkjax export` before any work: what it refuses, and its help page."""

from __future__ import annotations

import shlex

import pytest

import talkjax
from talkjax.cli import main
from talkjax.errors import InputError
from talkjax.track.identity import Identity


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALKJAX_IDENTITIES", str(tmp_path / "identities"))


def refused(capsys, line: str, *texts: str) -> None:
    """Exit code 2 and one line that holds all texts."""
    assert main.run(shlex.split(line)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    for text in texts:
        assert text in said.err, said.err


def test_refusals(capsys, tmp_path):
    refused(capsys, "export --identity=me --out=me.talkjax", "no identity 'me'", "talkjax prepare")
    Identity.create("me")
    refused(capsys, "export --identity=me --out=me.zip", "me.zip", ".talkjax")
    refused(capsys, "export --identity=me", "--out=NAME.talkjax, --onnx=DIR")
    refused(capsys, "export --identity=me --out=me.talkjax", "stage 'mapping' is missing", "talkjax finetune")
    (tmp_path / "me.talkjax").write_text("mine")
    refused(capsys, "export --identity=me --out=me.talkjax", "exists", "overwrit")
    assert (tmp_path / "me.talkjax").read_text() == "mine"


def test_help(capsys):
    assert main.run(["export", "--help"]) == 0
    page = capsys.readouterr().out
    assert "--identity=NAME" in page and "[no]overwrite" in page and "talkjax.load" in page
    assert main.run(["--help"]) == 0
    assert "export" in capsys.readouterr().out


def test_load_refuses_in_one_line(tmp_path):
    (tmp_path / "x.talkjax").write_bytes(b"PK\x05\x06" + bytes(18))  # an empty zip file
    for name in ("x.talkjax", "missing.talkjax"):
        with pytest.raises(InputError) as caught:
            talkjax.load(tmp_path / name)
        assert "\n" not in str(caught.value)
