#!/bin/sh
# usage: with-pam.d DIRECTORY COMMAND..., in a mount namespace of its own
# Runs the command with DIRECTORY in the place of /etc/pam.d.
set -eu
mount --bind "$1" /etc/pam.d
shift
exec "$@"
