#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# units.sh SOURCE BUILD: what systemd says of our units, where it is installed.
set -u

SOURCE=$1 BUILD=$2
readonly EXPOSURE_MAXIMUM=20 # tenths, of 100; what is left is the network and /proc, see nijimid.service
command -v systemd-analyze > /dev/null || { echo "no systemd-analyze here"; exit 77; }
WORK=$(mktemp -d /tmp/nijimi-units.XXXXXX)
trap 'rm -rf "$WORK"' EXIT

# Verified with programs that are there; manuals are not installed where tests run.
sed -E "s,^(Exec[A-Za-z]*=)[^ ]*/(nijimid?)( |$),\1$BUILD/\2\3,; /^Documentation=/d" "$BUILD/system/nijimid.service" \
	> "$WORK/nijimid.service"
sed '/^Documentation=/d' "$SOURCE/system/nijimid.socket" > "$WORK/nijimid.socket"
grep -q "^ExecStart=$BUILD/nijimid " "$WORK/nijimid.service" || { echo "ExecStart= is not as expected"; exit 1; }

said=$(systemd-analyze verify --recursive-errors=no --man=no "$WORK/nijimid.service" "$WORK/nijimid.socket" 2>&1) || {
	printf 'systemd-analyze verify: %s\n' "$said"
	exit 1
}
[[ -z $said ]] || { printf 'systemd-analyze verify: %s\n' "$said"; exit 1; }

said=$(systemd-analyze security --offline=yes --threshold="$EXPOSURE_MAXIMUM" --no-pager "$WORK/nijimid.service" 2>&1) || {
	printf '%s\n' "$said"
	exit 1
}
grep 'Overall exposure' <<< "$said"

for kind in sysusers tmpfiles; do
	command -v "systemd-$kind" > /dev/null || continue
	mkdir -p "$WORK/root/etc" "$WORK/root/usr/lib/$kind.d"
	cp "$SOURCE/system/nijimi.$kind" "$WORK/root/usr/lib/$kind.d/nijimi.conf"
	[[ $EUID == 0 ]] || continue
	create=()
	[[ $kind != tmpfiles ]] || create=(--create)
	"systemd-$kind" --root="$WORK/root" "${create[@]}" nijimi.conf || { echo "systemd-$kind failed"; exit 1; }
done
[[ $EUID != 0 ]] || ! command -v systemd-sysusers systemd-tmpfiles > /dev/null || {
	grep -q '^nijimi:' "$WORK/root/etc/passwd" && grep -q '^nijimi:' "$WORK/root/etc/group" &&
		[[ $(stat -c %a "$WORK/root/etc/nijimi") == 750 ]] || { echo "the user or /etc/nijimi is not there"; exit 1; }
}
