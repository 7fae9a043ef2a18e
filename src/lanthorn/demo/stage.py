"""What the scenes share: who is there, what each has, and the run that everything is compared with."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from lanthorn.demo.copies import link_or_copy, look_alike
from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.leaks import Search
from lanthorn.demo.parties import Finished, Party
from lanthorn.demo.story import Story


@dataclass(frozen=True)
class Props:
    """What the demo is given: the example, its model and photos, and the Python that has PyTorch."""

    script: Path
    model: Path
    photo: Path
    other: Path
    python: Path

    @property
    def environment(self) -> Path:
        return self.python.parent.parent

    def early_library(self) -> PurePath:
        """Return a library that the script loads first, relative to its environment."""
        pattern = "lib/python*/site-packages/numpy/_core/_multiarray_umath*.so"
        found = sorted(self.environment.glob(pattern))
        if not found:
            raise DemoFailedError(f"no {pattern} in {self.environment}")
        return found[0].relative_to(self.environment)


@dataclass(frozen=True)
class Machine:
    """The operator's machine, or a copy of it: the job as it was handed over, and the platform."""

    operator: Party
    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "job"

    @property
    def second_job(self) -> Path:
        return self.folder / "second"

    @property
    def simulator(self) -> Path:
        return self.folder / "platform"

    def run(
        self, *options: str | Path, job: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> Finished:
        return self.operator.lanthorn(*self.run_command(*options, job=job), extra=extra)

    def run_command(self, *options: str | Path, job: Path | None = None) -> tuple[str | Path, ...]:
        return ("run", job or self.job, "--simulator", self.simulator, *options)

    def reboot(self) -> None:
        self.operator.must("simulator", "reboot", "--folder", self.simulator)

    def set_platform(self, *options: str) -> None:
        self.operator.must("simulator", "set", "--folder", self.simulator, *options)

    def environment_with_own(self, props: Props, inside: PurePath) -> tuple[Path, Path]:
        """Return an environment on this machine, and the file in it that is a copy of its own."""
        place = self.folder / "environment"
        return place, look_alike(props.environment, place, inside)


@dataclass
class Stage:
    """Grows as the story goes; every scene finds here what earlier ones made."""

    top: Path
    story: Story
    props: Props
    owner: Party
    operator: Party
    broker_url: str = ""
    run_id: str = ""
    rows_logged: int = 0
    """How many rows the broker's log had after the honest run."""
    library: Path = field(default_factory=Path)
    search: Search = field(default_factory=lambda: Search(()))
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def owner_job(self) -> Path:
        return self.owner.folder / "job"

    @property
    def second_job(self) -> Path:
        return self.owner.folder / "second"

    @property
    def other_files(self) -> Path:
        """Where the owner keeps genuine ciphertext that this job must not be given."""
        return self.owner.folder / "other"

    @property
    def machine(self) -> Machine:
        return Machine(self.operator, self.operator.folder / "machine")

    @property
    def broker_log(self) -> Path:
        return self.owner.folder / "broker.txt"

    @contextlib.contextmanager
    def copy_of_machine(self) -> Iterator[Machine]:
        """Give one attempt a copy of the operator's machine as the honest run left it, registers included.

        Afterwards all that is left there is searched for plaintext, and the copy is removed.
        """
        copy = Machine(self.operator, self.operator.folder / f"attempt-{next(self._numbers)}")
        shutil.copytree(self.machine.job, copy.job, copy_function=link_or_copy)
        shutil.copytree(self.machine.second_job, copy.second_job, copy_function=link_or_copy)
        shutil.copytree(self.machine.simulator, copy.simulator)
        try:
            yield copy
            self.refuse_leaks(copy.job)
        finally:
            shutil.rmtree(copy.folder, ignore_errors=True)

    def refuse_leaks(self, *places: Path) -> None:
        """Search files and folders. Raises `DemoFailedError` naming the first leak."""
        for place in places:
            leaks = self.search.folder(place) if place.is_dir() else self.search.file(place)
            if leaks:
                raise DemoFailedError(
                    f"{leaks[0]} (and {len(leaks) - 1} more)" if leaks[1:] else str(leaks[0])
                )
