#!/usr/bin/env bash
# Tables 4 to 6: premise in one language, hypothesis in another.
#
#   bash recipes/generalized.sh xnli|pawsx --downloads DIR [--plm …]
#
# All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" "${1:-}" --systems "vanilla RS-RP SALT" --generalized test \
    --report generalized "${@:2}"
