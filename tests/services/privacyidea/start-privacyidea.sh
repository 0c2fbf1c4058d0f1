#!/usr/bin/env bash
# start-privacyidea.sh CACHE DIR [--tls]: privacyIDEA on SQLite, as seed.py made it; each start begins there.
# With --tls its certificate is issued by TLS/ca.pem, and the second URL is a name that is not in it.
. "$(dirname "$0")/../service.sh"

packages privacyidea "$here/requirements.txt"
python=$made/bin/python
# The web interface is half of it, and nobody looks at it.
rm -rf "$made"/lib/python3*/site-packages/privacyidea/static/dist
seed privacyidea-seed "$python $(cat "$here/seed.py" "$here/phone.py" "$here/pi.cfg")" \
	"$python" "$here/seed.py" "$here/pi.cfg"
cp -r "$made/." "$dir"
echo INSTALLED=yes
cat "$dir/env"
echo "PYTHON=$python"

export INSTANCE=$dir PRIVACYIDEA_CONFIGFILE=$dir/pi.cfg
[ "${1:-}" != --tls ] || export TLS=$dir/tls
"$python" -m gunicorn --config "$services/gunicorn.conf.py" --pythonpath "$here" pi_wsgi:application
