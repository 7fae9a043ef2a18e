"""Owner and operator do what they should: encrypt, lock, allow, hand over, run, decrypt, compare, search."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanthorn.demo.copies import link_or_copy
from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.jobs import write_classifier, write_second_job
from lanthorn.demo.native import NativeResult
from lanthorn.demo.parties import Finished, Serving, succeeded
from lanthorn.demo.stage import Stage
from lanthorn.job.lock import STORE_NAME

KEYS = ("model", "photo", "result")
SHOWN_BYTES = 48
_MODEL_STEP, _PHOTO_STEP = 1024, 64


def make_keys_and_platform(stage: Stage) -> str:
    """Make keys, the operator's platform and the owner's broker. Return what a job says of the broker."""
    stage.story.section("The owner makes keys, and a broker that will hand them out")
    for name in KEYS:
        stage.owner.must("key", "new", name)
    stage.story.owner(f"lanthorn key new {' | '.join(KEYS)}")
    machine = stage.machine
    stage.operator.must("simulator", "init", machine.simulator)
    vendor = stage.owner.folder / "vendor"
    stage.operator.must("simulator", "export", vendor, "--folder", machine.simulator)
    stage.story.operator(
        "lanthorn simulator init: this machine has no TEE, so a simulated one stands in for it"
    )
    options = ("--address", "127.0.0.1:8443", "--insecure-allow-simulated", "--simulator", vendor)
    said = stage.owner.must("broker", "init", "--folder", broker_folder(stage), *options).stdout
    stage.story.owner("lanthorn broker init --insecure-allow-simulated, trusting that one vendor's root")
    return said


def broker_folder(stage: Stage) -> Path:
    return stage.owner.folder / "broker"


def encrypt(stage: Stage, broker: str) -> None:
    """Write the job and encrypt its inputs."""
    props, job = stage.props, stage.owner_job
    stage.story.section("The owner encrypts model and photo")
    write_classifier(
        job, props.script, props.python, broker.replace("https://127.0.0.1:8443", stage.broker_url)
    )
    stage.story.owner(f"{props.script.name} is an ordinary PyTorch script; beside it lies lanthorn.toml")
    for source, key in ((props.model, "model"), (props.photo, "photo")):
        done = stage.owner.must("encrypt", "--key", key, source, job / source.name, "--json")
        version = json.loads(done.stdout)[0]["version"]
        stage.story.owner(
            f"lanthorn encrypt --key {key} {source.name}: {_megabytes(source)} in {done.seconds:.2f} s"
        )
        with open(job / source.name, "rb") as file:
            stage.story.seen(f"first bytes {file.read(SHOWN_BYTES).hex()}\nversion id  {version}")


def _encrypt_others(stage: Stage) -> None:
    """Encrypt what a hostile operator may have from this owner: another file, and last month's model."""
    other, old = stage.other_files / "other.png", stage.other_files / "old-model.pth"
    other.parent.mkdir()
    stage.owner.must("encrypt", "--key", "model", "--as", "model.pth", stage.props.other, other)
    weights = bytearray(stage.props.model.read_bytes())
    weights[len(weights) // 2] ^= 1
    plain = stage.owner.folder / "old-model.plain"
    plain.write_bytes(weights)
    stage.owner.must("encrypt", "--key", "model", "--as", "model.pth", plain, old)


def lock_and_allow(stage: Stage) -> None:
    stage.story.section("The owner locks the job, and allows that lock")
    done = stage.owner.must("lock", stage.owner_job, "--json")
    said = json.loads(done.stdout)
    files = sum(root["files"] for root in said["roots"].values())
    size = sum(root["bytes"] for root in said["roots"].values())
    stage.story.owner(
        f"lanthorn lock: {files} files, {size / 1e6:.0f} MB of code pinned in {done.seconds:.1f} s"
    )
    stage.story.seen(f"lock {said['lock']}")
    lock = stage.owner_job / "lanthorn.lock"
    allowed = stage.owner.must("broker", "allow", lock, "--folder", broker_folder(stage)).stdout.splitlines()
    stage.story.owner(f"lanthorn broker allow lanthorn.lock: {len(allowed)} keys, for this lock alone")


def prepare_attempts(stage: Stage) -> None:
    """Make what only attempts need: other genuine files, and another job for the same machine, without keys."""
    _encrypt_others(stage)
    stage.library = write_second_job(stage.second_job, stage.props.python)
    stage.owner.must("lock", stage.second_job)


def hand_over(stage: Stage) -> None:
    """Give the operator ciphertext, script, lock and store, and nothing else."""
    machine = stage.machine
    shutil.copytree(stage.owner_job, machine.job, ignore=shutil.ignore_patterns(STORE_NAME))
    # The store is large, public, and named by its contents.
    shutil.copytree(stage.owner_job / STORE_NAME, machine.job / STORE_NAME, copy_function=link_or_copy)
    names = sorted(path.name for path in machine.job.iterdir())
    stage.story.owner(f"gives the operator: {', '.join(names)}")


def run(stage: Stage) -> None:
    """Let the operator run the job, from an environment at another path than the one that was locked."""
    stage.story.section("The operator runs it, and sees only ciphertext")
    machine = stage.machine
    environment, _ = machine.environment_with_own(stage.props, stage.props.early_library())
    done = succeeded(stage.operator.name, machine.run("--environment", environment, "--json"))
    stage.run_id = str(json.loads(done.stdout)["run_id"])
    stage.story.operator(
        f"lanthorn run . : exit code {done.code} in {done.seconds:.1f} s; the whole of its terminal:"
    )
    stage.story.seen("\n".join(line for line in done.stderr.splitlines() if line))
    stage.story.seen(
        "(its environment lies at another path than the owner's: a lock names files, not places)"
    )
    stage.story.owner("lanthorn broker log:")
    rows = log_rows(stage)
    stage.rows_logged = len(rows)
    for row in rows:
        if row["run_id"] == stage.run_id:
            stage.story.seen(_told(row))


def _told(row: dict[str, Any]) -> str:
    """Return one decision of the broker's log in words: the verdict on the evidence, or a key released."""
    if row["event"] != "admitted":
        return f"{row['event']} {row['code']} {row['key']}"
    verdict = row["detail"]["policies"][-1]
    held = sum(check["ok"] for check in verdict["checks"])
    return (
        f"admitted run {row['run_id']}: {verdict['status']}, {held} of {len(verdict['checks'])} checks hold"
    )


def log_rows(stage: Stage) -> list[dict[str, Any]]:
    """Return the broker's log as its owner reads it."""
    said = stage.owner.must("broker", "log", "--folder", broker_folder(stage), "--json").stdout
    return [json.loads(line) for line in said.splitlines()]


def decrypt(stage: Stage, native: NativeResult) -> None:
    """Decrypt what the run left, and compare it with the native run byte for byte."""
    stage.story.section("The owner reads the result")
    job, plain = stage.machine.job, stage.owner.folder / "plain"
    plain.mkdir()
    succeeded(stage.owner.name, try_decrypt(stage, stage.run_id, job / "result.txt", job / "run.log", plain))
    result, log = (plain / "result.txt").read_bytes(), (plain / "run.log").read_bytes()
    stage.story.owner(f"lanthorn decrypt --key result --run {stage.run_id} result.txt run.log")
    stage.story.seen(result.decode("utf-8", "replace"))
    for name, found, expected in (("result.txt", result, native.result), ("run.log", log, native.printed)):
        if found != expected:
            raise DemoFailedError(f"{name} differs from what the native run gave")
    stage.story.owner(
        f"the same script without Lanthorn ({native.seconds:.1f} s) gives the same bytes, printed and written"
    )


def try_decrypt(stage: Stage, run_id: str, *paths: Path) -> Finished:
    """Decrypt outputs as those of one run; the last path is where they go."""
    return stage.owner.lanthorn("decrypt", "--key", "result", "--run", run_id, *paths)


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


@contextlib.contextmanager
def served(stage: Stage) -> Iterator[None]:
    """Serve the owner's broker; told only when an interrupt is sure to end it."""
    with Serving(stage.owner, broker_folder(stage), stage.broker_log) as serving:
        stage.broker_url = serving.url
        stage.story.owner(f"lanthorn broker serve: {serving.url}")
        yield
