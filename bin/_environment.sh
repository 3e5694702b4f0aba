# shellcheck shell=bash
#
# Sourced by the scripts of this package. Installs the pinned packages into
# .venv in the checkout unless that is done, puts .venv first on PATH, sets
# MEAS_TRAILS_DIR, and adds this package's settings to DAF_BUTLER_CONFIG_PATH.
#
# .venv/meas_trails.stamp    exists when the installation is complete; holds a
#                            checksum of the requirements
# .venv/meas_trails.partial  exists during an installation; if it is left over,
#                            the next installation starts again

MEAS_TRAILS_DIR="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
export MEAS_TRAILS_DIR

# Check that an interpreter has a supported version and can create virtual
# environments (Debian's lacks ensurepip). A pyenv shim fails here unless its
# version is selected.
_meas_trails_fits() {
    "$1" -c 'import sys, ensurepip, venv
sys.exit(sys.version_info[:2] not in ((3, 12), (3, 13)))' >/dev/null 2>&1
}

# Print the path of a Python 3.13 or 3.12.
_meas_trails_find_python() {
    local name path
    for name in python3.13 python3.12 python3 python; do
        if path="$(command -v "$name")" && _meas_trails_fits "$path"; then
            printf '%s\n' "$path"
            return 0
        fi
    done
    for name in 3.13 3.12; do
        for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$name"*/bin/python; do
            if [ -x "$path" ] && _meas_trails_fits "$path"; then
                printf '%s\n' "$path"
                return 0
            fi
        done
    done
    printf '%s\n' \
        "Python 3.13 or 3.12 with the venv module was not found on PATH or under ${PYENV_ROOT:-$HOME/.pyenv}/versions." \
        "Install it, for example: pyenv install 3.13, conda create -n py313 python=3.13, or apt-get install python3.13-venv." >&2
    return 1
}

# Print the folder, which the first line of each installed command contains, and
# a checksum of the two files that name the packages.
_meas_trails_wanted() {
    printf '%s\n' "$MEAS_TRAILS_DIR"
    cat -- "$MEAS_TRAILS_DIR/pyproject.toml" "$MEAS_TRAILS_DIR/constraints.txt" | cksum
}

_meas_trails_is_ready() {
    [ -f "$1/meas_trails.stamp" ] && [ ! -e "$1/meas_trails.partial" ] &&
        [ "$(cat -- "$1/meas_trails.stamp")" = "$(_meas_trails_wanted)" ] &&
        "$1/bin/python" -c '' 2>/dev/null
}

# Create or complete the environment. Runs in a subshell that holds the lock.
_meas_trails_install() {
    local venv="$MEAS_TRAILS_DIR/.venv" python status started=$SECONDS interrupted='' new=''
    # Another process may have finished while this one waited for the lock.
    if _meas_trails_is_ready "$venv"; then
        return 0
    fi
    # Only a folder with one of the two marks is emptied; the mark of an
    # unfinished installation is removed last.
    if [ -e "$venv/meas_trails.partial" ]; then
        printf '==> The last installation was interrupted: starting again\n'
        new=yes
    elif [ -f "$venv/meas_trails.stamp" ] &&
        ! { _meas_trails_fits "$venv/bin/python" &&
            [ "$(head -n 1 -- "$venv/meas_trails.stamp")" = "$MEAS_TRAILS_DIR" ]; }; then
        printf '==> The checkout was moved or copied, or its Python was removed: recreating .venv\n'
        new=yes
    elif [ ! -e "$venv" ] || [ -z "$(ls -A -- "$venv")" ]; then
        new=yes
    elif ! _meas_trails_fits "$venv/bin/python"; then
        printf '%s exists but is not an environment of Python 3.13 or 3.12: move it away.\n' "$venv" >&2
        return 1
    fi
    if [ -n "$new" ]; then
        python="$(_meas_trails_find_python)" || return 1
        printf '==> Creating .venv with %s\n' "$("$python" --version 2>&1)"
        mkdir -p -- "$venv" && : >"$venv/meas_trails.partial" &&
            find "$venv" -mindepth 1 -maxdepth 1 ! -name meas_trails.partial -exec rm -rf -- {} + &&
            "$python" -m venv "$venv" || return 1
    elif [ -f "$venv/meas_trails.stamp" ]; then
        : >"$venv/meas_trails.partial"
    fi

    printf '==> Installing the pinned packages into .venv (some minutes, once)\n'
    # pip reports an interrupt like any other failure.
    trap 'interrupted=yes' INT TERM HUP
    # Most modules are never imported; Python compiles the others on import.
    (
        cd -- "$MEAS_TRAILS_DIR" &&
            "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-compile \
                -c constraints.txt -e '.[test]'
    ) >"$venv/meas_trails.log" 2>&1
    status=$?
    trap - INT TERM HUP
    if [ -n "$interrupted" ]; then
        printf 'Interrupted: the next run starts again.\n' >&2
        return 130
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 20 -- "$venv/meas_trails.log" >&2
        printf 'Installation failed; see the output of pip in %s\n' "$venv/meas_trails.log" >&2
        # pip rolls back a failed installation: an environment that was complete
        # before is still usable, with its former packages.
        if [ -z "$new" ]; then
            rm -f -- "$venv/meas_trails.partial"
        fi
        return 1
    fi
    _meas_trails_wanted >"$venv/meas_trails.stamp" && rm -f -- "$venv/meas_trails.partial" || return 1
    printf '==> Installed in %d s\n' "$((SECONDS - started))"
}

_meas_trails_environment() {
    local venv="$MEAS_TRAILS_DIR/.venv"
    # Only the pinned packages are used, none of a stack or another environment
    # that is set up.
    unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER
    # The version comes from git; without git it is "unknown".
    export GIT_PYTHON_REFRESH=quiet
    if ! _meas_trails_is_ready "$venv"; then
        (
            if command -v flock >/dev/null; then
                flock 9 || exit 1
            fi
            _meas_trails_install
        ) 9>"$MEAS_TRAILS_DIR/.venv.lock" || return $?
    fi
    export VIRTUAL_ENV="$venv"
    case ":$PATH:" in
        ":$venv/bin:"*) ;;
        *) export PATH="$venv/bin:$PATH" ;;
    esac
    hash -r

    local settings="$MEAS_TRAILS_DIR/python/lsst/meas/trails/resources/butler"
    case ":${DAF_BUTLER_CONFIG_PATH:-}:" in
        *":$settings:"*) ;;
        *) export DAF_BUTLER_CONFIG_PATH="$settings${DAF_BUTLER_CONFIG_PATH:+:$DAF_BUTLER_CONFIG_PATH}" ;;
    esac
}

_meas_trails_environment
