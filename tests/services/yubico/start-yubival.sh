#!/usr/bin/env bash
# start-yubival.sh CACHE DIR N: yubival, a server of the Yubico Validation Protocol 2.0, N times on one database, as
# parallel validation servers share their counters. Each start begins where seed.py ended.
. "$(dirname "$0")/../service.sh"

packages yubival "$here/requirements.txt"
python=$made/bin/python
seed yubival-seed "$python $(cat "$here/seed.py" "$here/yubikey_otp.py")" "$python" "$here/seed.py"
cp "$made/yubival.sqlite" "$dir"
echo INSTALLED=yes
"$python" "$here/yubikey_otp.py" env
echo "PYTHON=$python"

export INSTANCE=$dir YUBIVAL_DATABASE=$dir/yubival.sqlite DJANGO_SETTINGS_MODULE=yubival_site
for ((i = 0; i < $1; i++)); do
	"$python" -m gunicorn --config "$services/gunicorn.conf.py" --pythonpath "$here" yubival_wsgi:application &
done
wait -n
