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
exec 8> "$run/.lock"
flock --nonblock 8 || exit 0
[ ! -e "$results" ] || exit 0 # since when the other recipe has finished it

salt=()
[[ $system != SALT && $system != SALT-without-mixup ]] || salt=("task.augment='$augment'")
config=(--config-dir "$root/recipes/config" --config-name "$config")
overrides=("+system=$system" "task.data='$data'" "model.plm='$plm_dir'" "${salt[@]}" "$@")
epochs=()
if [ -n "$updates" ]; then
    epochs=(optimization.max_epoch=0)
else
    updates=$(python -m salt_fairseq.updates "${config[@]}" "${overrides[@]}")
fi
[ "$jobs" -eq 1 ] && log='' || log=$run/log
echo "== $system, seed $seed: $updates updates${log:+, output in $log}"
[ -z "$log" ] || exec >> "$log" 2>&1
if [ ! -e "$run/trained" ]; then
    # fairseq adds the step to the seed, so neighbouring seeds would share their steps' draws.
    fairseq-hydra-train "${config[@]}" common.user_dir="'$root/salt_fairseq'" common.seed=$((seed * 1000003)) \
        optimization.max_update="$updates" "${epochs[@]}" checkpoint.save_dir="'$run'" "${overrides[@]}"
    touch "$run/trained"
fi
checkpoint=$run/checkpoint_best.pt # by accuracy in the source language; without a valid subset, the last
[ -e "$checkpoint" ] || checkpoint=$run/checkpoint_last.pt
python -m salt_fairseq.evaluate "$data" --path "$checkpoint" --subsets 'test.*' "${generalized[@]}" "${device[@]}" --out "$results"
