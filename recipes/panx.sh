#!/usr/bin/env bash
# PAN-X (named entities): vanilla fine-tuning and SALT on English, entity F1 in up to 40 languages.
#
#   bash recipes/panx.sh --downloads DIR [--languages de,fr,sw] [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"]
#                        [--out results/panx]
#
# DIR holds train-en.tsv, dev-en.tsv, test-de.tsv and so on, as XTREME's scripts write them, or en/train, en/dev, de/test.
# All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" panx "$@"
