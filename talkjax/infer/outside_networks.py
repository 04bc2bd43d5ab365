"""Published networks that the `paper` preset uses where a user has converted them (`assets convert`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from talkjax.assets.catalogue import NETWORKS
from talkjax.assets.network_files import find_network, load_network, network_digest
from talkjax.errors import InputError
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperState, Trunk
from talkjax.train.params_file import nested
from talkjax.types import MemoryBank


@dataclasses.dataclass(frozen=True)
class OutsideNetworks:
    """Variables by part, None where there are none; `names` says where each came from.

    Parts: `generator`, `discriminator`, `query`, `trunk`, `bank` (of the GAN; the trunk also of a ResNet-18),
    `embedding` (face recognition).
    """

    parts: Mapping[str, Any]
    names: Mapping[str, str]

    def get(self, part: str) -> Any:
        return self.parts.get(part)


def stage_inputs() -> dict[str, str]:
    """What of the networks enters a stage's key: kind -> sha256, of those that are found."""
    found = {kind: find_network(kind) for kind in NETWORKS}
    return {f"network {kind}": network_digest(path) for kind, path in found.items() if path is not None}


def load_networks() -> OutsideNetworks:
    """All that are found in the assets folders.

    Raises:
      InputError: (`network_damaged`) one is not what its manifest says.
    """
    parts: dict[str, Any] = {}
    names: dict[str, str] = {}
    # the GAN's own trunk, which its query was trained on, goes before another ResNet-18
    for kind in ("resnet18", "arcface", "paper_gan"):
        path = find_network(kind)
        if path is None:
            continue
        arrays, manifest = load_network(path)
        for part, value in nested(arrays).items():
            parts[part] = value
            names[part] = f"{manifest['title']} (sha256 {manifest['sha256'][:12]})"
    return OutsideNetworks(parts, names)


def settings_for(outside: OutsideNetworks, settings: PaperRefinerSettings) -> PaperRefinerSettings:
    """The settings with the sizes of the networks that are there.

    Raises:
      InputError: the trunk has another width than the GAN's query was made for.
    """
    sizes: dict[str, Any] = {}
    if (generator := outside.get("generator")) is not None:
        params = generator["params"]
        convs = sum(name.startswith("Conv_") for name in params)
        dense = [params["AdainCode_0"][name]["bias"].size for name in sorted(params["AdainCode_0"])]
        sizes |= {"size": 2 ** (convs // 2), "width": params["Conv_0"]["bias"].size}
        sizes["adain_hidden"] = 0 if len(dense) == 3 else dense[0]
        sizes["n_values"] = params["AdainCode_0"]["Dense_0"]["kernel"].shape[0]
    if (judge := outside.get("discriminator")) is not None:
        sizes["discriminator_width"] = judge["params"]["Conv_0"]["bias"].size
    if (trunk := outside.get("trunk")) is not None:
        sizes["trunk_width"] = trunk["params"]["Conv_0"]["bias"].size
    if (query := outside.get("query")) is not None:
        kernel = query["params"]["Dense_0"]["kernel"]
        sizes["n_keys"] = kernel.shape[1]
        if kernel.shape[0] != 8 * sizes.get("trunk_width", settings.trunk_width):
            raise InputError(
                f"the memory's query takes {kernel.shape[0]} numbers, its trunk gives another count",
                fix="convert the *_net_mem.pth that came with the generator, with its trunk inside",
                code="gan_weights",
            )
    if outside.get("bank") is not None:
        sizes["n_slots"] = len(outside.get("bank")["keys"])
    return dataclasses.replace(settings, **sizes)


def begun(state: PaperState, outside: OutsideNetworks, *, keep_bank: bool) -> PaperState:
    """The state with the networks that are there instead of random ones; their optimizers are fresh.

    Args:
      keep_bank: whether the stored memory is of use: its values are face recognition's, no other's.
    """
    changes: dict[str, Any] = {
        field: outside.get(part)
        for field, part in (
            ("params", "generator"),
            ("discriminator", "discriminator"),
            ("query", "query"),
        )
        if outside.get(part) is not None
    }
    bank = outside.get("bank")
    if keep_bank and bank is not None and bank["values"].shape == state.bank.values.shape:
        changes["bank"] = MemoryBank(**{name: jnp.asarray(value) for name, value in bank.items()})
    return dataclasses.replace(state, **changes)


def trained_trunk(outside: OutsideNetworks) -> Trunk | None:
    """The picture feature trained on photographs, where it is there."""
    trunk = outside.get("trunk")
    if trunk is None:
        return None
    width = trunk["params"]["Conv_0"]["bias"].size
    return Trunk(jax.tree.map(jnp.asarray, trunk), jnp.zeros((8 * width,)), jnp.float32(1.0))
