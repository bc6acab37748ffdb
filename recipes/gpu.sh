#!/usr/bin/env bash
# What a GPU is needed to know, in one go: the tests marked cuda, the benchmarks of distillation and training with XLM-R base's
# shape in bf16, and vanilla fine-tuning and SALT with five seeds each.
#
#   bash recipes/gpu.sh --text xnli.test.tsv --subset train=train.tsv valid=dev-en.tsv test.en=test-en.tsv test.fr=test-fr.tsv ...
#     --plm SOURCE   of the experiment, as recipes/experiment.sh takes it (embedded)
#     --seeds "1 …"  (1 2 3 4 5)
#     --updates N    of every run, with the settings of recipes/config/preset/stable.yaml (2248: an epoch of 71,928 pairs)
#     --jobs N       of the experiment's runs side by side: small PLMs do not fill a GPU (1)
#     --device DEV   cpu tries the script where there is no GPU; the benchmarks then take mBERT's shape and small samples (cuda)
#     --out DIR      (results/gpu)
#
# Each part goes to DIR/PART.log and is not done again once it is finished; the last lines say which parts are, and what each took.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
text='' subsets=() plm=embedded seeds="1 2 3 4 5" updates=2248 jobs=1 device=cuda out=results/gpu
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value, or is no option: bash recipes/gpu.sh --help lists them"
    case $1 in
        --text) text=$2; shift 2 ;;
        --subset) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do subsets+=("$1"); shift; done ;;
        --plm) plm=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --updates) updates=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) fail "unknown option $1: bash recipes/gpu.sh --help lists them" ;;
    esac
done
[ -n "$text" ] && [ ${#subsets[@]} -gt 0 ] || fail "--text and --subset are needed: bash recipes/gpu.sh --help shows them"
[ -e "$text" ] || fail "--text $text: no such file"
[[ $updates =~ ^[1-9][0-9]*$ ]] || fail "--updates $updates: a whole number of at least 1 is needed"
install
[ "$device" = cpu ] || [ -e /proc/driver/nvidia/version ] || fail "--device $device: there is no NVIDIA driver here; cpu tries the script" 1
mkdir -p "$out"

part() { # name, command…: unless it is finished; the next parts do not wait for one that fails
    local name=$1 began=$SECONDS
    shift
    [ ! -e "$out/$name.seconds" ] || return 0
    echo "$name: see $out/$name.log"
    if "$@" > "$out/$name.log" 2>&1; then echo $((SECONDS - began)) > "$out/$name.seconds"; else failed+=("$name"); fi
}
failed=()
shape=(--shape xlmr --pairs 8000) cpu=()
[ "$device" != cpu ] || shape=(--shape mbert --pairs 33) cpu=(common.cpu=true)
benchmark=(--text "$text" "${shape[@]}" --device "$device" --rounds 3 --work "$out/benchmark")
half=(model.autocast_bf16=true)
[ "$device" != cpu ] || half=()
part tests env SALT_TEST_DEVICE="$device" bash "$root/recipes/test.sh" "$root/tests/gpu" -m cuda -n 0
part distill bash "$root/recipes/benchmark.sh" distill "${benchmark[@]}" --without-naive
part train bash "$root/recipes/benchmark.sh" train "${benchmark[@]}" --batches 8
interval=$((updates / 6 + 1)) # six validations, and 6 % of the updates to warm up, as the preset has them
part experiment bash "$root/recipes/experiment.sh" xnli --plm "$plm" --subset "${subsets[@]}" --seeds "$seeds" --jobs "$jobs" \
    --updates "$updates" --out "$out/experiment" --device "$device" -- +preset=stable lr_scheduler.warmup_updates=$((updates * 6 / 100)) \
    dataset.validate_interval_updates=$interval checkpoint.save_interval_updates=$interval "${half[@]}" "${cpu[@]}"
for name in tests distill train experiment; do
    [ ! -e "$out/$name.seconds" ] || echo "$name: done in $(< "$out/$name.seconds") s"
done
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}; $out/${failed[0]}.log ends with: $(tail -n 1 "$out/${failed[0]}.log")" 1
