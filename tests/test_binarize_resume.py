"""Binarization that was killed goes on, and ends with the files of one that was not."""

from unittest import mock

import pytest
from conftest import QUICKSTART
from in_process import call, error_of

from preprocess import binarize
from salt_fairseq.resumable import Resumable

SUBSETS = [f"{name}={QUICKSTART / name}.tsv" for name in ("test.en", "test.fr", "test.de")]


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()
            and path.name != "meta.json"}  # which holds the time


def test_killed(bert_plm, tmp_path):
    """After each of the 18 pieces of work; what was tokenized before is not tokenized again."""
    words = [bert_plm, tmp_path / "data", "--subset", *SUBSETS]
    with mock.patch.object(binarize, "BATCH", 50):
        call(binarize, bert_plm, tmp_path / "whole", "--subset", *SUBSETS)
        whole, tokenized, kills = contents(tmp_path / "whole"), binarize.tokenized, 0
        while not (tmp_path / "data").exists():
            made = []

            def interrupted(*args):
                if len(made) == 4:
                    raise KeyboardInterrupt
                made.append(args)
                return tokenized(*args)

            with mock.patch.object(binarize, "tokenized", interrupted), mock.patch.object(Resumable, "due", lambda self: True):
                try:
                    call(binarize, *words)
                except KeyboardInterrupt:
                    kills += 1
                    assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == [".data.binarization"]
        assert kills == 4 and len(made) == 2
    assert contents(tmp_path / "data") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "whole"]


def test_other_files_are_not_mixed_in(bert_plm, tmp_path):
    with mock.patch.object(binarize, "BATCH", 50), mock.patch.object(Resumable, "due", lambda self: True), \
            mock.patch.object(binarize, "write_manifest", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        call(binarize, bert_plm, tmp_path / "data", "--subset", SUBSETS[0])
    assert error_of(binarize, bert_plm, tmp_path / "data", "--subset", SUBSETS[1]) == (
        f"{tmp_path / '.data.binarization'} holds a binarization that was begun with another files: finish it with its own options, or "
        "delete it")


def test_bad_input_leaves_nothing(bert_plm, tmp_path):
    (tmp_path / "bad.tsv").write_text("A house.\tA home.\tyes\nThe sea.\t\u200b\tno\n", encoding="utf-8")
    assert "bad.tsv, line 2: " in error_of(binarize, bert_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'bad.tsv'}")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tsv"]
