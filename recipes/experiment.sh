#!/usr/bin/env bash
# The experiment that recipes/xnli.sh and recipes/pawsx.sh share: import, binarize, distill, train, validate, report.
# Hyper-parameters are in recipes/config/CONFIG.yaml. What is finished is not done again.
#
#   bash recipes/experiment.sh CONFIG [options] [-- Hydra overrides for fairseq-hydra-train]
#     --downloads DIR    the official download
#     --subset N=FILE …  further or other subsets, as preprocess/binarize.py takes them
#     --plm SOURCE       what preprocess/import_plm.py imports (bert-base-multilingual-uncased)
#     --augment LANGS    target languages (en,fr,es,de)
#     --seeds "1 2 …"    (1 2 3 4 5)
#     --epochs N         epochs of SALT (those of the YAML)
#     --vanilla-epochs N epochs of vanilla fine-tuning (those of SALT)
#     --out DIR          (results/CONFIG)
#     --device cuda|cpu  for distillation (cuda where there is one)
set -euo pipefail
cd "$(dirname "$0")/.."
config=$1 && shift
bash recipes/setup.sh
export PATH=$PWD/.venv/bin:$PATH

plm=bert-base-multilingual-uncased augment=en,fr,es,de seeds="1 2 3 4 5" out=results/$config
epochs=$(sed -n 's/^ *max_epoch: *//p' "recipes/config/$config.yaml")
sources=() subsets=() device=() vanilla_epochs=
while [ $# -gt 0 ]; do
    case $1 in
        --downloads) sources+=("--$config" "$2"); shift 2 ;;
        --subset) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do subsets+=("$1"); shift; done ;;
        --plm) plm=$2; shift 2 ;;
        --augment) augment=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --epochs) epochs=$2; shift 2 ;;
        --vanilla-epochs) vanilla_epochs=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        --device) device=(--device "$2"); shift 2 ;;
        --) shift; break ;;
        *) echo "error: unknown option $1; recipes/experiment.sh lists them" >&2; exit 2 ;;
    esac
done
[ ${#subsets[@]} -eq 0 ] || sources+=(--subset "${subsets[@]}")
data=$out/data

[ -e "$out/plm/plm.json" ] || python preprocess/import_plm.py "$plm" "$out/plm"
[ -e "$data/meta.json" ] || python preprocess/binarize.py "$out/plm" "$data" "${sources[@]}"
[ -e "$data/candidates/${augment##*,}/meta.json" ] ||
    python preprocess/distill.py "$out/plm" "$data" --languages "$augment" "${device[@]}"

meta() { python -c "import json; s = json.load(open('$data/meta.json'))['subsets']; print($1)"; }
pairs=$(meta "s['train']['examples']")
tests=$(meta "','.join(n for n in s if n.startswith('test.'))")
streams=$(($(tr -cd , <<<"$augment" | wc -c) + 2)) # each language, and the unchanged one

run() { # NAME SEED EPOCHS STREAMS and Hydra overrides: train and validate, unless that is done
    local name=$1 seed=$2 epochs=$3 streams=$4 log=$out/$1.$2.log checkpoints=$out/$1.$2 && shift 4
    [ -e "$log" ] && return
    echo "== $name, seed $seed: $epochs epochs, $streams streams"
    # fairseq adds the step to the seed, so neighbouring seeds would share their steps' draws.
    fairseq-hydra-train --config-dir recipes/config --config-name "$config" task.data="$data" model.plm="$out/plm" \
        common.seed=$((seed * 1000003)) optimization.max_epoch="$epochs" \
        optimization.max_update=$((epochs * ((pairs * streams + 31) / 32))) checkpoint.save_dir="$checkpoints" "$@"
    local checkpoint=$checkpoints/checkpoint_best.pt # by English accuracy; without a valid subset, the last
    [ -e "$checkpoint" ] || checkpoint=$checkpoints/checkpoint_last.pt
    fairseq-validate "$data" --user-dir salt_fairseq --task salt_sentence_pair --path "$checkpoint" \
        --valid-subset "$tests" --batch-size 64 --log-format json | tee "$log.tmp"
    mv "$log.tmp" "$log"
}
logs() { local name=$1 list=() && for seed in $seeds; do list+=("$out/$name.$seed.log"); done; (IFS=,; echo "$name=${list[*]}"); }

for seed in $seeds; do
    run vanilla "$seed" "${vanilla_epochs:-$epochs}" 1 task.augment= "$@"
    run SALT "$seed" "$epochs" "$streams" task.augment="'$augment'" "$@"
done
python -m salt_fairseq.report "$(logs vanilla)" "$(logs SALT)" --out "$out"
