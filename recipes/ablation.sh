#!/usr/bin/env bash
# Table 3: SALT with English substitutes only, and without mixup.
#
#   bash recipes/ablation.sh xnli|pawsx --downloads DIR [--plm …]
#
# All options: bash recipes/experiment.sh --help
. "$(dirname "$0")/lib.sh"
exec bash "$root/recipes/experiment.sh" "${1:-}" --systems "vanilla SALT SALT-en-only SALT-without-mixup" \
    --report ablation "${@:2}"
