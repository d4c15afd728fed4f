#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# short_lived.sh BUILD [VMS]: so many VMs that come and go (short_lived.c; thousands with the second argument): a daemon with a state keeps nothing of them but what it
# is to keep, and answers as before.
set -eu

BUILD=$1
VMS=${2:-1200}
WORK=$(mktemp -d /tmp/nijimi-short.XXXXXX)
export NIJIMI_SOCKET=$WORK/socket ASAN_OPTIONS=verify_asan_link_order=0:quarantine_size_mb=1:${ASAN_OPTIONS:-}
trap 'kill $DAEMON 2> /dev/null; wait; rm -rf "$WORK"' EXIT

"$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --state "$WORK/state" 2> "$WORK/log" &
DAEMON=$!
for ((i = 0; i < 100; i++)); do
	! "$BUILD/nijimi" status > /dev/null 2>&1 || break
	sleep 0.1
done
"$BUILD/tests/unit/short_lived" "$NIJIMI_SOCKET" "$DAEMON" "$VMS"
[[ $("$BUILD/nijimi" vms --json | jq '[.[] | select(.state == "armed")] | length') == 0 ]] || { echo "some are still there"; exit 1; }
