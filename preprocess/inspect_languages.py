"""Show which languages can serve as target languages with a PLM: script, words, overlap, examples, and a recommendation.

python preprocess/inspect_languages.py plm/xlmr --languages fr,es,de,ru,ja
python preprocess/inspect_languages.py plm/xlmr --languages fr,sw --word-list sw=swahili.txt --data data/mine
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import wordfreq

from preprocess.distillation.candidate_search import POSITIONS, CandidateSearch, candidate_positions
from preprocess.distillation.inputs import training_subset
from preprocess.distillation.scripts import scripts_of
from preprocess.distillation.search import few_positions
from preprocess.distillation.target_vocabularies import (
    Verdict,
    distinct_words,
    in_own_scripts,
    read_lists,
    verdict,
    vocabularies_from,
)
from preprocess.distillation.word_lists import WORD_LIST_HELP, parse_word_lists
from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.printable import print_line
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import PLM, Description
from salt_fairseq.tokenizer import Tokenizer

SENTENCES = (
    "The old house near the river has a small garden .",
    "She read the letter twice before she gave it to her brother .",
    "Many people were waiting in front of the school this morning .",
    "The new government wants to build a bridge and two hospitals .",
)
SHOWN = 6  # substitutions of a language


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory, as import_plm.py writes it")
    add("--languages", metavar="A,B,...", help="languages to inspect (default: all that have a word list)")
    add("--word-list", metavar="LANG=FILE", nargs="+", action="extend", default=[], help=WORD_LIST_HELP)
    add("--source-language", help="language of the data to be code-switched (default: that of --data, or else en)")
    add("--keep-shared-words", action="store_true", help="keep words as frequent in the source language, as distill.py does")
    sources = parser.add_mutually_exclusive_group()
    text_help = "sentences of the source language for the examples, one per line (default for en: built-in ones)"
    sources.add_argument("--text", metavar="FILE", help=text_help)
    sources.add_argument("--data", metavar="DIR", type=Path, help="data directory whose training sentences are the examples")
    add("--sentences", metavar="N", type=positive, default=8, help="sentences of them to read")
    add("--positions", choices=POSITIONS, default="words", help="candidate positions, as in distill.py")
    add_device(parser)
    return parser.parse_args()


@dataclass
class Inspected:
    """What is known of a language: numbers of distinct words, regardless of case."""

    language: str
    listed: int  # of its word list, at most 10,000
    in_script: int  # of these, in the language's scripts
    single: int  # pieces of the PLM among these
    words: int  # of these, its target vocabulary
    verdict: Verdict
    examples: str = ""

    def row(self) -> str:
        script = "+".join(scripts_of(self.language)) or "any"
        return (
            f"{self.language:8}  {self.verdict.value:12}  {script:14}  {self.listed:6,}  {self.in_script:9,}  "
            f"{self.single:6,}  {100 * self.single / self.listed:6.1f}%  {self.single - self.words:6,}  {self.words:6,}  "
            f"{self.examples}"
        ).rstrip()


HEADER = (
    f"{'language':8}  {'as target':12}  {'script':14}  {'listed':>6}  {'in script':>9}  {'single':>6}  {'overlap':>7}  "
    f"{'shared':>6}  {'words':>6}  examples"
)


EXPLANATION = (
    "numbers of words, regardless of case; listed: in the word list; in script: of these, in the language's scripts; single: "
    "of these, single pieces of the PLM's vocabulary; overlap: as a fraction of the list; shared: of these, left out because "
    "they are more frequent in the source language or another one; words: the target vocabulary; examples: from the most "
    "probable to the least"
)


def source_sentences(args: argparse.Namespace, description: Description, tokenizer: Tokenizer) -> tuple[str, list[np.ndarray]]:
    """The source language, and ids (T,) of the sentences for the examples, each with its eos. There are none where no
    sentences of the language are known."""
    language = args.source_language or "en"
    if args.data:
        data = DataDirectory(args.data)
        data.check_vocabulary(description, args.plm_dir)
        subset = training_subset(data, f"train.{args.source_language}" if len(data.source_languages) > 1 else None)
        stored = data.sentences(subset, data.sides[0])
        which = np.linspace(0, len(stored) - 1, min(args.sentences, len(stored))).astype(int)
        return data.language(subset), [stored[i].numpy() for i in which.tolist()]
    if args.text:
        lines = (line for _, line in numbered_lines(args.text) if line.strip())
        texts = list(itertools.islice(lines, args.sentences))
    else:
        texts = list(SENTENCES) if language == "en" else []
    longest = description.architecture.positions - 2
    return language, [np.array([*ids[:longest], EOS]) for ids in tokenizer(texts)]


def examples(search: CandidateSearch, sentences: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, str]:
    """Language to substitutions in the sentences, evenly spread from its most probable to its least probable one."""
    inputs = [torch.from_numpy(np.insert(ids, 0, BOS)) for ids in sentences]
    candidates = search(inputs, [torch.from_numpy(np.insert(mask, 0, False)) for mask in masks])
    own = np.concatenate([ids[mask] for ids, mask in zip(sentences, masks)])
    words, shown = search.plm.tokenizer.words, {}
    for language, (ids, log_probs) in candidates.items():
        order = log_probs.argsort(descending=True, stable=True).cpu()
        ids, has_candidate = ids.cpu(), torch.isfinite(log_probs).cpu()
        pairs = dict.fromkeys(f"{words[own[k]]}→{words[ids[k]]}" for k in order.tolist() if has_candidate[k])
        spread = np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).astype(int)
        shown[language] = ", ".join(np.array(list(pairs))[spread])
    return shown


def recommendation(inspected: list[Inspected]) -> str:
    """The last line: what to give distill.py."""
    by_verdict = {kind: [entry for entry in inspected if entry.verdict is kind] for kind in Verdict}
    good = ",".join(entry.language for entry in by_verdict[Verdict.GOOD])
    rest = [
        f"{kind.value} (words): {', '.join(f'{entry.language} {entry.words:,}' for entry in by_verdict[kind])}"
        for kind in (Verdict.WEAK, Verdict.UNFIT)
        if by_verdict[kind]
    ]
    advice = (
        f"recommended: --languages {good}, best first" if good else "recommended: another PLM, none of these is a good target"
    )
    return "; ".join([advice, *rest])


def main() -> None:
    args = arguments()
    check_device(args.device)
    description = Description.load(args.plm_dir)
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    files = parse_word_lists(args.word_list)
    languages = args.languages.split(",") if args.languages else sorted({*wordfreq.available_languages(), *files})
    source_language, sentences = source_sentences(args, description, tokenizer)
    parse_word_lists(args.word_list, [*languages, source_language])  # each of them is used
    lists = read_lists(languages, files, source_language, keep_shared=False)
    every, own = (vocabularies_from(tokenizer, languages, lists, source_language, keep) for keep in (True, False))
    vocabularies = every if args.keep_shared_words else own
    inspected = {}
    for language in languages:
        single, words = (distinct_words(tokenizer, vocabulary[language]) for vocabulary in (every, vocabularies))
        in_script = len(in_own_scripts(language, lists[language]))
        fitness = verdict(words, language in files)
        inspected[language] = Inspected(language, len(lists[language]), in_script, single, words, fitness)
    masks = [candidate_positions(tokenizer, ids, args.positions) for ids in sentences]
    if sentences and description.lm_head != "untrained" and any(mask.any() for mask in masks):
        served = {language: ids for language, ids in vocabularies.items() if len(ids)}
        search = CandidateSearch(PLM.load(args.plm_dir, tokenizer), served, args.device)
        for language, shown in examples(search, sentences, masks).items():
            inspected[language].examples = shown
    lettered = sum(int(tokenizer.has_letter[ids].sum()) for ids in sentences)
    if warning := few_positions(sum(int(mask.sum()) for mask in masks), lettered, source_language):
        print_line(f"warning: {warning}", sys.stderr)
    ranked = sorted(inspected.values(), key=lambda entry: -entry.words)
    for line in (HEADER, *(entry.row() for entry in ranked), EXPLANATION, recommendation(ranked)):
        print_line(line)


if __name__ == "__main__":
    main()
