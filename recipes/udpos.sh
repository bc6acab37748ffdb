#!/usr/bin/env bash
# UDPOS (parts of speech): vanilla fine-tuning and SALT on English, accuracy in up to 33 languages.
#
#   bash recipes/udpos.sh --downloads DIR [--languages de,fr,ta] [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"]
#                         [--out results/udpos]
#   bash recipes/udpos.sh --subset train=en_ewt-ud-train.conllu valid=en_ewt-ud-dev.conllu test.en=en_pud-ud-test.conllu \
#                         test.fr=fr_pud-ud-test.conllu [...]
#
# DIR holds train-en.tsv, dev-en.tsv, test-de.tsv and so on, as XTREME's scripts write them; treebanks of Universal Dependencies
# are read as they are. All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" udpos "$@"
