"""The processes of one distillation, which torchrun starts, on one machine or on several that share a disk."""

import datetime
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from salt_fairseq.errors import InputError

SHARED = "shared"  # in the work directory, while it is checked


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Yield ``(rank, world size)``, as torchrun's environment says, with a process group if there are several processes."""
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1:
        yield rank, world_size
        return
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(days=7))  # all wait for the slowest
    yield rank, world_size
    torch.distributed.destroy_process_group()


def check_shared(directory: Path, rank: int) -> None:
    """Raise in all processes unless each of them sees the work directory of the first.

    The first writes a random token there and sends it to the others over the process group.
    """
    path, token = directory / SHARED, [secrets.token_hex(16)]
    torch.distributed.broadcast_object_list(token)
    if rank == 0:
        path.write_text(token[0])
    torch.distributed.barrier()
    unseen = torch.tensor(int(not path.is_file() or path.read_text() != token[0]))
    torch.distributed.all_reduce(unseen)
    if rank == 0:
        path.unlink()
    if unseen:
        raise InputError(
            f"{int(unseen)} of {torch.distributed.get_world_size()} processes do not see {directory}, which the first one "
            "made: all machines need the same data directory on a shared disk; without one, use the processes of one machine"
        )
