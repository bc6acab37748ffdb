#!/usr/bin/env bash
# One run of an experiment: train a system with a seed and evaluate it, unless that is done, or another recipe is at it.
# experiment.sh starts it with its own process id, SYSTEM.SEED, and the words that it was given.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
experiment=$1 name=$2
shift 2
. "$root/recipes/options.sh"
kill -0 "$experiment" 2>/dev/null || exit 255 # its experiment was stopped: xargs starts no further run after 255
system=${name%.*} seed=${name##*.} run=$out/$name
results=$run.$ending
[ ! -e "$results" ] || exit 0
mkdir -p "$run"
lock 8 "$run/.lock" || exit 0
[ ! -e "$results" ] || exit 0 # since when the other recipe has finished it
exec 3>&1 >> "$run/log" 2>&1
export HYDRA_FULL_ERROR=1 # else the log would end with how to set this, and not with what is wrong
say() { echo "== $system, seed $seed: $1" >&3; }

# fairseq adds the step to the seed, so neighbouring seeds would share their steps' draws.
override "$system" common.seed=$((seed * 1000003)) "$@"
if [ ! -e "$run/trained" ]; then
    if [ -z "$updates" ]; then
        updates=$(python -m salt_fairseq.experiments.updates "${config_files[@]}" "${overrides[@]}")
        overrides=("optimization.max_update=$updates" "${overrides[@]}")
    fi
    say "$updates updates, output in $run/log"
    fairseq-hydra-train "${config_files[@]}" common.user_dir="$(quoted "$root/salt_fairseq")" \
        checkpoint.save_dir="$(quoted "$run")" "${overrides[@]}"
    touch "$run/trained"
fi
checkpoint=$run/checkpoint_best.pt # by accuracy in the source language; without a valid subset, the last
[ -e "$checkpoint" ] || checkpoint=$run/checkpoint_last.pt
if [ "$average" -gt 1 ]; then
    checkpoint=$run/average.pt
    mapfile -d '' -t paths < <(printf '%s\0' "$run"/checkpoint_*_*.pt | sort --zero-terminated --version-sort)
    cmp --silent "${paths[-1]}" "$run/checkpoint_last.pt" || paths+=("$run/checkpoint_last.pt")
    while [ ${#paths[@]} -gt "$average" ]; do paths=("${paths[@]:1}"); done
    [ -e "$checkpoint" ] || python -m salt_fairseq.average "${paths[@]}" --out "$checkpoint"
fi
evaluated=$(python -m salt_fairseq.evaluate "$data" --path "$checkpoint" --subsets 'test.*' "${generalized[@]}" "${device[@]}" \
    --out "$results")
echo "$evaluated"
evaluated=${evaluated#*"$checkpoint: "}
say "${evaluated%%$'\n'*}"
