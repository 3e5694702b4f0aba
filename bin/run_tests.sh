#!/usr/bin/env bash
#
# Run the tests: bin/run_tests.sh [PYTEST_ARGUMENT...]
#
# Without arguments all of them, in two processes. Arguments go to pytest; paths
# among them are relative to the checkout.
#
# One test looks at a report in Chromium. Where there is none, and this is a
# Debian on which we are root, such as a container, its packages are installed;
# elsewhere the test says what it needs.

set -euo pipefail

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$MEAS_TRAILS_DIR"

# Two processes share the cores already.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
export MPLBACKEND=Agg

_has_browser() {
    local name
    for name in "${MEAS_TRAILS_BROWSER:-}" chromium-headless-shell chromium chromium-browser google-chrome \
        google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name" >/dev/null; then
            return 0
        fi
    done
    return 1
}

if ! _has_browser && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    printf '==> Installing chromium-headless-shell, which looks at reports\n'
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get update -qq &&
            apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core
    } >/dev/null || printf 'apt-get failed; the test of the report will say what it needs.\n' >&2
fi

if [ "$#" -eq 0 ]; then
    set -- -q -n 2 tests
fi
exec python -m pytest "$@"
