#!/usr/bin/env bash
# start-smtp.sh CACHE DIR CERTIFICATE KEY: mail servers by aiosmtpd, one for each way to behave; server.py has what it says.
. "$(dirname "$0")/../service.sh"

packages smtp "$here/requirements.txt"
echo INSTALLED=yes
"$made/bin/python" "$here/server.py" "$@" &
wait -n
