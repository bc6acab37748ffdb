"""Work that is done by several processes, its results in order."""

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import wait
from pathlib import Path

from salt_fairseq.errors import InputError

AHEAD = 4  # results of each process that may wait for an earlier one, so that memory does not grow with the work


def usable_cores():
    """The cores that this process may use: the machine's, less what an affinity or a container (cgroup v2) leaves out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = max(1, min(cores, int(quota) // int(period)))
    return cores


@contextlib.contextmanager
def in_order(work, tasks, count):
    """Yield a function that takes the number of a task and gives an iterator over ``work(task)`` of it and all after it.

    ``count`` processes are forked for that, unless it is 1: whatever ``work`` uses is there already, and only numbers go to
    them. An exception of ``work`` is raised where its result would come, so the first one does not depend on ``count``. All
    processes end with the block, and by themselves if this process is killed.
    """
    if count == 1:
        yield lambda first: map(work, tasks[first:])
        return
    context, workers = multiprocessing.get_context("fork"), {}
    # An interrupt is for this process: the others have it blocked from their beginning to their end.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(work, tasks, theirs, [*workers, ours]), daemon=True)
                process.start()
                workers[ours] = process
                theirs.close()
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


def _results(workers, count, first):
    """Of the tasks ``first`` to ``count`` - 1; ``workers`` is connection to process."""
    free, given, results = [*workers] * 2, first, {}  # a process has a task to go on with
    for number in range(first, count):
        while True:
            connection = None
            try:
                while free and given < min(count, number + AHEAD * len(workers)):
                    connection = free.pop(0)
                    connection.send(given)
                    given += 1
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
                    f"a worker process was stopped (exit code {code}), as happens when the memory is full: start "
                    "the same command again, with fewer --workers"
                ) from None
        result = results.pop(number)
        if isinstance(result, Exception):
            raise result
        yield result


def _serve(work, tasks, connection, others):
    """What a worker process does: answer each number of a task by ``(number, result or exception)``."""
    for other in others:  # this process's copies would keep its end, and theirs, from being noticed
        other.close()
    gc.freeze()  # a collection would write to whatever was forked, and so copy it
    with contextlib.suppress(EOFError, OSError):  # nobody asks any more
        while True:
            number = connection.recv()
            try:
                result = work(tasks[number])
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            connection.send((number, result))
