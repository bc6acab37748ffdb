#!/usr/bin/env bash
# Tables 4 to 6: premise in one language, hypothesis in another.
#
#   bash recipes/generalized.sh xnli|pawsx --downloads DIR [--plm …]
#
# All options: recipes/experiment.sh.
exec bash "$(dirname "$0")/experiment.sh" "$1" --systems "vanilla RS-RP SALT" --generalized test \
    --report generalized "${@:2}"
