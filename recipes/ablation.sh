#!/usr/bin/env bash
# Table 3: SALT with English substitutes only, and without mixup.
#
#   bash recipes/ablation.sh xnli|pawsx --downloads DIR [--plm …]
#
# All options: recipes/experiment.sh.
exec bash "$(dirname "$0")/experiment.sh" "$1" --systems "vanilla SALT SALT-en-only SALT-without-mixup" \
    --report ablation "${@:2}"
