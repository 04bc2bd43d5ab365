"""The vocabulary of the house: arrays with shapes, and the few structs that everything passes around.

Spaces (suffix of a name):
  _model  face model space: x to the person's left (image right), y up, z out of the face; decimetres.
  _cam    after head pose: verts_cam = verts_model @ R(euler).T + translation; same axes; the camera sits on
          the +z axis at z = camera.distance and looks along -z.
  _clip   homogeneous clip coordinates (x, y, z, w) for the rasterizer, y up.
  _px     image pixels: x right, y down, pixel (i, j) covers [j, j+1) x [i, i+1), its centre is (j+.5, i+.5).
Images are `[*b h w c]` float32 in [0, 1] at function borders; uint8 only in `media`.
"""

from __future__ import annotations

from flax import struct
from jaxtyping import Array, Bool, Float, Int

SKIN, MOUTH, EYES = 0, 1, 2
"""Values of `FaceModel.face_region`: skin, mouth interior strip, eye strips."""


@struct.dataclass
class Camera:
    """Pinhole camera of the reference (reference.md §2.2).

    With z_c = distance - z:  u = center_x + focal * x / z_c,  v = center_y - focal * y / z_c  (pixels).
    """

    focal: Float[Array, ""]
    center: Float[Array, "2"]
    distance: Float[Array, ""]


@struct.dataclass
class Pose:
    """Rigid head pose: R = Rz @ Ry @ Rx from `euler` (pitch, yaw, roll; radians), then `translation`."""

    euler: Float[Array, "*b 3"]
    translation: Float[Array, "*b 3"]


@struct.dataclass
class SurfacePoints:
    """Points of a mesh: each the mean of three vertices `verts` with weights `bary` (sum 1).

    `number` says which of the tracked landmarks (0-467) each one is; a model need not have all.
    """

    number: Int[Array, "n"]
    verts: Int[Array, "n 3"]
    bary: Float[Array, "n 3"]


@struct.dataclass
class Skeleton:
    """Joints of a model whose jaw and eyes turn (linear blend skinning, Li et al. 2017, eq. 2-5).

    joint_mean, joint_basis: where the joints are, linear in (id_coeffs, linear exp_coeffs), dm.
    skin_weights: how much each vertex follows each joint. pose_basis: corrective shape (dm) per entry of
    R - I of joints 1.., row-major. parents: of each joint, -1 for the root, parents first. moving: joints
    whose axis-angle vectors (radians) follow the linear expression coefficients in `exp_coeffs`, three each;
    the others stay at rest.
    """

    joint_mean: Float[Array, "j 3"]
    joint_basis: Float[Array, "ke j 3"]
    skin_weights: Float[Array, "v j"]
    pose_basis: Float[Array, "p v 3"]
    parents: tuple[int, ...] = struct.field(pytree_node=False)
    moving: tuple[int, ...] = struct.field(pytree_node=False)


@struct.dataclass
class FaceModel:
    """A morphable face as a value: verts = mean + id_coeffs . id_basis + exp_coeffs . exp_basis.

    Decimetres; the reference's frame (x to the person's left, y up, z out of the face). With a `skeleton`,
    `exp_coeffs` go on after the linear axes with three angles per moving joint.

    `exp_signed` marks expression axes that may be negative; the others live in [0, exp_limit]; signed ones
    in [-exp_limit, exp_limit]. `landmarks` are the tracked landmarks' places (all 468, one vertex each, for
    the lifted model). Models with a statistical texture have `tex_mean` and `tex_basis`, albedo per vertex
    in [0, 1].
    """

    mean: Float[Array, "v 3"]
    id_basis: Float[Array, "k v 3"]
    exp_basis: Float[Array, "e v 3"]
    exp_signed: Bool[Array, "e"]
    faces: Int[Array, "f 3"]
    face_region: Int[Array, "f"]
    uvs: Float[Array, "v 2"]
    landmarks: SurfacePoints
    tex_mean: Float[Array, "v 3"] | None = None
    tex_basis: Float[Array, "x v 3"] | None = None
    skeleton: Skeleton | None = None
    exp_names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    exp_limit: float = struct.field(pytree_node=False, default=1.3)
    name: str = struct.field(pytree_node=False, default="lifted")


@struct.dataclass
class FaceCoeffs:
    """Everything that explains one frame (or a batch): shape, expression, texture, pose, light.

    sh_coeffs are 9 spherical-harmonic coefficients per colour channel (reference.md §2.2), not including
    the constant 0.8 that the reference adds to band 0.
    """

    id_coeffs: Float[Array, "*b k"]
    exp_coeffs: Float[Array, "*b e"]
    tex_coeffs: Float[Array, "*b x"]
    pose: Pose
    sh_coeffs: Float[Array, "*b 3 9"]


@struct.dataclass
class Fragments:
    """What the rasterizer knows of each pixel: triangle id (-1 background), barycentrics, depth.

    `bary` is perspective-correct and differentiable; `depth` is NDC z.
    """

    face_id: Int[Array, "*b h w"]
    bary: Float[Array, "*b h w 3"]
    depth: Float[Array, "*b h w"]


@struct.dataclass
class MemoryBank:
    """Key-value memory of the refiner (reference.md §5.3): a value that is passed in and out."""

    keys: Float[Array, "n dk"]
    values: Float[Array, "n dv"]
    age: Float[Array, "n"]
    source_id: Int[Array, "n"]
