"""docs/scale.md says what launch/scale.py computes from docs/scale.json, and the computation is right."""

from __future__ import annotations

import json

import jax
import pytest

from launch import scale, shapes
from launch.compile_only import trained_parameters
from talkjax.errors import InputError
from talkjax.train.flops import count_flops, count_loop_turns

DATA = json.loads(scale.DATA.read_text())
PRESETS = {p.name: p for p in scale.load(DATA)}


def test_the_page_is_up_to_date():
    page = scale.PAGE.read_text()
    assert page == scale.page_with(page, scale.tables(list(PRESETS.values()))), "run python -m launch.scale"
    assert set(PRESETS) == set(scale.NAMES)


def test_measured_figures_belong_to_the_present_network():
    """What a change of a network would move, for the preset that is quick to trace."""
    made, known = shapes.mapping(8, "bfloat16"), PRESETS["mapping"]
    state, step = jax.eval_shape(made.job.init), made.job.phases[0].step
    assert trained_parameters(state) == known.parameters
    assert count_flops(step, state, made.batch) / 8 == pytest.approx(known.flops, rel=1e-3)
    assert count_loop_turns(step, state, made.batch) == known.turns


def test_step_time_by_hand():
    p = scale.Preset("mapping", 10, 10, 1e10, 1.0, 1e6, 2e6, 4e6, 8e6, 3, 7, [])
    v5e = scale.MACHINES[0]
    t = scale.parts(p, v5e, 4, lambda r: r.high)
    assert t["compute"] == pytest.approx(4e10 / (197e12 * scale.COMPUTE.high))
    assert t["memory"] == pytest.approx(9e6 / (819e9 * scale.MEMORY.high))
    assert t["turns"] == pytest.approx(7 * v5e.turn.high)
    assert t["sending"] == pytest.approx((2 * 7 / 8 * 4e6 + 7 / 8 * 8e6) / 200e9 + 3 * v5e.collective.high)
    both = scale.step_time(p, v5e, 4)
    assert both.high == pytest.approx(max(t["compute"], t["memory"]) + t["turns"])  # sending hides behind it
    assert both.low > both.high and scale.parts(p, scale.ONE_H100, 4, lambda r: r.low)["sending"] == 0


def test_communication_batch_is_where_work_and_sending_meet():
    p = scale.Preset("refiner", 10, 10, 1e10, 1.0, 0.0, 1.0, 1e9, 0, 1, 0, [])
    v5e = scale.MACHINES[0]
    pick = lambda r: r.high  # noqa: E731
    batch = scale.communication_batch(p, v5e, pick)
    work, sending = (lambda b, k: scale.parts(p, v5e, b, pick)[k]), scale.parts(p, v5e, 1, pick)["sending"]
    assert work(batch / 8, "compute") >= sending > work(batch / 8 - 1, "compute")


def test_traffic_is_fitted_to_batches_that_are_not_padded():
    point = DATA["mapping"]["points"][0] | {
        "batch": 64,
        "trained_parameters": 1000,
        "accessed_bytes": 120_000.0,
    }
    padded = point | {"batch": 16, "accessed_bytes": 119_000.0}
    (p,) = scale.load({"mapping": {"points": [padded, point], "loop_turns": 1}})
    assert (p.fixed_bytes, p.example_bytes) == (40_000, 80_000 / 8)  # ten passes over the parameters
    more = point | {"batch": 128, "accessed_bytes": 200_000.0}
    (p,) = scale.load({"mapping": {"points": [more, padded, point], "loop_turns": 1}})
    assert (p.fixed_bytes, p.example_bytes) == (40_000, 10_000)
    assert [b for b, *_ in p.points] == [2, 8, 16]


def test_only_whole_pages_and_like_measurements():
    with pytest.raises(InputError, match="has no tables"):
        scale.page_with("nothing", "x")
    with pytest.raises(InputError, match="a mesh of"):
        scale.add({}, {"mesh": {"data": 2, "fsdp": 4, "model": 1}})
