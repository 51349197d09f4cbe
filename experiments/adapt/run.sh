#!/usr/bin/env bash
# The runs of this page, in a folder of their own: bash experiments/adapt/run.sh FOLDER [SEEDS]
# The images and the judge are made first; every step that is there already is cached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
python=${PYTHON:-python}
data="dataset=image_folder dataset.root=images/turned dataset.shots=5"
quick="backbone=resnet_mini logger=csv train.leaks=false metrics=[]"
learn="method.batch_size=8 method.steps=300 method.min_snr=5 method.validate_every=100"
[ -d images ] || $python "$here/turned_digits.py" images
$python -m sip.train $quick dataset=image_folder dataset.root=images/judge dataset.shots=null \
    classifier.steps=1000 paths.runs=judge
for seed in ${2:-0 1 2 3 4}; do
    lora=$($python -m sip.adapt $data $learn seed=$seed method=lora method.rank=16 method.lr=1e-3 \
        method.train_text_encoder=true \
        "method.targets=[to_q,to_k,to_v,to_out.0,ff.net.0.proj,ff.net.2,conv1,conv2]" |
        awk '$1 == "images.lora" {print $2}')
    words=$($python -m sip.adapt $data $learn seed=$seed method=textual_inversion method.lr=0.02 |
        awk '$1 == "images.lora" {print $2}')
    train="$python -m sip.train $data $quick seed=$seed"
    $train augmentation=none experiment=adapt
    $train augmentation=datadream_like images.per_sample=4 images.lora=$lora experiment=adapt
    $train augmentation=da_fusion_like images.per_sample=4 images.lora=$words experiment=adapt
    for arm in datadream_like da_fusion_like; do # the same by the model as it is
        $train augmentation=$arm images.per_sample=4 images.needs_lora=false experiment=before
    done
    $train augmentation=none experiment=before
done
$python "$here/results.py" judge/resnet_mini-none-* runs results.csv
