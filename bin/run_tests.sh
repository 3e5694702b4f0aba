#!/usr/bin/env bash
#
# Run the tests: bin/run_tests.sh [PYTEST_ARGUMENT...]
#
# Without arguments, all tests run, in two processes. Arguments are passed to
# pytest; paths are relative to the checkout. Unlike plain pytest, this script
# includes the tests marked `process`; -m "not process" leaves them out.
#
# One test opens a report in Chromium. If no browser is found and root runs
# this script on Debian, as in a container, the script installs Chromium;
# otherwise the test fails and names the packages to install.

set -euo pipefail

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$MEAS_TRAILS_DIR"

# The test processes share the cores.
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
    printf '==> Installing chromium-headless-shell for the tests of reports\n'
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get update -qq &&
            apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core
    } >/dev/null || printf 'apt-get failed; the test of the report names the packages to install.\n' >&2
fi

if [ "$#" -eq 0 ]; then
    set -- -q -n 2 tests
fi
exec python -m pytest -m "" "$@"
