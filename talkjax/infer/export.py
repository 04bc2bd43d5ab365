"""`talkjax export`: everything that `talkjax.load` needs of a fine-tuned identity, as one file."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.resources
import time
from collections.abc import Mapping as MappingType
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from talkjax import __version__
from talkjax.config import ExportConfig
from talkjax.infer.bundle import functions, gather, tensors
from talkjax.infer.bundle.archive import write_archive
from talkjax.infer.bundle.layout import CONVENTION, BundleConfig
from talkjax.infer.export_onnx import export_networks, networks
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.person import Person, frame_path
from talkjax.infer.personal import open_person
from talkjax.infer.personal_mapping import load_mapping
from talkjax.infer.personal_refiner import Refiner, load_refiner
from talkjax.progress import SILENT, Progress, Ticker
from talkjax.results import ExportResult
from talkjax.track.identity import Identity

NOTES = (
    "Made with talkjax from one person's clip. It makes that person's likeness speak: use it only with their "
    "consent, which is recorded here, and follow the labelling rules that apply where you publish. Software: "
    "Apache-2.0 (licences/). The method is patented by its authors; check your own right to use it."
)
VERSIONS = ("jax", "jaxlib", "numpy", "flax")


def run(
    identity: Identity, out: Path | None, config: ExportConfig, progress: Progress = SILENT
) -> ExportResult:
    """Writes `out`, and the networks that `config.onnx` asks for; records them among the identity's outputs.

    Raises:
      InputError: not fine-tuned, the extra for ONNX is missing, or something cannot be written.
    """
    begin = time.perf_counter()
    mapping = load_mapping(identity.require_stage("mapping", verb="finetune"))
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    made: dict[str, float] = {}
    if config.onnx is not None:
        folder = Path(config.onnx)
        about = {"identity": identity.name, "consent": identity.record.consent, "notes": NOTES}
        made = export_networks(networks(mapping, refiner), folder, about, overwrite=config.overwrite)
        identity.add_output(folder)
    digest, size = "", 0
    if out is not None:
        with progress("export", 3) as ticker:
            digest = _write(identity, out, mapping, refiner, config.overwrite, ticker)
        identity.add_output(out)
        size = out.stat().st_size
    return ExportResult(out, digest, size, time.perf_counter() - begin, made)


def _write(
    identity: Identity, out: Path, mapping: Mapping, refiner: Refiner, overwrite: bool, ticker: Ticker
) -> str:
    """Writes the file; its manifest's sha256."""
    person = open_person(identity, all_frames=refiner.all_frames)
    sizes = gather.bundle_config(person, mapping, refiner)
    arrays = gather.bundle_arrays(person, mapping, refiner)
    ticker.update(1)
    programs = functions.lower_all(sizes, arrays)
    ticker.update(1)
    members = bundle_members(sizes, arrays, gather.motion_arrays(person), programs, clip_pictures(person))
    record = identity.record
    head = bundle_manifest(
        sizes,
        programs,
        {"name": identity.name, "source": record.source, "all_frames": refiner.all_frames},
        record.consent,
        {name: identity.stage_files(name) for name in ("track", "texture", "mapping", "refiner")},
    )
    digest = write_archive(out, head, members, overwrite=overwrite)
    ticker.update(1)
    return digest


def clip_pictures(person: Person) -> list[bytes]:
    """The clip's frames as the jpeg files that `prepare` wrote."""
    segment = person.train
    return [
        frame_path(folder, k).read_bytes()
        for folder, count in zip(segment.folders, segment.counts, strict=True)
        for k in range(count)
    ][: len(segment)]


def program_file(program: functions.Exported) -> str:
    """A lowered program's name in the file."""
    return f"programs/{program.name}.{program.platform}.jaxexport"


def bundle_members(
    config: BundleConfig,
    arrays: MappingType[str, MappingType[str, np.ndarray]],
    motion: MappingType[str, np.ndarray],
    programs: list[functions.Exported],
    pictures: list[bytes],
) -> dict[str, bytes]:
    """All members but the manifest; `pictures` are jpeg files."""
    members = {program_file(program): program.data for program in programs}
    groups = {**arrays, "motion": motion}
    groups |= {f"start_{name}": state for name, state in functions.start_states(config, arrays).items()}
    members |= {f"arrays/{name}.safetensors": tensors.encode(values) for name, values in groups.items()}
    members |= {f"frames/{k:05d}.jpg": data for k, data in enumerate(pictures)}
    return members | {f"licences/{name}": text.encode() for name, text in licence_texts().items()}


def licence_texts() -> dict[str, str]:
    """Texts that go along: the package's licence and notice, and what this file may be used for."""
    texts = {"README.txt": NOTES + "\n"}
    for name in ("LICENSE", "NOTICE"):
        if (text := _package_text(name)) is not None:
            texts[name] = text
    return texts


def _package_text(name: str) -> str | None:
    beside = Path(str(importlib.resources.files("talkjax"))).parent / name
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    try:
        files = metadata.files("talkjax") or []
    except metadata.PackageNotFoundError:
        return None
    return next((file.read_text() for file in files if file.name == name), None)


def bundle_manifest(
    config: BundleConfig,
    programs: list[functions.Exported],
    identity: dict[str, Any],
    consent: dict[str, Any],
    models: dict[str, Any],
) -> dict[str, Any]:
    """What the file says of itself; `write_archive` adds format, members and digests."""
    return {
        "identity": identity,
        "consent": consent,
        "notes": NOTES,
        "synthetic": "every video that is made with this file is synthetic and must say so",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"talkjax": __version__, **{name: metadata.version(name) for name in VERSIONS}},
        "convention": CONVENTION,
        "calling_convention_version": jax.export.maximum_supported_calling_convention_version,
        "sound": {"sample_rate": 16_000, "channels": 1},
        "video": {"fps": 25, "width": config.width, "height": config.height},
        "config": dataclasses.asdict(config),
        "programs": [
            {
                "name": program.name,
                "file": program_file(program),
                "platforms": [program.platform],
                "inputs": program.inputs,
            }
            for program in programs
        ],
        "platforms": sorted({program.platform for program in programs}),
        "models": models,
    }
