#!/usr/bin/env bash
# Every experiment on the embedded profile that is cheap enough, with its tables and figures:
# `make evidence`. Finished runs are cached: it can be stopped and started again at any time.
# The environment sets NUM_JOBS (runs side by side, 2), EXPERIMENTS (names, all by default), and
# BACKBONES of all but `arms` and `main` (resnet_mini; see experiments/arms for why).
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
NUM_JOBS=${NUM_JOBS:-2}
EXPERIMENTS=${EXPERIMENTS:-"cost arms guidance noise_x_guidance prompts weights sampling paradigm per_sample shots selected search main"}
SMALL=backbone=${BACKBONES:-resnet_mini}
failed=()

sweep() { # experiment, then what sip.train is to do
  local experiment=$1
  shift
  "$PYTHON" -m sip.train "$@" experiment="$experiment" logger=csv runtime.num_threads=1 \
    hydra/launcher=joblib hydra.launcher.n_jobs="$NUM_JOBS" || failed+=("$experiment")
}

table() { # experiment, name of the file, then what sip.tables is to do
  local experiment=$1 name=$2
  shift 2
  "$PYTHON" -m sip.tables "$@" experiment="$experiment" output="experiments/$experiment/$name" ||
    failed+=("$experiment/$name")
}

report() {
  local runs=runs
  [[ $1 == cost ]] && runs=runs/cost
  "$PYTHON" -m sip.report experiment="$1" runs=$runs output="runs/reports/$1.html" ||
    failed+=("$1.html")
}

cost() { # with nothing else running: one run at a time, and images of its own
  local own="paths.runs=runs/cost paths.store=store/cost"
  # shellcheck disable=SC2086
  "$PYTHON" -m sip.train +sweep=cost $SMALL experiment=cost logger=csv runtime.num_threads=1 $own ||
    failed+=(cost)
  table cost table table=cost runs=runs/cost
  table cost cost figure=cost runs=runs/cost
}

arms() {
  for backbone in resnet_mini vit clip_vit; do sweep arms +sweep=every_arm backbone=$backbone; done
  table arms table
  table arms combinations table=combinations
  table arms forest figure=forest
  "$PYTHON" -m sip.tables figure=forest figure.csv=experiments/arms/table.csv \
    "figure.row_values=[randaugment,sip_randaugment,sip,txt2img,cutmix,moex]" \
    "figure.title='Gain over no augmentation: digits, 5 images a class, 5 seeds'" \
    "figure.labels.resnet_mini='ResNet (0.4 M), from scratch'" \
    "figure.labels.vit='ViT, pre-trained'" "figure.labels.clip_vit='CLIP-ViT, pre-trained'" \
    output=docs/images/forest.png || failed+=(docs/images/forest.png)
}

guidance() {
  sweep guidance +sweep=guidance $SMALL
  table guidance table table.rows=prompts/guidance table.control=quadratic "table.family=[]" \
    table.validation=true "table.title=Guidance scales"
  table guidance guidance figure=guidance
}

noise_x_guidance() {
  sweep noise_x_guidance +sweep=noise_x_guidance $SMALL
  table noise_x_guidance table table.rows=prompts.noise_rate table.columns=prompts.guidance.scale \
    table.control=0.5 "table.family=[]" table.validation=true \
    "table.title=Noise rates by guidance scales"
  table noise_x_guidance diversity table.rows=prompts.noise_rate \
    table.columns=prompts.guidance.scale table.value=generated/diversity_original \
    "table.family=[]" "table.title=Distance of the generated images to their originals"
  table noise_x_guidance accuracy figure=noise_x_guidance
  table noise_x_guidance tradeoff figure=tradeoff
  table noise_x_guidance sheet figure=sheet
}

prompts() {
  sweep prompts +sweep=prompt_parts $SMALL
  table prompts table table=ablation "table.family=[]"
}

weights() {
  sweep weights +sweep=weights $SMALL
  table weights table table.rows=prompts.label_weight table.columns=prompts.caption_weight \
    table.control=1.5 "table.family=[]" table.validation=true \
    "table.title=Weights of the label by weights of the caption"
}

sampling() {
  sweep sampling +sweep=sampling $SMALL
  table sampling table table.rows=captions.sampling table.control=nucleus "table.family=[]" \
    table.validation=true "table.title=Sampling of the captions"
}

paradigm() {
  sweep paradigm +sweep=paradigm $SMALL
  table paradigm table table=ablation "table.family=[]"
}

per_sample() {
  sweep per_sample +sweep=per_sample $SMALL
  table per_sample table table.rows=images.per_sample table.control=1 "table.family=[]" \
    table.validation=true "table.title=Generated images per original"
  table per_sample accuracy figure=per_sample
}

shots() {
  sweep shots +sweep=shots $SMALL
  table shots table table=shots
  table shots accuracy figure=shots
}

selected() { # noise rate and sampling chosen on validation, with arms that have neither
  sweep selected +sweep=noise_rate captions=blip,blip_beam $SMALL
  sweep selected --multirun augmentation=none,randaugment "seed=range(5)" $SMALL
  table selected table table=selected
  table selected noise_rate figure=noise_rate +figure.where.captions.sampling=nucleus
}

search() {
  sweep search +sweep=search $SMALL
  table search table "table.rows=[prompts.noise_rate,prompts.guidance.scale]" table.value=val/top1 \
    "table.also=[generated/diversity_original,test/top1]" table.control=null \
    "table.title=Settings that the search tried"
  table search tradeoff figure=tradeoff figure.y=val/top1
}

main() {
  sweep main +sweep=arms
  sweep main +sweep=pretrained
  table main table
}

for experiment in $EXPERIMENTS; do
  echo "== $experiment"
  "$experiment"
  report "$experiment"
done
if ((${#failed[@]})); then
  echo "evidence: failed: ${failed[*]}; the messages are above" >&2
  exit 1
fi
