#!/usr/bin/env bash
# The main job on the embedded default, on two CPU cores in a few minutes: PLM, data, candidates, vanilla fine-tuning and
# SALT, accuracy per language. What is there already is not made again; remove OUT (results/quickstart) to start afresh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
install

out=${OUT:-results/quickstart}
plm=$out/plm data=$out/data texts=$root/recipes/quickstart
languages=(en ar de es fr it ru tr zh)
epochs=5 updates=150 # 480 pairs, 16 a step
lock "$out"
step() { printf '\n== %s\n' "$1"; }

step "1/6  import the PLM"
[ -e "$plm/plm.json" ] || python "$root/preprocess/import_plm.py" embedded "$plm"

step "2/6  binarize"
subsets=(train="$texts/train.en.tsv" valid="$texts/valid.en.tsv")
for language in "${languages[@]}"; do subsets+=("test.$language=$texts/test.$language.tsv"); done
[ -e "$data/meta.json" ] || python "$root/preprocess/binarize.py" "$plm" "$data" --subset "${subsets[@]}"

step "3/6  distill"
[ -e "$data/candidates/de/meta.json" ] || python "$root/preprocess/distill.py" "$plm" "$data" --languages en,fr,es,de
python "$root/preprocess/show_candidates.py" "$plm" "$data" --languages en,fr,es,de --thresholds en=25%,50% --sentences 2 --html "$out/sentences.html"

train() { # NAME and further options
    local name=$1 && shift
    [ -e "$out/$name/checkpoint_best.pt" ] && [ -e "$out/$name.done" ] && return
    fairseq-train "$data" --user-dir "$root/salt_fairseq" --task salt_sentence_pair --arch salt_encoder --plm "$plm" \
        --criterion salt_classification --freeze-embeddings --batch-size 16 --seed 1 \
        --optimizer adam --adam-eps 1e-8 --lr 1e-4 --clip-norm 1.0 \
        --lr-scheduler polynomial_decay --total-num-update $updates --warmup-updates 10 --max-epoch $epochs \
        --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric \
        --no-epoch-checkpoints --no-last-checkpoints --no-save-optimizer-state \
        --save-dir "$out/$name" --log-format simple --log-interval 30 --log-file "$out/$name.train.log" "$@" 2>&1 |
        grep --line-buffered -E 'train_inner|valid on|code-switching|rror' | cut -d'|' -f4- | cut -c1-110
    touch "$out/$name.done"
}
step "4/6  train the vanilla model"
train vanilla
step "5/6  train SALT (one of the five streams for each pair in each epoch, so both models take $updates steps)"
train salt --augment en,fr,es,de --thresholds en=25%,50% --one-stream

step "6/6  evaluate both in ${#languages[@]} languages"
for name in vanilla salt; do
    [ -e "$out/$name.json" ] ||
        python -m salt_fairseq.evaluate "$data" --path "$out/$name/checkpoint_best.pt" --subsets 'test.*' --out "$out/$name.json"
done
echo
python -m salt_fairseq.report vanilla="$out/vanilla.json" SALT="$out/salt.json" --out "$out"
