"""Processes of one distillation: those that see different disks are told apart, and they end with the one that started them."""

import multiprocessing
import os
import signal
import socket

import pytest

from preprocess.distillation.processes import check_shared, process_group
from salt_fairseq.cli.command import start_command
from salt_fairseq.errors import InputError

FORK = multiprocessing.get_context("fork")


def seen_by_two(directories):
    """What :func:`check_shared` says in two processes, each with its own directory; None for nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = FORK.SimpleQueue()

    def node(rank):
        os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        os.environ.pop("TORCHELASTIC_RUN_ID", None)
        with process_group() as (own, _):
            try:
                check_shared(directories[rank], own)
                answers.put(None)
            except InputError as error:
                answers.put(str(error))

    nodes = [FORK.Process(target=node, args=(rank,), daemon=True) for rank in range(2)]
    for process in nodes:
        process.start()
    for process in nodes:
        process.join(60)
        assert process.exitcode == 0
    return [answers.get() for _ in nodes]


@pytest.mark.parametrize("second", ["first", "second", "absent"])
def test_two_nodes(second, tmp_path):
    """Two machines without a shared disk have directories of the same kind with other content, or none."""
    first = tmp_path / "first"
    for directory in (first, tmp_path / "second"):
        directory.mkdir()
    (tmp_path / "second" / "shared").write_text("of another run")
    said = seen_by_two([first, tmp_path / second])
    assert not list(first.iterdir()) and not (tmp_path / "absent").exists()
    if second == "first":
        assert said == [None, None]
    else:
        assert all("1 of 2 processes do not see" in line and "on a shared disk" in line for line in said) and len(said) == 2


# facebookresearch/fairseq#2385: workers went on at full load after the first node was killed
def test_worker_ends_when_its_parent_is_killed():
    """Worker and parent hold the pipe's writing end: it is closed once both have ended."""
    reading, writing = os.pipe()

    def worker():
        os.environ["TORCHELASTIC_RUN_ID"] = "none"
        start_command()
        os.write(writing, b"ready")
        signal.pause()

    def parent():
        FORK.Process(target=worker).start()
        signal.pause()

    process = FORK.Process(target=parent)
    process.start()
    os.close(writing)
    assert os.read(reading, 5) == b"ready"
    process.kill()
    process.join()
    signal.alarm(30)  # ends a test that would wait forever
    assert os.read(reading, 5) == b""
    signal.alarm(0)
    os.close(reading)
