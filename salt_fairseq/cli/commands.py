"""The sub-commands of ``salt``. Nothing is imported until one of them is called: the modules behind them take seconds."""

import importlib
import sys
from typing import NamedTuple


class Command(NamedTuple):
    module: str  # whose ``main`` reads ``sys.argv``
    summary: str  # one line of ``salt --help``


COMMANDS = {
    "train": Command("salt_fairseq.pipeline.train", "train a classifier from a labelled file: all of the steps below"),
    "import": Command("preprocess.import_plm", "turn a Hugging Face or fairseq model into a PLM directory"),
    "inspect": Command("preprocess.inspect_languages", "show which languages a PLM knows well enough to distill into"),
    "binarize": Command("preprocess.binarize", "turn labelled text files into a data directory"),
    "distill": Command("preprocess.distill", "store the PLM's candidates for code-switching the training data"),
    "lookup": Command("preprocess.look_up", "store substitutes from dictionaries instead"),
    "show": Command("preprocess.show_candidates", "show code-switched sentences"),
    "train-head": Command("preprocess.train_lm_head", "train an LM head for a PLM without one"),
    "evaluate": Command("salt_fairseq.evaluate", "score checkpoints on every language"),
    "report": Command("salt_fairseq.report.__main__", "make tables, significance tests and figures from evaluations"),
    "predict": Command("salt_fairseq.predict", "classify sentences or sentence pairs with a checkpoint"),
    "average": Command("salt_fairseq.average", "average the parameters of checkpoints"),
    "export": Command("preprocess.export_hf", "write a checkpoint or PLM as a Hugging Face directory"),
}


def call(name: str, *words: object) -> None:
    """Run a sub-command in this process, with the words that follow its name on the command line."""
    before = sys.argv
    sys.argv = [f"salt {name}", *map(str, words)]  # argparse shows the first as the program
    try:
        importlib.import_module(COMMANDS[name].module).main()
    finally:
        sys.argv = before
