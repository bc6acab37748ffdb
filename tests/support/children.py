"""Child processes that say when they are ready."""

import multiprocessing


def in_child(work, *args, daemon=True):
    """Start ``work`` in another process, which says by a pipe when it is ready."""
    parent, child = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(*args, child), daemon=daemon)
    process.start()
    assert parent.recv() == "ready"
    return process
