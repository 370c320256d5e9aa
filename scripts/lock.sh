#!/usr/bin/env bash
# Resolves the dependencies anew and writes both lock files: exact versions and hashes, no address
# of any registry, so that the same locks serve behind any mirror.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Locks the dependency groups that the arguments name, for every Python from 3.11 on.
compile_lock() {
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
}

# Arguments of this script go to uv: --upgrade takes the newest versions that pyproject.toml allows.
compile_lock pyproject.toml --group dev --output-file requirements.lock "$@"
compile_lock --group build --constraints requirements.lock --output-file requirements-build.lock

npm --prefix clients/typescript install --package-lock-only --no-audit --no-fund --loglevel=error
# npm copies each package's donation address into its lock.
node -e '
    const fs = require("node:fs");
    const path = "clients/typescript/package-lock.json";
    const lock = JSON.parse(fs.readFileSync(path, "utf8"));
    for (const entry of Object.values(lock.packages)) delete entry.funding;
    fs.writeFileSync(path, JSON.stringify(lock, null, 2) + "\n");
'

if grep --line-number '://' requirements*.lock clients/typescript/package-lock.json; then
    echo "lock: the lines above name an address; a lock names packages and hashes only." >&2
    exit 1
fi
