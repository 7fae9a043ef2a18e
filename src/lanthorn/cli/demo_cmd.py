"""`lanthorn demo`: the whole promise on a real model and a real photo, then a hostile operator."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from lanthorn.errors import UsageError

_HINT = "model and photo are not in the package: run `make demo` in a checkout of Lanthorn"


@click.command("demo")
@click.option("--example", type=click.Path(path_type=Path), help="The folder of classify.py.")
@click.option(
    "--assets", type=click.Path(path_type=Path), help="The folder of model.pth, photo.png and other.png."
)
@click.option(
    "--python", type=click.Path(path_type=Path), help="A Python that has PyTorch and the model's code."
)
def command(example: Path | None, assets: Path | None, python: Path | None) -> int:
    """Play owner and operator: encrypt, lock, run, decrypt, compare; then be hostile in every way.

    Everything happens in a temporary folder, through this very command line, and is removed at the end. Ends
    with `demo: OK`, or names what was not as promised and exits with 1.
    """
    from lanthorn.cli._copying import clean_termination
    from lanthorn.demo.run import run_demo
    from lanthorn.demo.stage import Props
    from lanthorn.demo.story import Story

    if example is None or assets is None or python is None:
        raise UsageError("--example, --assets and --python are needed", hint=_HINT)
    props = Props(
        script=_file(example / "classify.py"),
        model=_file(assets / "model.pth"),
        photo=_file(assets / "photo.png"),
        other=_file(assets / "other.png"),
        python=_file(python),
    )
    with clean_termination():
        return run_demo(props, Story(sys.stdout, colour=_colour()), caches=_caches())


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"no such file: {path}", hint=_HINT)
    # Not resolved: an environment's python is a link, and where it lies is the environment.
    return path.absolute()


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _caches() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"
