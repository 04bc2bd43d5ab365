"""Bars for people who watch, silence for everything else."""

from __future__ import annotations

import itertools

from talkjax.cli import progress
from talkjax.progress import SILENT


def _draw(show, total):
    with show("landmarks", total) as ticker:
        for _ in range(3):
            ticker.update(2)


def test_silent_unless_on_a_terminal_or_asked_for(capsys):
    assert progress.terminal_progress() is SILENT  # under pytest stderr is no terminal
    _draw(SILENT, 6)
    assert capsys.readouterr() == ("", "")


def test_bar_counts_and_shows_remaining_time(capsys):
    _draw(progress.terminal_progress(True), 6)
    err = capsys.readouterr().err
    assert "landmarks" in err and "0/6" in err and "<" in err


def test_only_stages_of_more_than_a_second_leave_a_line(capsys, monkeypatch):
    show = progress.terminal_progress(True)
    _draw(show, 6)
    assert "6/6" not in capsys.readouterr().err.split("\r")[-1]
    clock = itertools.count(0.0, 2.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    _draw(show, 6)
    assert "6/6" in capsys.readouterr().err
    _draw(show, None)
    assert "landmarks" in capsys.readouterr().err
