"""State of unfinished work, from which the same command resumes after its process was killed."""

import contextlib
import copy
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from salt_fairseq.errors import InputError, failed_write
from salt_fairseq.storage.archives import check_archive
from salt_fairseq.storage.files import locked, read_json, replacing, write_json

CHECKPOINT_SECONDS = 45  # a batch or step that takes 15 more still leaves at most a minute's work to be lost
MOST_UNSAVED = 250  # chunks that are held in memory


def work_directory(out: Path, work: str) -> Path:
    """Where the state of unfinished work on ``out`` is."""
    out = out.resolve()
    return out.with_name(f".{out.name}.{work}")


class Resumable:
    """The state of unfinished work on ``out``, in a hidden directory beside it that exists only until the work is finished.

    ``work`` names it (*training*). ``settings``, a JSON object, is everything that the results depend on: state that was
    saved with other settings is refused.
    """

    def __init__(self, out: Path, settings: dict[str, Any], work: str):
        self.path, self.saved = work_directory(out, work), time.monotonic()
        if self.path.is_symlink():
            raise InputError(f"{self.path}, the {work} of {out}, is a link to another directory: delete it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {out}: {failed_write(error)}") from None
        if (self.path / "settings.json").is_file():
            begun = read_json(self.path / "settings.json", f"the same command after deleting {self.path}")
            if not isinstance(begun, dict):
                raise InputError(f"{self.path / 'settings.json'} is not as it was saved: delete {self.path} to begin anew")
            if changed := [name for name in settings if begun.get(name) != settings[name]]:
                raise InputError(
                    f"{self.path} holds a {work} that was begun with another {', '.join(changed)}: finish it "
                    "with its own options, or delete it"
                )
        else:
            write_json(self.path / "settings.json", settings)

    def part(self, name: str) -> "Resumable":
        """The state of a part of the work, in a directory of its own."""
        part = copy.copy(self)
        part.path = self.path / name
        part.path.mkdir(exist_ok=True)
        return part

    def names(self, pattern: str) -> list[str]:
        """Names under which something was saved, in alphabetical order."""
        return sorted(path.name for path in self.path.glob(pattern))

    def load(self, name: str, device: str = "cpu") -> Any:
        """The value that was saved under a name, or None."""
        path = self.path / name
        if not path.is_file():
            return None
        try:
            check_archive(path)
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # damaged files raise many kinds
            raise InputError(
                f"{path} is not as it was saved ({type(error).__name__}): delete {self.path} to begin anew"
            ) from None

    def save(self, name: str, value: Any) -> None:
        with replacing(self.path / name) as temporary:
            torch.save(value, temporary)
        self.saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.saved >= CHECKPOINT_SECONDS

    def remove(self) -> None:
        shutil.rmtree(self.path)


@contextlib.contextmanager
def resuming(out: Path, settings: dict[str, Any], work: str) -> Iterator[Resumable]:
    """Lock ``out`` and yield its :class:`Resumable`, which stays if the block fails after something was saved."""
    with locked(out):
        resumable = Resumable(out, settings, work)
        try:
            yield resumable
        except BaseException:
            if [path.name for path in resumable.path.rglob("*") if path.is_file()] == ["settings.json"]:
                resumable.remove()
            raise
        resumable.remove()


class Remembered:
    """Chunks of work that are always made in the same order: those that a killed run saved are not made again."""

    def __init__(self, resumable: Resumable):
        self._resumable, self._saved = resumable, resumable.names("pieces.*")

    def chunks(self, make: Callable[[int], Iterable[Any]]) -> Iterator[Any]:
        """All chunks: those that were saved, then those of ``make(number of these)``. A chunk is tensors, and lists, tuples or
        dictionaries of tensors and plain values."""
        number, unsaved = 0, []
        for name in list(self._saved):
            for chunk in self._resumable.load(name):
                number += 1
                yield chunk
        for chunk in make(number):
            unsaved.append(chunk)
            if self._resumable.due() or len(unsaved) == MOST_UNSAVED:
                self._saved.append(f"pieces.{len(self._saved):06}")
                self._resumable.save(self._saved[-1], unsaved)
                unsaved = []
            yield chunk

    def forget(self) -> None:
        """Remove chunks from which no run can make a result."""
        for name in self._saved:
            (self._resumable.path / name).unlink()
