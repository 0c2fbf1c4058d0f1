#!/usr/bin/env bash
# start-duo-client.sh CACHE DIR: the vendor's client library. There is no server: what stands for its URL says only that
# everything is there.
. "$(dirname "$0")/../service.sh"

packages duo-client "$here/requirements.txt"
echo INSTALLED=yes
echo "PYTHON=$made/bin/python"
echo URL=none
sleep infinity &
wait
