"""What is secret in this demo, and everything that must not hold a piece of it."""

from __future__ import annotations

import time
from pathlib import Path

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.honest import KEYS, broker_folder
from lanthorn.demo.leaks import Piece, Search, binary_pieces, key_pieces, text_pieces
from lanthorn.demo.native import NativeResult
from lanthorn.demo.parties import Party
from lanthorn.demo.stage import Stage
from lanthorn.keys import derive_output_key, load_key_file

_MODEL_STEP, _PHOTO_STEP = 1024, 64


def search(stage: Stage, native: NativeResult) -> None:
    """Search everything that the operator and the broker's log have for pieces of what is secret."""
    stage.story.section("Did anything leak?")
    started = time.monotonic()
    stage.search = Search(secret_pieces(stage, native))
    stage.refuse_leaks(*exposed(stage))
    found = stage.search
    stage.story.owner(
        f"searched {found.files} files ({found.bytes / 1e6:.0f} MB) for {found.pieces} pieces of model, photo, "
        f"result, log and keys: none ({time.monotonic() - started:.1f} s)"
    )


def exposed(stage: Stage) -> list[Path]:
    """Return what must hold no plaintext: all the operator has, its terminal too, and all the broker keeps."""
    return [stage.operator.folder, broker_folder(stage), stage.broker_log, stage.owner.terminal]


def secret_pieces(stage: Stage, native: NativeResult) -> list[Piece]:
    """Return pieces of everything secret. Raises `DemoFailedError` if something has none: it could not be found."""
    keys = {name: load_key_file(_key_file(stage.owner, name)) for name in KEYS}
    keys["of the run"] = derive_output_key(keys["result"], stage.run_id, "result")
    secrets = {
        "model.pth": list(binary_pieces("model.pth", stage.props.model.read_bytes(), step=_MODEL_STEP)),
        "photo.png": list(binary_pieces("photo.png", stage.props.photo.read_bytes(), step=_PHOTO_STEP)),
        "result.txt": list(text_pieces("result.txt", native.result)),
        "run.log": list(text_pieces("run.log", native.printed)),
        **{name: list(key_pieces(name, key.raw)) for name, key in keys.items()},
    }
    for name, pieces in secrets.items():
        if not pieces:
            raise DemoFailedError(f"{name} has no piece that could be searched for")
    return [piece for pieces in secrets.values() for piece in pieces]


def _key_file(owner: Party, name: str) -> Path:
    return owner.home / "lanthorn" / "keys" / f"{name}.key"
