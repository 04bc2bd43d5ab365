"""The verbs that look after what is stored: identity list|show|delete, assets list|fetch|convert."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from talkjax.assets import mediapipe
from talkjax.assets.catalogue import CATALOGUE, CONVERTIBLE, FACE_MODELS, NETWORKS
from talkjax.cli.command import IDENTITIES_DIR, Arguments, Command, Flag
from talkjax.cli.session import compile_cache_dir
from talkjax.errors import EXIT_OK, InputError
from talkjax.track.identity import Identity, delete_identity, list_identities
from talkjax.track.identity_record import identities_root

_NAME = {"name": "name of the identity"}
_JSON = Flag("json", bool, False, "print JSON for machines", group="output")


def _list(arguments: Arguments) -> int:
    people = list_identities(arguments["identities_dir"])
    if arguments["json"]:
        print(json.dumps([person.name for person in people]))
    elif not people:
        print(f"no identities in {identities_root(arguments['identities_dir'])}")
    for person in [] if arguments["json"] else people:
        try:
            record = person.record
        except InputError as error:
            print(f"{person.name:<24}{error}")
            continue
        stages = ", ".join(record.stages) or "nothing finished"
        print(f"{person.name:<24}consent {record.consent.get('status', 'not recorded')}; {stages}")
    return EXIT_OK


def _show(arguments: Arguments) -> int:
    person = Identity.open(arguments["name"], arguments["identities_dir"])
    record = person.record
    if arguments["json"]:
        print(json.dumps(dataclasses.asdict(record), indent=2))
        return EXIT_OK
    size = sum(path.stat().st_size for path in person.root.rglob("*") if path.is_file())
    source = record.source.get("file", "none yet")
    print(f"{record.name}: {person.root} ({size / 1e6:.1f} MB)")
    print(f"  source   {source}, {record.n_frames} frames, {record.train_frames} to train")
    print(f"  consent  {record.consent.get('status')}: {record.consent.get('statement') or 'no statement'}")
    for stage, entry in record.stages.items():
        state = "" if person.has_stage(stage) else " (files missing: will be made again)"
        print(f"  stage    {stage:<16}{entry['finished']}  {entry['seconds']:.1f} s{state}")
    for path in record.outputs:
        print(f"  output   {path}")
    return EXIT_OK


def _delete(arguments: Arguments) -> int:
    name = arguments["name"]
    left = delete_identity(name, arguments["identities_dir"])
    print(f"deleted identity {name}: its folder and everything in it")
    if left:
        print("made from it and still there, outside the folder:")
        print("\n".join(f"  {path}" for path in left))
    print("not touched: the clip itself, and copies of videos that were moved or renamed")
    if compile_cache_dir().is_dir():
        print(f"not touched: {compile_cache_dir()} (compiled programs, nothing of the person)")
    return EXIT_OK


def _assets_list(arguments: Arguments) -> int:
    folders = mediapipe.asset_dirs(arguments["assets_dir"])
    for file in CATALOGUE:
        at = next((folder / file.name for folder in folders if (folder / file.name).is_file()), None)
        print(f"{file.name}: {at or 'not here yet (talkjax assets fetch)'}")
        print(
            f"  {file.used_for}; {file.license}; {file.size} bytes; sha256 {file.sha256}; from {file.source}"
        )
    _list_face_models(arguments["assets_dir"])
    from talkjax.assets.network_files import describe_networks

    print("\nnetworks of the paper preset (used where they are found; none is ever downloaded):")
    print("\n".join(describe_networks(arguments["assets_dir"])))
    return EXIT_OK


def _list_face_models(assets_dir: str | None) -> None:
    from talkjax.assets.stored_models import describe_stored, unreadable

    print("\nface models (--model=NAME; none is ever downloaded):")
    for model in FACE_MODELS.values():
        stored = describe_stored(model.kind, assets_dir) if model.files else ["always there"]
        print(f"{model.kind}: {model.title}")
        print(f"  terms: {model.license}; {model.terms}")
        print(f"  from: {model.source}")
        if model.files:
            hashes = ", ".join(f"{file} {digest}" for file, digest in model.known_sha256)
            print(f"  files: {', '.join(model.files)}; sha256 {hashes or 'not recorded'}")
        missing = f"not converted (talkjax assets convert --kind={model.kind} --source=...)"
        print("\n".join(f"  here: {line}" for line in stored or [missing]))
    for error in unreadable(assets_dir):
        print(f"not usable: {error}")


def _convert_network(arguments: Arguments) -> int:
    from talkjax.assets.network_files import convert_network

    for name in ("landmarks", "part", "n_id", "n_exp", "n_tex"):
        if arguments[name] is not None:
            raise InputError(f"--{name} means nothing for --kind={arguments['kind']}", code="usage")
    path, manifest, count = convert_network(
        arguments["kind"],
        arguments["source"],
        arguments["out"],
        arguments["assets_dir"],
        license_accepted=arguments["license_accepted"],
        sha256=arguments["sha256"],
    )
    print(f"{manifest.title}: {path} ({path.stat().st_size / 1e6:.1f} MB, {count:,} parameters)")
    print(f"  terms: {manifest.license}; {manifest.terms}")
    print("\n".join(f"  note: {note}" for note in manifest.notes), end="\n" if manifest.notes else "")
    return EXIT_OK


def _assets_convert(arguments: Arguments) -> int:
    if arguments["kind"] in NETWORKS:
        return _convert_network(arguments)
    from talkjax.assets.face_models import convert

    options = {name: arguments[name] for name in ("landmarks", "part", "n_id", "n_exp", "n_tex")}
    if options["landmarks"] is not None:
        options["landmarks"] = pathlib.Path(options["landmarks"]).expanduser()
    path, model, manifest = convert(
        arguments["kind"],
        arguments["source"],
        arguments["out"],
        arguments["assets_dir"],
        license_accepted=arguments["license_accepted"],
        sha256=arguments["sha256"],
        **options,
    )
    print(f"{manifest.title}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    texture = 0 if model.tex_basis is None else len(model.tex_basis)
    print(
        f"  {len(model.mean)} vertices, {len(model.faces)} triangles, "
        f"{len(model.landmarks.number)} landmarks; "
        f"{len(model.id_basis)} identity, {len(model.exp_names)} expression, {texture} texture axes"
    )
    print(f"  terms: {manifest.license}; {manifest.terms}")
    print("\n".join(f"  note: {note}" for note in manifest.notes))
    return EXIT_OK


def _assets_fetch(arguments: Arguments) -> int:
    files = mediapipe.landmark_model_files(arguments["assets_dir"], allow_download=not arguments["offline"])
    print("\n".join(f"{name}: {path}" for name, path in files.items()))
    return EXIT_OK


IDENTITY_LIST = Command(
    "identity list", "names of all identities", "talkjax identity list", _list, flags=(IDENTITIES_DIR, _JSON)
)
IDENTITY_SHOW = Command(
    "identity show",
    "what is stored of an identity: source, consent, stages, outputs",
    "talkjax identity show me",
    _show,
    positional=_NAME,
    flags=(IDENTITIES_DIR, _JSON),
)
IDENTITY_DELETE = Command(
    "identity delete",
    "remove every trace of an identity and say what is left elsewhere",
    "talkjax identity delete me",
    _delete,
    positional=_NAME,
    flags=(IDENTITIES_DIR,),
)
ASSETS_LIST = Command(
    "assets list",
    "external files, face models, networks: terms, sha256, where they are",
    "talkjax assets list",
    _assets_list,
)
ASSETS_FETCH = Command(
    "assets fetch",
    "get the face models once (35 MB through pip), checked",
    "talkjax assets fetch",
    _assets_fetch,
    flags=(Flag("offline", bool, False, "only look in the folders, never download"),),
)
ASSETS_CONVERT = Command(
    "assets convert",
    "turn a face model or network that you hold into talkjax's own form",
    "talkjax assets convert --kind=ict --source=ICT-FaceKit",
    _assets_convert,
    flags=(
        Flag("kind", str, None, "which model", required=True, choices=(*CONVERTIBLE, *NETWORKS)),
        Flag(
            "source",
            str,
            None,
            "folder (bfm09, ict, paper_gan) or file (bfm17, bfm19: h5; flame: pkl; resnet18: pth; arcface: "
            "onnx; pth also as safetensors) as its makers give it out",
            placeholder="PATH",
            required=True,
        ),
        Flag(
            "out",
            str,
            None,
            "name in the assets folder (not of networks), or the path of an npz",
            placeholder="NAME",
            default_text="the kind",
        ),
        Flag(
            "landmarks",
            str,
            None,
            "landmark file of the makers (flame), or vertices of the 68 points as npy, npz or text",
            placeholder="FILE",
            default_text="what lies in or beside the source",
        ),
        Flag("sha256", str, None, "what the source's main file must have", placeholder="HEX"),
        Flag("license_accepted", bool, False, "you hold the model under its makers' terms and keep to them"),
        Flag(
            "part",
            str,
            None,
            "the face as a camera before it sees it, or the whole head",
            group="model",
            choices=("face", "full"),
            default_text="face",
        ),
        Flag(
            "n_id", int, None, "identity axes to keep", group="model", default_text="80; flame 300; ict all"
        ),
        Flag("n_exp", int, None, "expression axes to keep", group="model", default_text="64; flame 100"),
        Flag("n_tex", int, None, "texture axes to keep (bfm)", group="model", default_text="80"),
    ),
    notes="Nothing is downloaded, and nothing in the source is executed. See docs/face_models.md.",
)
