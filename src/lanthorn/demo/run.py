"""The demo from beginning to end; whatever happens, nothing that it started is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanthorn.demo import honest, searching
from lanthorn.demo.copies import link_or_copy
from lanthorn.demo.hostile.attempt import Attempt
from lanthorn.demo.hostile.play import all_attempts, play_all
from lanthorn.demo.native import NativeRun
from lanthorn.demo.parties import Party
from lanthorn.demo.stage import Props, Stage
from lanthorn.demo.story import Story
from lanthorn.errors import Error


def run_demo(
    props: Props, story: Story, *, caches: Path, attempts: Callable[[], Sequence[Attempt]] = all_attempts
) -> int:
    """Tell the whole story and return 0, or 1 after naming what was not as promised.

    `caches` is where the owner's `lanthorn lock` keeps its bytecode between demos.
    """

    def scenes(top: Path) -> None:
        owner, operator = Party("owner", top / "owner", caches=caches), Party("operator", top / "operator")
        _tell(Stage(top, story, props, owner, operator), attempts())

    return conclude(story, scenes)


def conclude(story: Story, scenes: Callable[[Path], None]) -> int:
    """Play `scenes` in a temporary folder that is always removed; return 0, or 1 with the reason as last line."""
    top = Path(tempfile.mkdtemp(prefix="lanthorn-demo-"))
    try:
        scenes(top)
    except Error as error:
        story.failed(error.message)
        return 1
    except OSError as error:
        story.failed(f"{error.filename or 'the demo'}: {(error.strerror or type(error).__name__).lower()}")
        return 1
    finally:
        shutil.rmtree(top, ignore_errors=True)
    story.ok()
    return 0


def _tell(stage: Stage, attempts: Sequence[Attempt]) -> None:
    stage.story.title("Lanthorn: an unmodified PyTorch program on a machine that its owner does not trust")
    with contextlib.ExitStack() as stack:
        native = NativeRun(stage.props.python, *_native_folder(stage))
        stack.callback(native.close)
        broker = honest.make_keys_and_platform(stage)
        stack.enter_context(honest.served(stage))
        honest.encrypt(stage, broker)
        with ThreadPoolExecutor(1) as beside:
            prepared = beside.submit(honest.prepare_attempts, stage)
            honest.lock_and_allow(stage)
            prepared.result()
        honest.hand_over(stage)
        honest.run(stage)
        plain = native.result()
        honest.decrypt(stage, plain)
        searching.search(stage, plain)
        shutil.copytree(stage.second_job, stage.machine.second_job, copy_function=link_or_copy)
        stage.story.section("The operator turns hostile")
        stage.story.operator(
            f"{len(attempts)} attempts, each on a copy of its machine as the honest run left it"
        )
        play_all(stage, attempts)
        stage.refuse_leaks(*searching.exposed(stage))
        stage.story.owner("searched all of it again: still no plaintext, no key")


def _native_folder(stage: Stage) -> tuple[Path, str, dict[str, str]]:
    """Make a plain folder with the script and its plain inputs."""
    folder = stage.owner.folder / "native"
    folder.mkdir()
    for path in (stage.props.script, stage.props.model, stage.props.photo):
        link_or_copy(str(path), str(folder / path.name))
    return folder, stage.props.script.name, {**stage.owner.environment(), "PATH": os.defpath}
