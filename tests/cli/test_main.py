"""The command line as a person meets it: help, one-line errors, exit codes, signals."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys

import pytest

from talkjax import errors
from talkjax.cli import main
from talkjax.cli.command import Command
from talkjax.config import GenerateConfig
from talkjax.track.identity import Identity
from talkjax.track.identity_record import read_consent
from tests.cli.command import refused, run


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    """Every test in its own folder, with its own identities and temporary files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALKJAX_IDENTITIES", str(tmp_path / "identities"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


# ---------------------------------------------------------------------------------- help


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = (
        "import sys; from talkjax.cli import main; main.run(['--help']);"
        "print(sorted({'jax', 'av', 'cv2', 'scipy', 'tqdm', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for verb in (
        "doctor",
        "prepare",
        "finetune",
        "generate",
        "evaluate",
        "demo",
        "identity list",
        "assets list",
    ):
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_help_page_of_every_verb(capsys, name):
    code, out, err = run(capsys, f"{name} --help")
    assert (code, err) == (0, "")
    assert f"usage:    talkjax {name}" in out and "example:  talkjax" in out and "common:" in out
    assert max(len(line) for line in out.splitlines()) <= 110
    for flag in main.COMMANDS[name].all_flags():
        assert f"--{flag.name}" in out or f"--[no]{flag.name}" in out
        assert flag.default in (None, False) or f"default: {str(flag.default).lower()}" in " ".join(
            out.split()
        )
    assert run(capsys, f"help {name}")[1] == out


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_example_of_every_verb_parses(name):
    command = main.COMMANDS[name]
    words = shlex.split(command.example)
    assert words[0] == "talkjax" and " ".join(words[1:]).startswith(name)
    command.parse(words[1 + len(name.split()) :])


def test_groups_and_version(capsys):
    code, out, _ = run(capsys, "identity --help")
    assert code == 0 and "identity delete" in out and "prepare" not in out
    assert run(capsys, "identity")[1] == out
    assert run(capsys, "--version")[1].startswith("talkjax 0.")
    assert run(capsys, "")[1] == run(capsys, "-h")[1] == run(capsys, "--help")[1]


def test_flags_default_to_the_config(capsys):
    command = main.COMMANDS["generate"]
    words = ["--identity=me", "--audio=a.wav", "--out=o.mp4"]
    assert command.parse(words).config == GenerateConfig()
    config = command.parse(["--pose", "generated", *words, "--preview", "--nocompare", "--crf=23"]).config
    assert config == dataclasses.replace(GenerateConfig(), pose="generated", preview=True, crf=23)


# ------------------------------------------------------------------------ refused by the parser


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("prepar clip.mp4", "unknown verb 'prepar', did you mean 'prepare'?"),
        ("identity lst", "did you mean 'identity list'?"),
        ("identity remove me", "unknown verb 'identity remove'"),
        ("prepare --identiy=me clip.mp4", "Did you mean"),
        ("prepare --audio=x clip.mp4 --identity=me", "Unknown command line flag 'audio'"),
        ("prepare", "needs CLIP and --identity"),
        ("generate --identity=me", "needs --audio and --out"),
        ("prepare a.mp4 b.mp4 --identity=me", "unexpected argument 'b.mp4'"),
        ("generate --identity=me --audio=a --out=o.mp4 --crf=good", "--crf=good"),
        (
            "generate --identity=me --audio=a --out=o.mp4 --crf=99",
            "--crf=99 is out of range; expected at least 0 and",
        ),
        ("generate --identity=me --audio=a --out=o.mp4 --pose=still", "clip, generated"),
        ("generate --identity=me --audio=a --out=o.mp4 --pose_gain=nan", "--pose_gain=nan is out of range"),
        (
            "finetune --identity=me --refiner_steps=0",
            "--refiner_steps=0 is out of range; expected at least 1",
        ),
        ("finetune --identity=me --preset=huge", "auto|lite|default|paper"),
        ("finetune --identity=me --seed", "seed"),
    ],
)
def test_bad_command_lines(capsys, line, text):
    refused(capsys, line, text)


@pytest.mark.parametrize("name", ["../me", "a/b", "..", "/tmp/me", "me\n"])
@pytest.mark.parametrize(
    "line",
    [
        "prepare clip.mp4 --identity={}",
        "finetune --identity={}",
        "generate --identity={} --audio=clip.mp4 --out=o.mp4",
        "evaluate --identity={}",
        "identity show {}",
        "identity delete {}",
    ],
)
def test_identity_names_cannot_leave_their_folder(capsys, tmp_path, line, name):
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    refused(capsys, line.format(shlex.quote(name)), "identity name", "is not usable")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# ----------------------------------------------------------------------- inputs and outputs


@pytest.mark.parametrize("verb", ["finetune", "evaluate", "generate --audio=a.wav --out=o.mp4"])
def test_verbs_before_prepare_say_so(capsys, verb):
    refused(
        capsys, f"{verb} --identity=me", "there is no identity 'me'", "talkjax prepare CLIP --identity=me"
    )


def test_prepare_of_a_missing_clip_leaves_nothing(capsys, tmp_path):
    refused(capsys, "prepare nothing.mp4 --identity=me", "no such file", "nothing.mp4")
    assert list(tmp_path.iterdir()) == []


