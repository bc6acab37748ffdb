"""Commands of ``preprocess/`` called in this process: starting Python takes longer than most of them."""

import sys
from unittest import mock

import pytest

from salt_fairseq.errors import InputError


def call(module, *words):
    """Run ``module.main()``, or fairseq's ``cli_main()``, with these command-line words."""
    with mock.patch.object(sys, "argv", [module.__name__, *map(str, words)]):
        (module.cli_main if hasattr(module, "cli_main") else module.main)()


def error_of(module, *words):
    """The sentence with which the command ends (on stderr, with exit code 1, when it has a process of its own)."""
    with pytest.raises(InputError) as raised:
        call(module, *words)
    message = str(raised.value)
    assert message and "\n" not in message, message
    return message
