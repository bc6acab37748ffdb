"""Work done by several processes, with the results in order."""

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from salt_fairseq.errors import InputError

AHEAD = 4  # results per process that may wait for an earlier one, so that memory does not grow with the work


def usable_cores() -> int:
    """The number of cores this process may use: the machine's, within its affinity and its container's limit (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = max(1, min(cores, int(quota) // int(period)))
    return cores


@contextlib.contextmanager
def in_order(work: Callable, tasks: Sequence, count: int) -> Iterator[Callable[[int], Iterator]]:
    """Yield a function that takes the number of a task and returns an iterator over ``work(task)`` from that task on.

    With ``count`` above 1, that many processes are forked: they inherit everything ``work`` uses, and receive only task
    numbers. An exception of ``work`` is raised in place of its result, so the first error does not depend on ``count``. All
    processes end with the block, and by themselves if this process is killed.

    Each process has its own pipe, so the death of one is noticed at any moment. ``ProcessPoolExecutor`` shares one result pipe
    among all: when a worker was killed after a quarter of a large result had been read, it waited for the rest forever, in five
    trials of five, where this pool reported the death in all five.
    """
    if count == 1:
        yield lambda first: map(work, tasks[first:])
        return
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, Any] = {}  # by connection
    # Only this process handles an interrupt: the workers have the signal blocked from beginning to end.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        try:
            for _ in range(count):
                connection, far_end = context.Pipe()
                process = context.Process(target=_serve, args=(work, tasks, far_end, [*workers, connection]), daemon=True)
                process.start()
                workers[connection] = process
                far_end.close()
        except OSError as error:
            raise InputError(f"{count} processes cannot be started ({error.strerror}): give fewer --workers") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield functools.partial(_results, workers, len(tasks))
    finally:
        for connection, process in workers.items():
            process.kill()
            process.join()
            connection.close()


def _results(workers: dict[Any, Any], count: int, first: int) -> Iterator:
    """Yield the results of tasks ``first`` to ``count`` - 1; ``workers`` maps connections to processes."""
    free, assigned, results = [*workers] * 2, first, {}  # each process has one more task waiting for it
    for number in range(first, count):
        while True:
            connection: Any = None
            try:
                while free and assigned < min(count, number + AHEAD * len(workers)):
                    connection = free.pop(0)
                    connection.send(assigned)
                    assigned += 1
                if number in results:
                    break
                for connection in wait(workers):
                    done, result = connection.recv()
                    results[done] = result
                    free.append(connection)
            except (EOFError, OSError):
                workers[connection].join()
                code = workers[connection].exitcode
                raise InputError(
                    f"a worker process was stopped (exit code {code}), as happens when memory runs out: start "
                    "the same command again, with fewer --workers"
                ) from None
        result = results.pop(number)
        if isinstance(result, Exception):
            raise result
        yield result


def _serve(work: Callable, tasks: Sequence, connection: Connection, inherited: list[Connection]) -> None:
    """The worker process: answer each task number with ``(number, result or exception)``."""
    for other in inherited:  # copies that would hide the end of this process's parent, and of the other workers
        other.close()
    gc.freeze()  # a collection would write to inherited memory, and so copy it
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            number = connection.recv()
            try:
                result = work(tasks[number])
            except Exception as error:
                error.__notes__ = [traceback.format_exc()]  # shown since Python 3.11
                result = error
            connection.send((number, result))
