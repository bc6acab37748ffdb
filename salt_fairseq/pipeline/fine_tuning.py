"""One training as a process of its own, ``fairseq-hydra-train``, and its progress."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from salt_fairseq.cli.end_with_parent import end_with_parent
from salt_fairseq.cli.printable import print_line, printable
from salt_fairseq.cli.progress import SECONDS
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline.estimate import duration

PREFIX = re.compile(r"\[[^]]*\]\[[^]]*\]\[[A-Z]+\] - ")  # of Hydra's logging
OF_INTEREST = "code-switching to "  # how lines begin that are passed on as they are


class Progress:
    """What a training has reached: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, title: str, updates: int):
        self.title, self.updates, self.shown, self.facts = title, updates, 0.0, dict[str, str]()
        self.bar = tqdm(total=updates, desc=title, unit=" updates", disable=None)
        self.begun, self.first, self.done = time.monotonic(), 0, 0
        if self.bar.disable:
            print_line(f"{title}: starting")

    def read(self, line: str) -> None:
        """Take the progress from a line of the training's output, if it tells some."""
        line = PREFIX.sub("", line, count=1)
        if line.startswith(OF_INTEREST):
            with tqdm.external_write_mode():
                print_line(f"  {line.strip()}")
        values = _values(line)
        if "loss" in values and "num_updates" in values:
            self.facts["loss"] = f"{float(values['loss']):.3f}"
            if not self.done:  # of a training that goes on, the first line tells where
                self.begun, self.first = time.monotonic(), int(values["num_updates"])
            self.done = int(values["num_updates"])
        elif "valid_accuracy" in values:
            self.facts["accuracy on valid"] = f"{float(values['valid_accuracy']):.1f} %"
        else:
            return
        self.bar.set_postfix(self.facts, refresh=False)
        self.bar.update(self.done - self.bar.n)
        if self.bar.disable and time.monotonic() - self.shown >= SECONDS:
            self.shown = time.monotonic()
            print_line(str(self))

    def __str__(self) -> str:
        parts = [f"{self.title}: update {self.done:,} of {self.updates:,}"]
        parts += [f"{name} {value}" for name, value in self.facts.items()]
        if self.first < self.done < self.updates:
            rate = (time.monotonic() - self.begun) / (self.done - self.first)
            parts.append(f"{duration(rate * (self.updates - self.done))} left")
        return ", ".join(parts)

    def close(self) -> None:
        self.bar.close()
        if self.bar.disable and self.done:
            print_line(str(self))


def _values(line: str) -> dict[str, Any]:
    """What a line with fairseq's ``--log-format json`` says; nothing, if it is another line."""
    try:
        values = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def fine_tune(words: Sequence[str], updates: int, log: Path, title: str) -> None:
    """Run ``fairseq-hydra-train`` with these words; everything that it prints goes to the end of ``log``.

    Raises :class:`InputError` with its error, if it ends with one. It ends when this process ends, however that does.
    """
    command = [sys.executable, "-m", "fairseq_cli.hydra_train", *words]
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    progress, said = Progress(title, updates), ""
    try:
        with (
            open(log, "a", encoding="utf-8") as file,
            subprocess.Popen(command, preexec_fn=end_with_parent, **output) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                progress.read(line)
                if line.startswith("error: "):
                    said = line.removeprefix("error: ").strip()
    finally:
        progress.close()
    if process.returncode:
        reason = said or f"fairseq-hydra-train ended with exit code {process.returncode}"
        raise InputError(printable(f"{title} failed: {reason} (its output is in {log})"))
