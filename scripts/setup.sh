#!/usr/bin/env bash
# Makes .venv and clients/typescript/node_modules what the two lock files say, and nothing when
# they already are: each carries a stamp that names the content it was made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly venv=.venv typescript=clients/typescript
readonly venv_stamp=$venv/.made-from node_stamp=$typescript/node_modules/.made-from

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Prints a digest of the files' content, so that a touched but unchanged file costs nothing.
digest() {
    cat -- "$@" | sha256sum | cut -d ' ' -f 1
}

# Tells whether the stamp $1 holds the digest $2.
stamped() {
    [[ -f $1 && $(<"$1") == "$2" ]]
}

# Prints the first Python that is new enough; "python3.x" shims may exist and still not run.
find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found on PATH: install python3 (3.11 or newer) and try again."
}

# Installs the Debian package $1, or says that it is missing; $2 is what needs it.
install_package() {
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        echo "setup: installing the package $1, which $2"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"; } \
            >/dev/null && return
    fi
    fail "install the package $1, which $2, and try again."
}

# Debian ships ensurepip apart from Python itself.
require_ensurepip() {
    local python=$1 package
    "$python" -c 'import ensurepip' 2>/dev/null && return
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    install_package "$package" "$python needs to make a virtual environment"
}

require_curl() {
    command -v curl >/dev/null || install_package curl "the shell client speaks HTTP with"
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-build-isolation --use-pep517 "$@"
}

setup_python() {
    local wanted python
    wanted=$(digest requirements.lock requirements-build.lock pyproject.toml)
    stamped "$venv_stamp" "$wanted" && [[ -x $venv/bin/python ]] && return
    rm -f "$venv_stamp"
    # An environment without pip is the rest of an interrupted attempt.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        require_ensurepip "$python"
        echo "setup: making $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv"
    fi
    echo "setup: installing the locked Python packages"
    # The build tools come first: nothing is built in isolation, with tools that no lock names.
    pip_install --require-hashes --requirement requirements-build.lock
    # The lock is complete. It leaves out what a dependency asks for and nobody needs (tool.uv).
    pip_install --no-deps --require-hashes --requirement requirements.lock
    pip_install --no-deps --editable .
    echo "$wanted" >"$venv_stamp"
}

require_node() {
    local major
    command -v node >/dev/null || fail "Node.js not found: install Node.js 20 or newer and npm."
    command -v npm >/dev/null || fail "npm not found: install npm, which comes with Node.js 20."
    major=$(node -p 'process.versions.node.split(".")[0]')
    [[ $major -ge 20 ]] || fail "Node.js $(node --version) is too old: install Node.js 20 or newer."
}

setup_node() {
    local wanted
    wanted=$(digest "$typescript/package.json" "$typescript/package-lock.json")
    stamped "$node_stamp" "$wanted" && return
    require_node
    echo "setup: installing the locked npm packages"
    npm --prefix "$typescript" ci --no-audit --no-fund --loglevel=error
    echo "$wanted" >"$node_stamp"
}

# Two terminals may run `make` at once; the second one waits and then finds the work done.
if command -v flock >/dev/null; then
    exec {lock}<scripts/setup.sh
    flock "$lock"
fi
setup_python
setup_node
require_curl
