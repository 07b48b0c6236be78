#!/usr/bin/env bash
# An emulator of DynamoDB with a table, and the local world beside it; arguments go to `klamm dev`, such as --once.
# Prints at the end what is in the table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../packages.sh
packages 'moto[dynamodb,server]==5.1.22' boto3==1.44.8
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
# It ends when this shell does, which holds its standard input.
coproc EMULATOR { exec python3 emulator.py; }
read -r AWS_ENDPOINT_URL_DYNAMODB <&"${EMULATOR[0]}"
export AWS_ENDPOINT_URL_DYNAMODB
python3 table.py create
"${KLAMM:-klamm}" dev . "$@"
python3 table.py show
