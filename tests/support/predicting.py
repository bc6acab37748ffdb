"""The command predict with a standard input of its own."""

import io
import sys
from types import SimpleNamespace
from unittest import mock

from salt_fairseq import predict
from support.in_process import call, error_of


def typed(content, *words):
    """What the command prints for this standard input, in this process."""
    out = io.BytesIO()
    with mock.patch.multiple(sys, stdin=SimpleNamespace(buffer=io.BytesIO(content)), stdout=SimpleNamespace(buffer=out)):
        call(predict, *words)
    return out.getvalue()


def error(content, *words):
    """The sentence with which it ends."""
    with mock.patch.object(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content))):
        return error_of(predict, *words)
