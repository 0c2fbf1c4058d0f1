#!/usr/bin/env bash
# start-oidc.sh CACHE DIR TTL: an OpenID provider (oidc-provider) whose device codes live TTL seconds.
. "$(dirname "$0")/../service.sh"

command -v python3 >/dev/null || skip python3 python3
command -v node >/dev/null || skip node nodejs
command -v npm >/dev/null || skip npm npm

install() {
	cp "$here/package.json" "$here/package-lock.json" "$here/server.mjs" "$1" &&
		npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --no-update-notifier
}
once oidc "$(node --version) $(cat "$here/package-lock.json" "$here/server.mjs")" install ||
	skip "oidc-provider from npm, which npm does not get, see $made.log" "nodejs npm"
echo INSTALLED=yes
node "$made/server.mjs" "$1"
