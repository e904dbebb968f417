#!/usr/bin/env bash
# DiffEnc beside VDM-v, and PDAE on DiffEnc beside PDAE on a DDPM: all runs of docs/claims.md, one after
# the other. From the repository's root, with ../shared/faces or DATA=FOLDER (with a manifest.csv):
#
#   bash training/configs/faces32/diffenc.sh
#
# After a stop, run it again: finished runs are left out, others go on from their newest checkpoint.
# FACES and DIGITS are pictures a run: as they stand, those of docs/claims.md.
set -euo pipefail

configs=training/configs
python=${PYTHON:-.venv/bin/python}
data=${DATA:-../shared/faces}
faces=${FACES:-8192}
digits=${DIGITS:-76800}
from=(data.folder="$data" data.labels="$data/manifest.csv")
# Short runs of small batches; the files have those of longer ones.
brief=(loop.batch_size=64 loop.warmup=2560 loop.ema=0.99 loop.sample_every=6400 sample_steps=20)

# stage FOLDER SCRIPT CONFIG KEY=VALUE ...: train unless the bundle in FOLDER is there.
stage() {
  [ -e "$1/bundle/config.json" ] && return
  echo "== $1"
  "$python" "training/$2.py" --config "$configs/$3.yaml" loop.out="$1" bundle="$1/bundle" "${@:4}"
}

[ -e data/digits/labels.csv ] || "$python" training/make_digits.py data/digits
for seed in 0 1 2; do
  for kind in vdm_v diffenc; do
    stage runs/faces32-${kind}_small-$seed train_vdm faces32/${kind}_small "${from[@]}" \
      loop.seed=$seed loop.pictures="$faces"
    stage runs/digits-$kind-$seed train_vdm digits/$kind \
      loop.seed=$seed loop.pictures="$digits" "${brief[@]}"
  done
done

stage runs/faces32-dpm_small train_dpm faces32/dpm_small "${from[@]}" loop.pictures="$faces"
stage runs/faces32-pdae_on_diffenc train_pdae faces32/pdae_on_diffenc "${from[@]}"
stage runs/faces32-pdae_on_dpm train_pdae faces32/pdae_on_diffenc "${from[@]}" \
  dpm=runs/faces32-dpm_small/bundle

"$python" training/encode_latents.py --config $configs/faces32/latents.yaml "${from[@]}"
"$python" training/train_attributes.py --config $configs/faces32/attributes.yaml
