#!/usr/bin/env bash
# xSID: vanilla fine-tuning and SALT on English requests, accuracy of 18 intents in 19 languages and dialects.
#
#   bash recipes/xsid.sh DIR [--languages de,it,gsw] [--plm bert-base-multilingual-uncased] [--seeds "1 2 3 4 5"] [--out results/xsid]
#
# DIR holds train.en.tsv (or .tsv.xz), de.test.tsv and so on, each with the columns text and intent. All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
[[ ${1:-} == @(|-*) ]] || set -- --downloads "$@"
exec bash "$root/recipes/experiment.sh" xsid "$@"
