# What the start scripts share (for bash, sourced). Each is run as
#
#     start-NAME.sh CACHE DIR [...]
#
# CACHE keeps what is installed once, for every instance; DIR, which must exist, belongs to this instance alone. The script
# writes KEY=VALUE lines, one of them INSTALLED=yes, and then URL=... for each server as soon as that answers. It serves
# until its standard input ends, however that came about, and takes DIR and its whole process group with it.
#
# Where a program is missing or cannot be installed, it writes one line that begins with `skipped: `, and ends with 69.

set -euo pipefail
umask 077
# What is installed is compiled as it is installed; nothing is written beside the sources.
export PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME

# The process group is ours alone, since it is killed as a whole.
read -r _ _ _ _ group _ </proc/$$/stat
[ "$group" = $$ ] || exec setsid "$0" "$@"

here=$(cd "$(dirname "$0")" && pwd)
services=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
dir=$(cd "$2" && pwd)
shift 2

# Standard output is open for as long as anything that was started here is alive.
exec 3<&0 </dev/null
(
	while read -r _; do :; done <&3
	rm -rf -- "$dir" || rm -rf -- "$dir"
	kill -KILL 0
) 2>/dev/null &
exec 3<&-
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# skip PROGRAM PACKAGES
skip() {
	echo "skipped: needs $1; install: apt-get install $2"
	exit 69
}

command -v flock >/dev/null || skip flock util-linux

# once NAME INPUT COMMAND...: runs COMMAND with a new directory as its last argument, once for each INPUT, whoever comes
# first; the others wait. Sets `made` to the directory, or fails. After a failure nobody tries again for some minutes.
once() {
	local name=$1 input=$2
	shift 2
	made=$cache/$name-$(echo "$cache $input" | sha256sum | cut -c1-12)
	[ ! -e "$made/done" ] || return 0
	exec 8>"$made.lock"
	flock 8
	if [ ! -e "$made/done" ]; then
		if [ "${COUNTERSIGN_NOTHING_SKIPPED:-}" != 1 ] && [ -n "$(find "$made.failed" -mmin -5 2>/dev/null)" ]; then
			return 1
		fi
		rm -rf "$made" "$made.failed"
		mkdir "$made"
		if ! "$@" "$made" >"$made.log" 2>&1; then
			rm -rf "$made"
			touch "$made.failed"
			return 1
		fi
		touch "$made/done"
	fi
	exec 8>&-
}

# packages NAME REQUIREMENTS: a virtual environment with these packages, in `made`.
packages() {
	python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
		skip "python3 (3.10 or newer) and its venv" python3-venv
	once "$1" "$(python3 --version) $(cat "$2")" fill "$2" ||
		skip "packages from PyPI that pip does not get, see $made.log" python3-venv
}

fill() {
	python3 -m venv "$2" &&
		"$2/bin/pip" install --compile --no-input --disable-pip-version-check --requirement "$1"
}

# seed NAME INPUT COMMAND...: as `once`, for what has no reason to fail.
seed() {
	once "$@" && return
	cat "$made.log" >&2
	exit 1
}
