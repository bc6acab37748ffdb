"""Progress on a terminal, in a log, and where standard error is closed."""

import io
import sys

import pytest
import tqdm.std

from salt_fairseq.cli import progress as module
from salt_fairseq.cli.progress import progress_bar


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(tqdm.std, "time", lambda: self.now)
        monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def counted(clock, monkeypatch, stream, steps, seconds):
    """What is written while ``steps`` steps of so many seconds are counted."""
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=steps, desc="distilling", unit=" tokens") as bar:
        for _ in range(steps):
            clock.now += seconds
            bar.update()
    return stream.getvalue()


def test_a_line_every_thirty_seconds_in_a_log(clock, monkeypatch):
    text = counted(clock, monkeypatch, io.StringIO(), 100, 2)  # 200 seconds
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert len(lines) == 200 // module.SECONDS + 1  # and the last one, at the end
    assert all(line.startswith("distilling: ") and line.endswith("2.00s/ tokens]") for line in lines)
    assert lines[0].startswith("distilling:  15% 15/100 [00:30<02:50") and lines[-1].startswith("distilling: 100% 100/100")


def test_nothing_in_a_log_for_a_short_job(clock, monkeypatch):
    assert counted(clock, monkeypatch, io.StringIO(), 10, 2) == ""


def test_a_bar_on_a_terminal(clock, monkeypatch):
    text = counted(clock, monkeypatch, Terminal(), 10, 2)
    assert text.count("\r") >= 10 and "100%" in text and "|" in text


def test_nothing_where_standard_error_is_closed(clock, monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3))) == [0, 1, 2]
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress_bar(range(3))) == [0, 1, 2]
