"""What the benchmarks share: options, real text, runs in turn as child processes, medians, ratios, the matmul rate, JSON."""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from preprocess.text.readers import TextFile, every_example
from salt_fairseq.cli.command import start_command
from salt_fairseq.errors import InputError

start_command()
SEPARATOR = "benchmark result: "


def parser(description, needs_text=True):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    if needs_text:
        made.add_argument("--text", type=Path, help="sentence pairs: XNLI's xnli.test.tsv, or any file that binarize.py takes")
        made.add_argument("--shape", choices=["mbert", "xlmr"], default="mbert", help="PLM with random weights, made once")
        made.add_argument("--device", default="cpu")
    made.add_argument("--rounds", type=int, default=3, help="runs of each, in turn")
    made.add_argument("--work", type=Path, default=Path("results/benchmark"), help="folder for models, data and results")
    made.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    return made


def pairs_of(args):
    """The first ``args.pairs`` examples of the text, as they are: premises repeat themselves."""
    if args.text is None:
        raise InputError(
            "--text FILE is missing: name a file of real sentence pairs, e.g. XNLI's xnli.test.tsv (repeating the "
            "quickstart's sentences would measure something else)"
        )
    return list(itertools.islice(every_example(TextFile.open(args.text), "en"), args.pairs))


def write_pairs(examples, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{e.sentence1}\t{e.sentence2}\t{e.label}\n" for e in examples), encoding="utf-8")
    return path


def command(*words, **more):
    """Run one of the project's commands quietly, ``python`` and ``fairseq-*`` taken from this environment."""
    words = [str(word) for word in words]
    words[0] = sys.executable if words[0] == "python" else str(Path(sys.executable).parent / words[0])
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}:\n{done.stderr[-3000:]}")
    return done


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self):
        return {"seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cpu}


def result(**values):
    """Called by a child: what it measured."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        values["gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    print(SEPARATOR + json.dumps(values), flush=True)


# Linux counts the memory of the process that starts another to that one's peak, so a small process starts it.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
values = {"seconds": time.perf_counter() - start, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}
with open(sys.argv[1], "w") as file:
    json.dump(values, file)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def measured(words):
    """Run a command: what it reported with :func:`result`, else its time; and its peak memory."""
    words = [str(word) for word in words]
    with tempfile.NamedTemporaryFile() as file:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCHER, file.name, *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}:\n{done.stderr[-3000:]}")
        values = json.load(file)
    for line in done.stdout.splitlines():
        if line.startswith(SEPARATOR):
            values.update(json.loads(line.removeprefix(SEPARATOR)))
    return values


def in_turn(commands, rounds):
    """Name to command; each is run once a round. Name to the list of what :func:`measured` says."""
    found = {name: [] for name in commands}
    for i in range(rounds):
        for name, words in commands.items():
            found[name].append(measured(words))
            print(f"round {i + 1}/{rounds}  {name}: {found[name][-1]['seconds']:.3g} s", file=sys.stderr, flush=True)
    return found


def medians(runs):
    """Of each number that all runs of one command report."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0] if isinstance(runs[0][key], (int, float))}


def matmul_rate(device, dtype, size=None, repetitions=5):
    """FLOP/s of a product of square matrices: the median of some."""
    size = size or (8192 if torch.device(device).type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for i in range(repetitions + 1):
        clock = Clock()
        (a @ b).sum().item()
        seconds.append(clock.read())
    key = "cpu_seconds" if torch.device(device).type == "cpu" and torch.get_num_threads() == 1 else "seconds"
    return 2 * size**3 / statistics.median(s[key] for s in seconds[1:])


def table(found, ours, unit="x"):
    """Medians of each, and the ratio of its time to ``ours``: wall time, and CPU time, which another process on the same
    core does not disturb."""
    reference = medians(found[ours])
    lines = [f"{'':34}{'seconds':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}{'peak MiB':>10}"]
    for name, runs in found.items():
        m = medians(runs)
        lines.append(
            f"{name:34}{m['seconds']:10.3f}{m['seconds'] / reference['seconds']:7.2f}x{m['cpu_seconds']:10.3f}"
            f"{m['cpu_seconds'] / reference['cpu_seconds']:7.2f}x{m.get('gpu_peak_mib', m['peak_mib']):10,.0f}"
        )
    return "\n".join(lines)


def options(args):
    """The options of a command as its results name them."""
    return {key: str(value) for key, value in vars(args).items() if key != "child"}


def write(args, case, values):
    """Write ``WORK/CASE.json`` with the machine and the options."""
    path = args.work / f"{case}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    path.write_text(json.dumps({"case": case, "options": options(args), "machine": machine, **values}, indent=1) + "\n")
    print(f"wrote {path}")