def test_unreadable_consent_is_refused_before_any_work(capsys, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    refused(
        capsys, "prepare clip.mp4 --identity=me --consent=nothing.txt", "--consent=nothing.txt cannot be read"
    )
    assert not (tmp_path / "identities").exists()


def test_refused_clip_leaves_no_identity_behind(capsys, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no clip at all " * 50)
    refused(capsys, "prepare clip.mp4 --identity=me", "clip.mp4")
    assert list((tmp_path / "identities").iterdir()) == []


def test_outputs_are_checked_before_any_work(capsys, tmp_path):
    Identity.create("me")
    voice, existing = tmp_path / "voice.wav", tmp_path / "old.mp4"
    voice.write_bytes(b"RIFF")
    existing.write_bytes(b"old video")
    line = "generate --identity=me --audio={} --out={}"
    refused(capsys, line.format("none.wav", "o.mp4"), "no such file", "none.wav")
    refused(
        capsys,
        line.format("voice.wav", "old.mp4"),
        "old.mp4 exists; fix: choose another --out, or add --overwrite",
    )
    refused(capsys, line.format("voice.wav", "o.avi"), "o.avi", ".mp4")
    (tmp_path / "folder.mp4").mkdir()
    refused(capsys, line.format("voice.wav", "folder.mp4") + " --overwrite", "is a folder")
    refused(capsys, line.format("old.mp4", "old.mp4") + " --overwrite", "is an input file")
    refused(capsys, line.format("voice.wav", "voice.wav/o.mp4"), "o.mp4")
    if pathlib.Path("/proc/self").exists():  # nobody, not even root, can write here
        refused(capsys, line.format("voice.wav", "/proc/self/o.mp4"), "/proc/self")
    assert existing.read_bytes() == b"old video"
    assert {path.name for path in tmp_path.iterdir()} == {"identities", "voice.wav", "old.mp4", "folder.mp4"}


def test_doctor_in_words_and_for_machines(capsys, tmp_path):
    (tmp_path / "page.mp4").write_bytes(b"<html>not found</html>" * 50)
    code, out, err = run(capsys, "doctor page.mp4")
    assert (code, err) == (2, "") and out.startswith("refused: page.mp4")
    code, out, _ = run(capsys, "doctor page.mp4 --json")
    report = json.loads(out)
    assert code == 2 and report["verdict"] == "refused" and report["findings"][0]["severity"] == "refused"


def test_identity_list_show_delete(capsys, tmp_path):
    assert "no identities in" in run(capsys, "identity list")[1]
    person = Identity.create("me")
    person.set_consent(read_consent("self"))
    person.run_stage("landmarks", inputs={}, config={}, version=1, build=lambda folder: None)
    (tmp_path / "me.mp4").write_bytes(b"video")
    person.add_output(tmp_path / "me.mp4")
    assert run(capsys, "identity list")[1] == "me                      consent recorded; landmarks\n"
    assert json.loads(run(capsys, "identity list --json")[1]) == ["me"]
    shown = run(capsys, "identity show me")[1]
    assert "own face" in shown and "landmarks" in shown and str(tmp_path / "me.mp4") in shown
    assert json.loads(run(capsys, "identity show me --json")[1])["consent"]["status"] == "recorded"
    code, out, _ = run(capsys, "identity delete me")
    assert code == 0 and str(tmp_path / "me.mp4") in out and "the clip itself" in out
    assert not person.root.exists() and (tmp_path / "me.mp4").exists()
    refused(capsys, "identity show me", "there is no identity 'me'")
    refused(capsys, "identity delete me", "there is no identity 'me'")


def test_assets_that_are_missing_are_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TALKJAX_ASSETS", str(tmp_path / "env"))
    listed = run(capsys, "assets list")[1]
    assert "not here yet" in listed and "Apache-2.0" in listed
    refused(capsys, "assets fetch --offline --assets_dir=here", "face_landmark_with_attention.tflite", "here")


# --------------------------------------------------------------------------- endings


def _command(error: BaseException | None) -> Command:
    def work(arguments):
        if error is not None:
            raise error
        return 0

    return Command("work", "does something", "talkjax work", work)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (errors.InputError("bad file", fix="another"), 2),
        (errors.DivergedError("loss is not finite"), 3),
        (errors.ResumableStop("stopped"), 75),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("nought"), 1),
    ],
)
def test_exit_codes(capsys, monkeypatch, tmp_path, error, code):
    monkeypatch.setitem(main.COMMANDS, "work", _command(error))
    got, _, err = run(capsys, "work")
    assert got == code
    assert "Traceback" not in err and err.count("\n") == (0 if error is None else 1)
    if code == 1:
        (report,) = tmp_path.glob("talkjax-error-*.txt")
        assert str(report) in err and "ZeroDivisionError: nought" in report.read_text()
    if error is not None:
        got, _, err = run(capsys, "work --debug")
        assert got == code and "Traceback" in err


_SLEEPER = """
import sys, time
from talkjax.cli import main
from talkjax.cli.command import Command
def work(arguments):
    print("ready", flush=True)
    time.sleep(60)
    return 0
main.COMMANDS["work"] = Command("work", "sleeps", "talkjax work", work)
sys.exit(main.run(["work"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signals_end_a_real_process_with_a_line_and_a_code(number, code):
    child = subprocess.Popen(
        [sys.executable, "-c", _SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(number)
    _, err = child.communicate(timeout=20)
    assert child.returncode == code
    assert "the same command" in err or "run the same command" in err
    assert err.count("\n") == 1


def test_second_run_on_the_same_identity_isrefused(capsys):
    person = Identity.create("me")
    code = (
        "import sys, time; from talkjax.track.identity import Identity\n"
        "with Identity.open('me', sys.argv[1]).lock():\n    print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(person.root.parent)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        refused(capsys, "identity delete me", f"identity 'me' is in use by pid {child.pid}")
    finally:
        child.kill()
        child.communicate(timeout=20)
    assert run(capsys, "identity delete me")[0] == 0


def test_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)  # as `talkjax ... | head` does when it has seen enough
    done = subprocess.run(
        [sys.executable, "-m", "talkjax.cli.main", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
