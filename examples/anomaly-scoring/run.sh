#!/usr/bin/env bash
# The scoring endpoint, and the local world beside it; arguments go to `klamm dev`, such as --once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# It ends when this shell does, which holds its standard input.
coproc ENDPOINT { exec python3 endpoint.py; }
read -r SCORING_URL <&"${ENDPOINT[0]}"
export SCORING_URL PYTHONDONTWRITEBYTECODE=1
"${KLAMM:-klamm}" dev . "$@"
