"""The verbs that look after what is stored: identity list|show|delete, assets list|fetch."""

from __future__ import annotations

import dataclasses
import json

from talkjax.assets import mediapipe
from talkjax.assets.catalogue import CATALOGUE
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
    "external model files: licence, sha256, where they are",
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
