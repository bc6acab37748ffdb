#!/usr/bin/env bash
# What a GPU is needed to know, in one go: the tests marked cuda, the benchmarks of distillation and training with XLM-R base's
# shape in bf16, and vanilla fine-tuning and SALT with five seeds each.
#
#   bash recipes/gpu.sh --text xnli.test.tsv --subset train=train.tsv valid=dev-en.tsv test.en=test-en.tsv test.fr=test-fr.tsv ...
#     --plm SOURCE   of the experiment, as recipes/experiment.sh takes it (embedded)
#     --seeds "1 …"  (1 2 3 4 5)
#     --epochs N     of both systems, each drawing one stream of an instance (1)
#     --jobs N       of the experiment's runs side by side: small PLMs do not fill a GPU (1)
#     --device DEV   cpu tries the script where there is no GPU; the benchmarks then take mBERT's shape and small samples (cuda)
#     --out DIR      (results/gpu)
#
# Each part goes to DIR/PART.log and is not done again once it is finished; the last lines say which parts are, and what each took.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
text='' subsets=() plm=embedded seeds="1 2 3 4 5" epochs=1 jobs=1 device=cuda out=results/gpu
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value, or is no option: bash recipes/gpu.sh --help lists them"
    case $1 in
        --text) text=$2; shift 2 ;;
        --subset) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do subsets+=("$1"); shift; done ;;
        --plm) plm=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --epochs) epochs=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) fail "unknown option $1: bash recipes/gpu.sh --help lists them" ;;
    esac
done
[ -n "$text" ] && [ ${#subsets[@]} -gt 0 ] || fail "--text and --subset are needed: bash recipes/gpu.sh --help shows them"
[ -e "$text" ] || fail "--text $text: no such file"
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
part experiment bash "$root/recipes/experiment.sh" xnli --plm "$plm" --subset "${subsets[@]}" --seeds "$seeds" --jobs "$jobs" \
    --out "$out/experiment" --device "$device" -- "task.thresholds='source=25%,50%'" task.one_stream=true optimization.max_epoch="$epochs" \
    'optimization.lr=[1e-4]' model.freeze_embeddings=true dataset.validate_interval_updates=200 \
    checkpoint.save_interval_updates=200 "${half[@]}" "${cpu[@]}"
for name in tests distill train experiment; do
    [ ! -e "$out/$name.seconds" ] || echo "$name: done in $(< "$out/$name.seconds") s"
done
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}; $out/${failed[0]}.log ends with: $(tail -n 1 "$out/${failed[0]}.log")" 1
