"""The option ``--device`` of the commands that run a model."""

import argparse

import torch

from salt_fairseq.errors import InputError


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device of the model")


def check_device(device: str) -> None:
    """Raise unless tensors can be on ``device``."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} cannot be used here ({str(error).splitlines()[0]}): name another, e.g. cpu"
        ) from None
