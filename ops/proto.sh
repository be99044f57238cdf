#!/usr/bin/env bash
# The wire: its generated code, and the gate that a change of the schema must pass.
#
#   ops/proto.sh generate   write the Python code of every schema
#   ops/proto.sh format     write the schemas in the one format
#   ops/proto.sh check      format, lint, compatibility with the last release, generated code: read-only
#   ops/proto.sh release    make this schema the one that changes are judged against
#
# BIN names the folder of the Python tools, .venv/bin if it is not given.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
BUF=node_modules/@bufbuild/buf-linux-$(uname -m | sed s/x86_64/x64/)/bin/buf
BASELINE=proto/baseline.binpb

fail() { # MESSAGE
    echo "proto: $1" >&2
    exit 1
}

[ -x "$BIN/protoc-gen-mypy_grpc" ] || fail "$BIN/protoc-gen-mypy_grpc is missing; run: make setup"
[ -x "$BUF" ] || fail "buf is missing from node_modules; run: make setup"

fresh_code() { # generates into a folder of this run, $fresh: stubs only where there is a service
    local schemas services
    fresh=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of this run, not of the exit
    trap "rm -rf '$fresh'" EXIT
    mapfile -t schemas < <(cd proto && find zentransfer -name '*.proto' | LC_ALL=C sort)
    mapfile -t services < <(cd proto && grep -l '^service ' "${schemas[@]}")
    PATH="$BIN:$PATH" "$BIN/python" -m grpc_tools.protoc -Iproto \
        --python_out="$fresh" --pyi_out="$fresh" "${schemas[@]}" &&
        PATH="$BIN:$PATH" "$BIN/python" -m grpc_tools.protoc -Iproto \
            --grpc_python_out="$fresh" --mypy_grpc_out=quiet:"$fresh" "${services[@]}"
}

every_name() { # the names of all generated files, of the tree and of $fresh
    for folder in proto "$fresh"; do
        (cd "$folder" && find . -name '*_pb2*.py' -o -name '*_pb2*.pyi')
    done | LC_ALL=C sort -u
}

generate() {
    fresh_code || fail "the schema cannot be compiled; correct the lines named above"
    local name
    while read -r name; do
        if [ -e "$fresh/$name" ]; then
            cmp -s "proto/$name" "$fresh/$name" || cp "$fresh/$name" "proto/$name"
        else
            rm "proto/$name"
        fi
    done < <(every_name)
}

format() {
    "$BUF" format -w proto
}

check() {
    local bad=0 name
    refuse() { # MESSAGE: say it, and go on to the next check
        echo "proto: $*" >&2
        bad=1
    }
    [ -e "$BASELINE" ] || fail "$BASELINE is missing; run: git restore $BASELINE"
    fresh_code || fail "the schema cannot be compiled; correct the lines named above"
    "$BUF" format -d --exit-code proto >&2 || refuse "not in the one format; run: make fmt"
    "$BUF" lint proto >&2 || refuse "refused by the linter; correct the lines named above"
    "$BUF" breaking proto --against "$BASELINE" >&2 ||
        refuse "this breaks programs of the last release; put back what is named above," \
            "or reserve its number and name"
    while read -r name; do
        cmp -s "proto/$name" "$fresh/$name" ||
            refuse "proto/${name#./} is not what its schema gives; run: make proto"
    done < <(every_name)
    exit "$bad"
}

release() {
    "$BUF" lint proto >&2 || fail "refused by the linter; correct the lines named above"
    "$BUF" build proto --exclude-source-info -o "$BASELINE"
}

case "${1:-}" in
    generate | format | check | release) "$1" ;;
    *) fail "say generate, format, check or release" ;;
esac
