#!/usr/bin/env bash
# Generates the Python and TypeScript code of the contract in proto/, and the messages of the
# adapters in server/wire/.
#   scripts/generate.sh           writes it where it is committed
#   scripts/generate.sh --check   writes it aside and fails when the committed code differs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly wire=server/infrafabric_server/store/etcd/wire
readonly outputs=(
    third_party/googleapis clients/python/infrafabric/v1 clients/typescript/src/gen "$wire"
)

# Writes all outputs under the empty folder $1, laid out as in the repository.
generate_into() {
    local python=$1/clients/python google=$1/third_party/googleapis/google/rpc installed
    local sources=(proto/infrafabric/v1/*.proto) services
    mkdir -p "$python/infrafabric/v1" "$google"

    installed=$(.venv/bin/python -c 'import google.rpc as rpc; print(*rpc.__path__)')
    cp "$installed/status.proto" "$installed/error_details.proto" "$google"

    .venv/bin/python -m grpc_tools.protoc -I proto -I "$1/third_party/googleapis" \
        --plugin=.venv/bin/protoc-gen-mypy \
        --python_out="$python" --mypy_out=readable_stubs,quiet:"$python" "${sources[@]}"
    # The gRPC plugins write a file for each input, so they get only those that declare a service.
    mapfile -t services < <(grep -l '^service ' "${sources[@]}")
    .venv/bin/python -m grpc_tools.protoc -I proto -I "$1/third_party/googleapis" \
        --plugin=.venv/bin/protoc-gen-mypy_grpc \
        --grpc_python_out="$python" \
        --mypy_grpc_out=only_async,readable_stubs,quiet:"$python" "${services[@]}"
    echo '"""Generated from the contract in proto/infrafabric/v1 (make generate)."""' \
        >"$python/infrafabric/v1/__init__.py"

    # Messages only: the adapter calls the methods by their path.
    mkdir -p "$1/$wire"
    .venv/bin/python -m grpc_tools.protoc -I "${wire#server/}=server/wire" \
        --plugin=.venv/bin/protoc-gen-mypy \
        --python_out="$1/server" --mypy_out=readable_stubs,quiet:"$1/server" server/wire/*.proto
    echo '"""Generated from server/wire/etcd.proto (make generate)."""' >"$1/$wire/__init__.py"

    clients/typescript/node_modules/.bin/buf generate --output "$1"
}

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
generate_into "$fresh"

for output in "${outputs[@]}"; do
    if [[ ${1-} == --check ]]; then
        diff --recursive --brief --exclude=__pycache__ "$output" "$fresh/$output" || stale=1
    else
        rm -rf "$output"
        cp -r "$fresh/$output" "$output"
    fi
done
if [[ ${stale-} ]]; then
    echo "generate: the committed code is not what the .proto files say: run 'make generate', commit it." >&2
    exit 1
fi
