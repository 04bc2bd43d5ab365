"""Random people, faces they make, poses, light and paint: pure functions of a key."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from talkjax.data.head_regions import N_NOISE
from talkjax.face.lighting import AMBIENT, sh_basis
from talkjax.numerics import normalize

ID_SCALE, ID_LIMIT = 0.9, 2.2
MAX_PITCH, MAX_YAW, MAX_ROLL = (np.radians(a) for a in (25.0, 25.0, 15.0))

# Chance that a shape is in use, and how far it goes; names are ICT-FaceKit's without side. What is not named
# here is not sampled (pupils).
_SHAPES: dict[str, tuple[float, float]] = {
    **{"browDown": (0.25, 0.9), "browInnerUp": (0.25, 0.9), "browOuterUp": (0.25, 0.9)},
    **{"cheekPuff": (0.05, 0.7), "cheekRaiser": (0.12, 0.8), "cheekSquint": (0.15, 0.8)},
    **{"eyeBlink": (0.35, 0.5), "eyeSquint": (0.2, 0.7), "eyeWide": (0.15, 0.8)},
    **{"eyeLookDown": (0.35, 0.7), "eyeLookUp": (0.25, 0.6), "eyeLookIn": (0.3, 0.6)},
    **{"jawForward": (0.1, 0.6), "jawLeft": (0.08, 0.6), "jawRight": (0.08, 0.6), "jawOpen": (0.65, 0.75)},
    **{"mouthClose": (0.1, 0.3), "mouthDimple": (0.15, 0.7), "mouthFrown": (0.15, 0.8)},
    **{"mouthFunnel": (0.2, 0.8), "mouthPucker": (0.2, 0.8), "mouthLeft": (0.08, 0.6)},
    **{"mouthRight": (0.08, 0.6), "mouthLowerDown": (0.25, 0.8), "mouthUpperUp": (0.25, 0.7)},
    **{"mouthPress": (0.2, 0.7), "mouthRollLower": (0.15, 0.6), "mouthRollUpper": (0.12, 0.6)},
    **{"mouthShrugLower": (0.12, 0.6), "mouthShrugUpper": (0.12, 0.6), "mouthSmile": (0.3, 0.9)},
    **{"mouthStretch": (0.2, 0.8), "noseSneer": (0.12, 0.7)},
}
# Of each pair only the stronger stays.
_EXCLUSIVE = (
    *(("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("eyeBlink", "eyeWide")),
    *(("eyeLookUp", "eyeLookDown"), ("mouthFunnel", "mouthSmile"), ("mouthPucker", "mouthStretch")),
    *(("mouthPucker", "mouthSmile"), ("mouthFunnel", "mouthStretch"), ("cheekPuff", "jawOpen")),
    *(("mouthSmile", "mouthFrown"), ("mouthRollLower", "mouthLowerDown"), ("mouthRollUpper", "mouthUpperUp")),
    *(("browDown", "browOuterUp"), ("eyeWide", "eyeSquint"), ("mouthRollLower", "mouthShrugLower")),
)
_UPPER = ("brow", "eye", "cheekRaiser", "cheekSquint")
_MOUTH_SUM = 1.8  # of all mouth shapes but the jaw's


class Draws:
    """Random numbers of a batch, drawn at once and handed out piece by piece: each draw of its own would take
    longer to compile than to use."""

    def __init__(self, key: Array, count: int, most: int):
        self._count = count
        self._left = jax.random.uniform(key, (count, most), minval=1e-6, maxval=1 - 1e-6)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Array, "n ..."]:
        size = int(np.prod(shape, dtype=int))
        taken, self._left = self._left[:, :size], self._left[:, size:]
        if taken.shape[1] < size:
            raise ValueError("more draws are needed")
        return low + (high - low) * taken.reshape(self._count, *shape)

    def normal(self, *shape: int) -> Float[Array, "n ..."]:
        return np.sqrt(2) * jax.scipy.special.erfinv(self.uniform(*shape, low=-1.0, high=1.0))


class ExpressionTable(NamedTuple):
    """Which column is which shape; made once per list of names."""

    names: tuple[str, ...]
    shapes: tuple[str, ...]

    def column(self, name: str) -> int:
        return self.names.index(name)


def expression_table(names: tuple[str, ...]) -> ExpressionTable:
    present = tuple(s for s in _SHAPES if s in names or s + "_L" in names)
    return ExpressionTable(tuple(names), present)


def sample_expressions(key: Array, table: ExpressionTable, count: int) -> Float[Array, "n e"]:
    """Faces in [0, 1]: a fifth at rest or nearly so, the others mixtures of some shapes; never both of two
    shapes that exclude each other, gaze of both eyes alike, lips that close at most as far as the jaw opens.
    """
    draws = Draws(key, count, 256)
    shapes = list(table.shapes)
    chance = jnp.array([_SHAPES[s][0] for s in shapes])
    reach = jnp.array([_SHAPES[s][1] for s in shapes])
    wild = draws.uniform(1)
    chance = jnp.where(wild < 0.2, 0.25 * chance, jnp.where(wild < 0.7, chance, 1.3 * chance))
    active = draws.uniform(len(shapes)) < chance
    amount = jnp.mean(draws.uniform(len(shapes), 2), -1) * reach
    value = dict(zip(shapes, jnp.where(active, amount, 0.02 * amount).T, strict=True))
    # a blink every fourth picture, often far closed
    blink = draws.uniform(2)
    value["eyeBlink"] = jnp.where(blink[:, 0] < 0.25, 0.5 + 0.5 * blink[:, 1], value["eyeBlink"])
    for a, b in _EXCLUSIVE:
        if a in value and b in value:
            weaker = value[a] < value[b]
            value[a], value[b] = jnp.where(weaker, 0.0, value[a]), jnp.where(weaker, value[b], 0.0)
    if "mouthClose" in value:
        sealed = draws.uniform() < 0.12
        value["mouthClose"] = jnp.where(
            sealed, value["jawOpen"], jnp.minimum(value["mouthClose"], value["jawOpen"])
        )
    if "eyeSquint" in value:
        value["eyeSquint"] = jnp.minimum(value["eyeSquint"], 1 - value["eyeBlink"])
    mouth = [s for s in shapes if s.startswith(("mouth", "noseSneer")) and s != "mouthClose"]
    total = sum(value[s] for s in mouth)
    for s in mouth:
        value[s] = value[s] * jnp.minimum(1.0, _MOUTH_SUM / jnp.maximum(total, 1e-6))
    return _with_sides(draws, table, value, count)


def _with_sides(
    source: Draws, table: ExpressionTable, value: dict[str, Array], count: int
) -> Float[Array, "n e"]:
    """Both sides of a shape nearly alike; one of them now and then alone."""
    columns = dict.fromkeys(table.names, jnp.zeros(count))
    draws = source.uniform(2, len(table.shapes)).transpose(1, 2, 0)
    to_left = source.uniform() < 0.5
    for k, shape in enumerate(table.shapes):
        if shape in table.names:
            columns[shape] = value[shape]
            continue
        left = draws[0, k] < 0.5
        weaker = jnp.where(draws[1, k] < 0.12, 0.25, 0.85 + 0.15 * draws[1, k])
        if shape.startswith(("eyeBlink", "eyeLook")):
            weaker = jnp.where(draws[1, k] < 0.04, weaker, 1.0)
        columns[shape + "_L"] = value[shape] * jnp.where(left, 1.0, weaker)
        columns[shape + "_R"] = value[shape] * jnp.where(left, weaker, 1.0)
    if "eyeLookIn" in value and "eyeLookOut_L" in columns:
        amount = value["eyeLookIn"]
        columns["eyeLookOut_L"] = columns["eyeLookIn_R"] = jnp.where(to_left, amount, 0.0)
        columns["eyeLookIn_L"] = columns["eyeLookOut_R"] = jnp.where(to_left, 0.0, amount)
    return jnp.clip(jnp.stack([columns[name] for name in table.names], -1), 0.0, 1.0)


def gaze_angles(table: ExpressionTable, exp: Float[Array, "n e"]) -> Float[Array, "n 2 2"]:
    """(pitch down, yaw to image right) in radians of the left and the right eye, from the look shapes."""

    def of(name: str) -> Array:
        return exp[:, table.column(name)]

    eyes = [
        jnp.stack(
            [
                0.5 * (of(f"eyeLookDown_{s}") - of(f"eyeLookUp_{s}")),
                0.55 * sign * (of(f"eyeLookOut_{s}") - of(f"eyeLookIn_{s}")),
            ],
            -1,
        )
        for s, sign in (("L", 1), ("R", -1))
    ]
    return jnp.stack(eyes, 1)


def sample_identities(key: Array, n_axes: int, count: int) -> Float[Array, "n k"]:
    """Standard deviations of the model, N(0, 0.9), at most 2.2."""
    return jnp.clip(ID_SCALE * jax.random.normal(key, (count, n_axes)), -ID_LIMIT, ID_LIMIT)


def sample_angles(key: Array, count: int) -> Float[Array, "n 3"]:
    """(pitch, yaw, roll), radians: more often near the front, up to 25, 25 and 15 degrees."""
    draw = jax.random.uniform(key, (2, count, 3), minval=-1.0, maxval=1.0)
    return (
        (0.6 * draw[0] + 0.4 * draw[0] * jnp.abs(draw[1])) * jnp.array([MAX_PITCH, MAX_YAW, MAX_ROLL]) / 0.8
    )


# A matte surface reflects less of the higher bands than `lighting`'s constants say (Ramamoorthi and Hanrahan
# 2001: pi, 2 pi / 3, pi / 4); with the harmonics of a lamp's direction both together give these shares
_MATTE = np.array([1.0] + [0.5] * 8)


def sample_light(key: Array, count: int) -> Float[Array, "n 3 9"]:
    """`sh_coeffs` of one to three lamps, a sky and a general brightness, slightly colored.

    A lamp from direction d adds its harmonics at d, so that a matte ball looks as under that lamp.
    """
    draws = Draws(key, count, 32)
    angle = draws.uniform(3, 2, low=-1.0)
    azimuth, height = 1.4 * angle[..., 0], 0.9 * angle[..., 1] + 0.35
    direction = jnp.stack(
        [jnp.sin(azimuth) * jnp.cos(height), jnp.sin(height), jnp.cos(azimuth) * jnp.cos(height)], -1
    )
    power = -jnp.log(draws.uniform(3)) * jnp.array([1.0, 0.5, 0.3])
    color = 1 + 0.08 * draws.normal(4, 3)
    ambient = 0.3 + draws.uniform()
    # harmonics with the normalization that makes band 0 of a lamp equal to its power
    bands = sh_basis(normalize(direction)) * (_MATTE / sh_basis(jnp.array([0.0, 0.0, 1.0]))[0] ** 2)
    lamps = jnp.einsum("nl,nlc,nlk->nck", power, color[:, :3], bands)
    total = lamps.at[..., 0].add(ambient[:, None] * color[:, 3])
    front = total @ sh_basis(normalize(jnp.array([0.0, 0.2, 1.0])))
    level = jnp.exp(0.22 * draws.normal(1, 1))
    total = 0.95 * level * total / jnp.mean(front, -1)[:, None, None]
    return total.at[..., 0].add(-AMBIENT)


@struct.dataclass
class Paint:
    """Colors of one person (linear mixing in display values, 0..1) and what the hair does."""

    skin: Float[Array, "*b 3"]
    lips: Float[Array, "*b 3"]
    hair: Float[Array, "*b 3"]
    brow: Float[Array, "*b 3"]
    iris: Float[Array, "*b 3"]
    cloth: Float[Array, "*b 3"]
    amounts: Float[Array, "*b 8"]  # lips, brows, blood, beard, under eyes, crease, lid rim, freckle contrast
    hairline: Float[Array, "*b"]  # cm up
    volume: Float[Array, "*b"]  # dm
    hair_noise: Float[Array, "*b k"]
    color_noise: Float[Array, "*b k 3"]
    side_hair: Float[Array, "*b 4"]  # width, length (dm), shown (0 or 1); height of the brows 0..1


_SKINS = np.array(
    [(0.93, 0.77, 0.68), (0.86, 0.66, 0.55), (0.76, 0.55, 0.42), (0.60, 0.42, 0.31), (0.36, 0.24, 0.18)]
)
_HAIRS = np.array(
    [(0.08, 0.06, 0.05), (0.20, 0.13, 0.09), (0.38, 0.25, 0.15), (0.72, 0.58, 0.38), (0.62, 0.61, 0.60)]
)
_IRISES = np.array([(0.20, 0.12, 0.07), (0.33, 0.22, 0.12), (0.33, 0.40, 0.26), (0.36, 0.47, 0.55)])
_NOISE_SIZE = np.repeat([0.022, 0.014, 0.009, 0.008], N_NOISE)


def _between(draws: Draws, colors: np.ndarray) -> Float[Array, "n 3"]:
    place = draws.uniform() * (len(colors) - 1)
    below = jnp.clip(place.astype(int), 0, len(colors) - 2)
    share = (place - below)[:, None]
    table = jnp.asarray(colors, jnp.float32)
    return (1 - share) * table[below] + share * table[below + 1]


def sample_paint(key: Array, count: int) -> Paint:
    """Skin of all tones, lips, hair, eyes and clothes that go with it."""
    draws = Draws(key, count, 256)
    normal, uniform = draws.normal, draws.uniform
    skin = jnp.clip(_between(draws, _SKINS) * (1 + 0.05 * normal(3)), 0.1, 0.97)
    red = jnp.array([0.92, 0.60, 0.62]) - jnp.array([0.0, 0.12, 0.08]) * uniform(1)
    hair = jnp.clip(_between(draws, _HAIRS) * (1 + 0.12 * normal(1)), 0.02, 0.9)
    dyed = uniform(1) < 0.05
    hair = jnp.where(dyed, uniform(3), hair)
    hair_draws, amounts, side = normal(4), uniform(8), uniform(4)
    bearded = amounts[:, 3:4] > 0.7
    low = jnp.array([0.15, 0.25, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3])
    high = jnp.array([0.95, 0.95, 1.2, 0.25, 0.25, 0.25, 0.5, 1.0])
    scaled = low + (high - low) * amounts
    scaled = scaled.at[:, 3:4].set(jnp.where(bearded, 0.5 + (amounts[:, 3:4] - 0.7), scaled[:, 3:4]))
    bald = side[:, 3] < 0.08
    return Paint(
        skin=skin,
        lips=skin * red,
        hair=hair,
        brow=jnp.clip(0.55 * hair + 0.15 * skin, 0.0, 1.0),
        iris=_between(draws, _IRISES) * (0.8 + 0.4 * uniform(1)),
        cloth=uniform(3) * 0.9,
        amounts=scaled,
        hairline=jnp.where(bald, 30.0, 0.9 * hair_draws[:, 0] + 0.3),
        volume=jnp.where(bald, 0.0, 0.05 + 0.13 * jnp.abs(hair_draws[:, 1])),
        hair_noise=normal(sum(N_NOISE)),
        color_noise=(
            0.75 * normal(sum(N_NOISE))[..., None] + 0.25 * normal(3 * sum(N_NOISE)).reshape(count, -1, 3)
        )
        * _NOISE_SIZE[:, None],
        side_hair=jnp.stack(
            [0.6 + 0.5 * side[:, 0], 0.6 + 1.6 * side[:, 1], (side[:, 2] < 0.4) & ~bald, side[:, 3]], -1
        ),
    )
