"""A user's own program may import this project: its process stays as it was, and its errors are its own."""

import atexit
import subprocess
import sys
import textwrap

import pytest

from salt_fairseq.cli.command import print_sentence
from support.running import ROOT

pytestmark = pytest.mark.slow

IMPORTS = {
    "modules": """
        import salt_fairseq.candidates, salt_fairseq.evaluate, salt_fairseq.plm, salt_fairseq.predict, salt_fairseq.report.__main__
        from salt_fairseq.models.salt_encoder import SaltEncoder
        from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairTask
        from preprocess import binarize, distill
        """,
    "user module of fairseq": """
        fairseq.utils.import_user_module(argparse.Namespace(user_dir="salt_fairseq"))
        """,
}
PROGRAM = """
    import argparse, logging, os, sys
    import fairseq.tasks, fairseq.checkpoint_utils

    def state():
        loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("fairseq")]
        return sys.excepthook, dict(os.environ), {logger.name: (list(logger.filters), logger.level) for logger in loggers}

    before = state()
    IMPORTS
    after = state()
    assert after[:2] == before[:2] and sys.excepthook is sys.__excepthook__
    assert {name: after[2][name] for name in before[2]} == before[2]
    open("the user's own file")
    """


@pytest.mark.parametrize("imports", IMPORTS)
def test_a_program_that_fails_shows_its_traceback(imports, tmp_path):
    program = textwrap.dedent(PROGRAM).replace("IMPORTS", textwrap.dedent(IMPORTS[imports]).strip())
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1 and "Traceback (most recent call last):" in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == """FileNotFoundError: [Errno 2] No such file or directory: "the user's own file\""""
    assert "error: " not in done.stderr.replace("FileNotFoundError: ", "")


def test_an_interrupt_that_torch_turned_into_an_error_of_its_own(monkeypatch, capsys):
    at_exit = []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("unexpected pos 64 vs 0")
    except RuntimeError as error:
        print_sentence(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == "interrupted\n" and len(at_exit) == 1
