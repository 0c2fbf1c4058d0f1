#!/bin/sh
# Called by cargo in place of rustc for the members of this workspace (build.rustc-workspace-wrapper in config.toml).
# It links the executables statically: half of what one verdict costs is the dynamic loader (docs/benchmarks.md).
# Cargo has no stable setting for the flags of executables alone: RUSTFLAGS would reach the procedural macros too,
# which cannot be static, and build.target would move the executable out of target/release.
case " $* " in
*" --crate-name ___ "*) exec "$@" ;; # cargo asking what rustc can do
*" --crate-type bin "*)
	if [ "$(uname -s)" = Linux ]; then
		exec "$@" -C target-feature=+crt-static -C relocation-model=static
	fi
	;;
esac
exec "$@"
