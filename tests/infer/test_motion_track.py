"""The motion track's file: exact round trip, edits by hand, and messages that name the place."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.infer.motion_track import DIGITS, MotionTrack, format_track, parse_track


@pytest.fixture
def track() -> MotionTrack:
    rng = np.random.default_rng(0)
    return MotionTrack(
        euler=rng.normal(0, 0.1, (40, 3)),
        translation=rng.normal((0, 0, 3), 0.2, (40, 3)),
        lid=rng.uniform(0, 1, 40),
        gaze=rng.normal(0, 0.05, (40, 2)),
        source=rng.integers(0, 300, 40),
    )


def test_reading_gives_what_was_written_to_the_stated_digits(track):
    text = format_track(track)
    again = parse_track(text)
    half = 0.5 * 10.0 ** -DIGITS["pitch"] * (1 + 1e-9)
    assert np.abs(np.rad2deg(again.euler - track.euler)).max() <= half
    assert np.abs(again.translation - track.translation).max() <= 0.5001e-5
    assert np.abs(again.lid - track.lid).max() <= 0.5001e-4
    assert np.abs(again.gaze - track.gaze).max() <= 0.5001e-5
    np.testing.assert_array_equal(again.source, track.source)
    assert format_track(again) == text  # and a second time nothing changes at all


def test_columns_may_be_missing_moved_and_rows_left_out(track):
    few = parse_track("yaw,pitch,roll\n1,2,3\n-1,-2,-3\n")
    np.testing.assert_allclose(np.rad2deg(few.euler), [[2, 1, 3], [-2, -1, -3]])
    assert few.translation is None and few.lid is None and few.gaze is None and few.source is None
    text = "# a note\n\nframe,pitch,yaw,roll,lid,source\n0,0,0,0,0,7\n\n10,10,0,-5,1,9\n20,0,0,0,0,9\n"
    keys = parse_track(text)
    assert len(keys) == 21
    pitch = np.rad2deg(keys.euler[:, 0])
    np.testing.assert_allclose(pitch[[0, 10, 20]], [0, 10, 0], atol=1e-12)
    assert np.all(np.diff(pitch[:11]) >= 0) and pitch.max() <= 10  # smooth and without overshoot
    np.testing.assert_allclose(keys.lid[:11], np.arange(11) / 10)
    assert keys.source[9] == 7 and keys.source[10] == 9
    windows = "\ufeffpitch,yaw,roll\r\n1,2,3\r\n"  # as spreadsheets write it
    assert len(parse_track(windows)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("is empty", "pitch, yaw, roll")),
        ("# only\n# notes\n", ("is empty",)),
        ("pitch,yaw,roll\n", ("no rows",)),
        ("pitch,yaw\n1,2\n", ("line 1", "column roll is missing")),
        ("pitch,yaw,roll,tx\n1,2,3,4\n", ("ty, tz is missing",)),
        ("pitch,yaw,roll,gaze_x\n1,2,3,0\n", ("gaze_y is missing",)),
        ("pitch,yaw,roll,jaw\n1,2,3,4\n", ("unknown column 'jaw'", "gaze_x")),
        ("pitch,yaw,roll,yaw\n1,2,3,4\n", ("column yaw is there twice",)),
        ("# x\npitch,yaw,roll\n1,2,3\n1,2\n", ("line 4", "has 2 values", "3 values")),
        ("pitch,yaw,roll\n1,2,3\n1,two,3\n", ("line 3", "column yaw", "'two' is no number")),
        ("pitch,yaw,roll\n1,nan,3\n", ("line 2", "column yaw", "no number")),
        ("pitch,yaw,roll\n1,2,90\n", ("line 2", "column roll", "90 is out of range", "-60 to 60")),
        ("pitch,yaw,roll,lid\n1,2,3,2\n", ("column lid", "0 to 1.2")),
        ("frame,pitch,yaw,roll\n1,1,2,3\n", ("line 2", "column frame", "starts at 1")),
        ("frame,pitch,yaw,roll\n0,1,2,3\n2,1,2,3\n2,1,2,3\n", ("line 4", "2 comes after 2")),
        ("frame,pitch,yaw,roll\n0,1,2,3\n0.5,1,2,3\n", ("line 3", "no frame number")),
        ("frame,pitch,yaw,roll\n0,1,2,3\n9999999,1,2,3\n", ("too late", "an hour")),
    ],
)
def test_bad_tracks_are_refused_in_one_line_that_names_the_place(text, words):
    with pytest.raises(InputError) as caught:
        parse_track(text, "my.csv")
    message = str(caught.value)
    assert message.startswith("my.csv") and "\n" not in message and caught.value.code == "bad_track"
    for word in words:
        assert word in message
