#!/usr/bin/env bash
# start-sps-sdk.sh CACHE DIR: the vendor's plugin SDK. There is no server: what stands for its URL says only that everything
# is there.
. "$(dirname "$0")/../service.sh"

# Its python-ldap is compiled, although nothing here uses it.
printf '#include <%s>\n' ldap.h sasl/sasl.h | cc -E - >/dev/null 2>&1 ||
	skip "a compiler and the headers of OpenLDAP and SASL" "gcc libldap2-dev libsasl2-dev python3-dev"
packages sps-sdk "$here/requirements.txt"
echo INSTALLED=yes
echo "PYTHON=$made/bin/python"
echo URL=none
sleep infinity &
wait
