"""Import a multilingual masked LM into a PLM directory (model.pt, dict.txt, tokenizer.json, plm.json).

python preprocess/import_plm.py xlm-roberta-base plm/xlmr
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from preprocess.importers.plm_directory import import_plm
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.modules.encoder import Architecture, Encoder, LMHead, without_weights
from salt_fairseq.plm import Description


def arguments():
    parser = command_parser(__doc__)
    source_help = (
        "Hugging Face directory or hub name (BERT, XLM-R up to XXL, DistilBERT, ModernBERT, DeBERTa-v3), directory of "
        "fairseq's xlmr.*, or 'embedded'"
    )
    parser.add_argument("source", metavar="SOURCE", help=source_help)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path, help="directory to write")
    trim_help = "keep only single characters and the pieces that these files use (a sentence or word per line, plain or .xz)"
    parser.add_argument("--trim-to", metavar="FILE", nargs="+", action="extend", default=[], help=trim_help)
    return parser.parse_args()


def parameters(body: type[Encoder], architecture: Architecture) -> int:
    """The number of parameters of the encoder and its LM head."""
    with without_weights():
        modules = body(architecture), LMHead(body, architecture)
    return sum(p.numel() for module in modules for p in module.parameters())


def report(description: Description, plm_dir: Path) -> Iterator[str]:
    """The lines with which the command ends."""
    arch = description.architecture
    size = parameters(description.encoder_class, arch)
    if description.trimmed_from:
        before = parameters(description.encoder_class, replace(arch, vocabulary=description.trimmed_from))
        yield (
            f"trimmed {description.trimmed_from:,} pieces to {arch.vocabulary:,}: {before:,} parameters "
            f"({4 * before:,} bytes) to {size:,} ({4 * size:,} bytes)"
        )
    yield (
        f"wrote {plm_dir}: {arch.layers} layers, {arch.dim} dimensions, {arch.vocabulary:,} pieces ({description.tokenizer}), "
        f"{size:,} parameters, from {description.source}"
    )


def main() -> None:
    args = arguments()
    description = import_plm(args.source, args.plm_dir, args.trim_to)
    if description.lm_head == "untrained":
        print(
            f"note: {args.source} was published without a masked-LM head: train one with preprocess/train_lm_head.py "
            "before distilling; fine-tuning works without",
            file=sys.stderr,
        )
    for line in report(description, args.plm_dir):
        print(line)


if __name__ == "__main__":
    main()
