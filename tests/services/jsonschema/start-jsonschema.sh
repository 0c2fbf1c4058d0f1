#!/usr/bin/env bash
# start-jsonschema.sh CACHE DIR: a validator of JSON Schema. There is no server: what stands for its URL says only that
# everything is there.
. "$(dirname "$0")/../service.sh"

packages jsonschema "$here/requirements.txt"
echo INSTALLED=yes
echo "PYTHON=$made/bin/python"
echo URL=none
sleep infinity &
wait
