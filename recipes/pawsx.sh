#!/usr/bin/env bash
# PAWS-X (Table 2): vanilla fine-tuning and SALT on English, accuracy in 7 languages.
#
#   bash recipes/pawsx.sh --downloads DIR [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"] [--out results/pawsx]
#
# DIR holds the unpacked x-final. All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" pawsx "$@"
