#!/usr/bin/env bash
# A registry with one schema, and the local world beside it; arguments go to `klamm dev`, such as --once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# It ends when this shell does, which holds its standard input.
coproc REGISTRY { exec python3 registry.py; }
read -r REGISTRY_URL <&"${REGISTRY[0]}"
export REGISTRY_URL PYTHONDONTWRITEBYTECODE=1
"${KLAMM:-klamm}" dev . "$@"
