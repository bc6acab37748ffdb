#!/usr/bin/env bash
# SIB-200: vanilla fine-tuning and SALT on 701 English sentences, accuracy of 7 topics in up to 205 languages.
#
#   bash recipes/sib200.sh DIR [--languages de,fr,sw] [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"] [--out results/sib200]
#
# DIR holds the unpacked data, eng_Latn/train.tsv and so on. All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
[[ ${1:-} == @(|-*) ]] || set -- --downloads "$@"
exec bash "$root/recipes/experiment.sh" sib200 "$@"
