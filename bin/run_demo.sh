#!/usr/bin/env bash
#
# Simulate two visits, find the trails in them, and draw the candidates:
# bin/run_demo.sh [DIR]
#
# All files are written below DIR (default: demo/ in the checkout). A second run
# replaces DIR/repo and DIR/demo.png, but never a DIR/repo that another program
# created.

set -euo pipefail

if [ "$#" -gt 1 ]; then
    printf 'usage: %s [DIR]\n' "$0" >&2
    exit 2
fi
case "${1:-}" in
    -h | --help)
        printf 'usage: %s [DIR]\n\nSimulate two visits in DIR/repo, find the trails in them, and draw DIR/demo.png.\n' "$0"
        exit 0
        ;;
    -*)
        printf 'usage: %s [DIR]\n' "$0" >&2
        exit 2
        ;;
esac

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

dir="${1:-$MEAS_TRAILS_DIR/demo}"
mkdir -p -- "$dir"
dir="$(CDPATH='' cd -- "$dir" && pwd -P)"
repo="$dir/repo"
mark="$repo/made_by_run_demo"
# Exists while the repository is being created.
unfinished="$dir/.run_demo_unfinished"
log="$dir/pipetask.log"

SECONDS=0
heading() {
    printf '\n==> [%3d s] %s\n' "$SECONDS" "$*"
}

if [ -e "$repo" ] && [ ! -e "$mark" ] && [ ! -e "$unfinished" ]; then
    printf '%s exists and was not created by this script: pass another folder.\n' "$repo" >&2
    exit 1
fi
printf 'bin/run_demo.sh is creating the folder repo next to this file.\n' >"$unfinished"
rm -rf -- "$repo"
rm -f -- "$dir/demo.png"

export MPLBACKEND=Agg

heading "Simulating 2 visits x 2 detectors of 1024x1024 pixels in $repo"
meas-trails simulate "$repo" --visits 2 --detectors 2 --size 1024 1024 --seed 20261101
printf 'bin/run_demo.sh replaces this folder.\n' >"$mark"
rm -f -- "$unfinished"

heading "Finding trails: pipetask run -p pipelines/DetectTrails.yaml (messages in $log)"
if ! pipetask run -b "$repo" -p "$MEAS_TRAILS_DIR/pipelines/DetectTrails.yaml" -i input -o trails/demo \
    -j 2 >"$log" 2>&1; then
    tail -n 30 -- "$log" >&2
    exit 1
fi

heading "Comparing candidates with the truth"
meas-trails compare "$repo" trails/demo

heading "Drawing $dir/demo.png"
meas-trails show "$repo" trails/demo -o "$dir/demo.png"

heading "Done. To search an image of your own:"
bin="$(printf '%q' "$MEAS_TRAILS_DIR/.venv/bin")"
pipeline="$(printf '%q' "$MEAS_TRAILS_DIR/pipelines/DetectTrails.yaml")"
own="$(printf '%q' "$dir/own")"
cat <<END
    $bin/meas-trails ingest-fits $own IMAGE.fits
    $bin/pipetask run -b $own -p $pipeline -i input -o trails/own
    $bin/meas-trails show $own trails/own -o own.png
END
