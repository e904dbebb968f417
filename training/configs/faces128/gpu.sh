#!/usr/bin/env bash
# The whole of faces128 on one large GPU, with four times the weights; about 25 minutes on an H100 by
# the count of operations (nobody has measured it). From the repository's root:
#
#   bash training/configs/faces128/gpu.sh
#
# After a stop, run it again: finished stages are left out, the others go on from their newest
# checkpoint. The result is runs/faces128-gpu/bundle.
set -euo pipefail

configs=training/configs/faces128
runs=runs/faces128-gpu
gpu=(loop.mixed_precision=bf16 loop.compile=true loop.workers=8 loop.batch_size=256)
python=${PYTHON:-.venv/bin/python}

# stage FOLDER SCRIPT CONFIG KEY=VALUE ...: run a script unless the bundle in FOLDER is there.
stage() {
  [ -e "$1/config.json" ] && return
  echo "== $1"
  "$python" "training/$2.py" --config "$configs/$3.yaml" "${@:4}"
}

stage $runs/first_stage/bundle train_first_stage first_stage \
  loop.out=$runs/first_stage bundle=$runs/first_stage/bundle "${gpu[@]}" loop.pictures=1_500_000

stage $runs/dpm/bundle train_dpm dpm first_stage=$runs/first_stage/bundle \
  loop.out=$runs/dpm bundle=$runs/dpm/bundle "${gpu[@]}" \
  unet.base_channels=192 unet.dropout=0.1 loop.pictures=6_000_000 loop.ema=0.9999 loop.decay=cosine

stage $runs/sketch/bundle train_pdae sketch dpm=$runs/dpm/bundle \
  loop.out=$runs/sketch bundle=$runs/sketch/bundle "${gpu[@]}" loop.pictures=600_000

stage $runs/pdae/bundle train_pdae pdae dpm=$runs/dpm/bundle start=$runs/sketch/bundle \
  loop.out=$runs/pdae bundle=$runs/pdae/bundle "${gpu[@]}" \
  loop.pictures=4_000_000 loop.ema=0.9999 loop.decay=cosine

stage $runs/decoder/bundle train_decoder decoder model=$runs/pdae/bundle \
  loop.out=$runs/decoder bundle=$runs/decoder/bundle "${gpu[@]}" \
  loop.compile=false loop.pictures=600_000

latents=$runs/latents.safetensors
[ -e $latents ] || "$python" training/encode_latents.py --config $configs/latents.yaml \
  model=$runs/decoder/bundle out=$latents

stage $runs/bundle train_attributes attributes model=$runs/decoder/bundle latents=$latents \
  bundle=$runs/bundle
"$python" training/train_latent_dpm.py --config $configs/latent_dpm.yaml \
  model=$runs/bundle bundle=$runs/bundle latents=$latents loop.out=$runs/prior
"$python" training/calibrate_sliders.py --config $configs/calibrate.yaml bundle=$runs/bundle
"$python" training/measure_typical.py --config $configs/typical.yaml bundle=$runs/bundle
"$python" training/evaluate.py --config $configs/evaluate.yaml model=$runs/bundle out=$runs/evaluation
