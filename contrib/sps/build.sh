#!/usr/bin/env bash
# build.sh EXECUTABLE ZIP: packs the plugin with a countersign for the gateway's machine, such as target/release/countersign.
# The same input gives the same bytes. Needs python3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# = 2 ] || {
	sed -n '2,3s/^# //p' "$0" >&2
	exit 64
}
exec python3 - "$here" "$1" "$2" <<'PYTHON'
import os
import sys
import zipfile

# What the gateway takes.
PLUGIN_LIMIT, DEFAULTS_LIMIT = 20_000_000, 10 * 1024

here, executable, target = sys.argv[1:]
files = [(os.path.join(here, name), name, mode) for name, mode in
         (("MANIFEST", 0o644), ("default.cfg", 0o644), ("main.py", 0o755))]
files.append((executable, "countersign", 0o755))
if os.path.getsize(os.path.join(here, "default.cfg")) > DEFAULTS_LIMIT:
    sys.exit("default.cfg: is larger than 10 KiB")
new = "{}.{}.new".format(target, os.getpid())
try:
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, name, mode in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open(path, "rb") as file:
                archive.writestr(entry, file.read(), compresslevel=9)
    size = os.path.getsize(new)
    if size > PLUGIN_LIMIT:
        sys.exit("{}: the plugin would have {} bytes, and {} are allowed; take a release build".format(
            executable, size, PLUGIN_LIMIT))
    os.replace(new, target)
except OSError as error:
    sys.exit(str(error))
finally:
    if os.path.exists(new):
        os.unlink(new)
print("made {} of {} bytes".format(target, size))
PYTHON
