#!/usr/bin/env bash
#
# Train the models that come with the package, by their recipes:
# bin/train_models.sh DIR
#
# Everything goes below DIR (14 GB of simulated tiles). A run that was stopped
# goes on where it was when it is started again. The models are then
# DIR/direct/direct.json and DIR/template/template.json, each with its
# .safetensors.

set -euo pipefail

if [ "$#" -ne 1 ] || [ "${1:0:1}" = - ]; then
    printf 'usage: %s DIR\n\nTrain the models direct and template in DIR, some hours on two cores.\n' "$0" >&2
    case "${1:-}" in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

mkdir -p -- "$1"
if [ ! -e "$1/direct/direct.json" ]; then
    meas-trails train "$1/direct" --config direct
fi
meas-trails train "$1/template" --config template --start "$1/direct/direct.json"
