#!/usr/bin/env bash
# Every system of Tables 1 and 2 side by side: the same data, PLM and hyper-parameters.
#
#   bash recipes/baselines.sh xnli|pawsx --downloads DIR --dictionary fr=en-fr.txt … --synonyms neighbours.json [--plm …]
#
# All options: recipes/experiment.sh.
exec bash "$(dirname "$0")/experiment.sh" "$1" --systems "vanilla RS-ADV RS-RP SALT RS-DA CoSDA-ML SCOPA" \
    --report baselines "${@:2}"
