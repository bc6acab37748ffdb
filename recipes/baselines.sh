#!/usr/bin/env bash
# Every system of Tables 1 and 2 side by side: the same data, PLM and hyper-parameters.
#
#   bash recipes/baselines.sh xnli|pawsx --downloads DIR --dictionary fr=en-fr.txt … --synonyms neighbours.json [--plm …]
#
# All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" "${1:-}" --systems "vanilla RS-ADV RS-RP SALT RS-DA CoSDA-ML SCOPA" \
    --report baselines "${@:2}"
