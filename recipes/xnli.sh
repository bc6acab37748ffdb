#!/usr/bin/env bash
# XNLI (Table 1): vanilla fine-tuning and SALT on English, accuracy in 15 languages.
#
#   bash recipes/xnli.sh --downloads DIR [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"] [--out results/xnli]
#
# DIR holds the unpacked XNLI-1.0 and XNLI-MT-1.0. All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" xnli "$@"
