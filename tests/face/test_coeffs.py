"""The packed vector keeps the reference's order and size."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.coeffs import pack, unpack
from talkjax.types import FaceCoeffs, Pose


def _coeffs(n_id: int, n_exp: int, n_tex: int) -> FaceCoeffs:
    rng = np.random.default_rng(0)
    return FaceCoeffs(
        id_coeffs=jnp.float32(rng.normal(size=(2, n_id))),
        exp_coeffs=jnp.float32(rng.normal(size=(2, n_exp))),
        tex_coeffs=jnp.float32(rng.normal(size=(2, n_tex))),
        pose=Pose(
            euler=jnp.float32(rng.normal(size=(2, 3))), translation=jnp.float32(rng.normal(size=(2, 3)))
        ),
        sh_coeffs=jnp.float32(rng.normal(size=(2, 3, 9))),
    )


def test_fields_lie_where_the_reference_has_them():
    coeffs = _coeffs(80, 64, 80)
    vector = np.asarray(pack(coeffs))
    assert vector.shape == (2, 257)
    np.testing.assert_array_equal(vector[:, :80], coeffs.id_coeffs)
    np.testing.assert_array_equal(vector[:, 80:144], coeffs.exp_coeffs)
    np.testing.assert_array_equal(vector[:, 144:224], coeffs.tex_coeffs)
    np.testing.assert_array_equal(vector[:, 224:227], coeffs.pose.euler)
    np.testing.assert_array_equal(vector[:, 227:236], coeffs.sh_coeffs[:, 0])  # channel-major
    np.testing.assert_array_equal(vector[:, 245:254], coeffs.sh_coeffs[:, 2])
    np.testing.assert_array_equal(vector[:, 254:], coeffs.pose.translation)


@pytest.mark.parametrize("sizes", [(80, 64, 80), (80, 43, 12), (1, 0, 0)])
def test_round_trip_with_padding(sizes):
    coeffs = _coeffs(*sizes)
    back = unpack(pack(coeffs), n_id=sizes[0], n_exp=sizes[1], n_tex=sizes[2])
    for name in ("id_coeffs", "exp_coeffs", "tex_coeffs", "sh_coeffs"):
        np.testing.assert_array_equal(getattr(back, name), getattr(coeffs, name))
    np.testing.assert_array_equal(back.pose.euler, coeffs.pose.euler)
    np.testing.assert_array_equal(back.pose.translation, coeffs.pose.translation)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="exp_coeffs has 65 entries"):
        pack(_coeffs(80, 65, 80))
    with pytest.raises(ValueError, match="257 entries, got 256"):
        unpack(jnp.zeros((2, 256)))
