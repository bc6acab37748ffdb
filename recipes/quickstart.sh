#!/usr/bin/env bash
# The main job on the embedded default, on two CPU cores in some minutes: PLM, data, candidates, vanilla fine-tuning and SALT with
# three seeds each, accuracy per language.
#
#   bash recipes/quickstart.sh [--force]
#
# Results go to results/quickstart in the folder where it is typed. What is finished is not done again; --force makes anew what was
# made with other settings, e.g. by another version.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[[ $* == @(|--force) ]] || fail "$*: quickstart.sh takes no option but --force; experiment.sh takes more"
out=results/quickstart
texts=$root/recipes/quickstart
subsets=(train="$texts/train.en.tsv" valid="$texts/valid.en.tsv")
for language in en ar de es fr it ru tr zh; do subsets+=("test.$language=$texts/test.$language.tsv"); done

# Fractions as thresholds, since the paper's probabilities are those of another PLM; one stream of each pair in an epoch, so that
# both systems take 150 updates; few pairs, so small batches at a higher rate.
bash "$root/recipes/experiment.sh" quickstart --plm embedded --subset "${subsets[@]}" --seeds "1 2 3" --jobs 2 --out "$out" "$@" -- \
    "task.thresholds='source=25%,50%'" task.one_stream=true model.freeze_embeddings=true dataset.batch_size=16 \
    'optimization.lr=[1e-4]' lr_scheduler.warmup_updates=10
install
echo "some code-switched sentences (all of them: $out/sentences.html):"
python "$root/preprocess/show_candidates.py" "$out/plm" "$out/data" --languages en,fr,es,de --thresholds source=25%,50% \
    --sentences 2 --html "$out/sentences.html"
