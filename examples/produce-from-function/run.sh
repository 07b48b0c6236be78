#!/usr/bin/env bash
# The local world with a Kafka client for the function; arguments go to `klamm dev`, such as --once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../packages.sh
packages kafka-python==3.0.12
"${KLAMM:-klamm}" dev . "$@"
