#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lock.sh SOURCE: what npm installs for the web page is pinned, by what it is, and not by where it is.
set -u

LOCK=$1/web/package-lock.json WANTED=$1/web/package.json

# expect_none WHAT FILTER FILE: the jq filter gives nothing.
expect_none()
{
	local found

	found=$(jq -r "$2" "$3") || { echo "it cannot be read: $1"; exit 1; }
	[[ -z $found ]] || { printf '%s: %s\n' "$1" "$(xargs <<< "$found")"; exit 1; }
}

expect_none "packages with a remote address" '.packages | to_entries[] | select(.value.resolved) | .key' "$LOCK"
expect_none "addresses" '.. | strings | select(test("[a-z]://|^(git|file):"))' "$LOCK"
expect_none "packages without a digest" '.packages | to_entries[] | select(.key != "")
	| select((.value.integrity // "" | test("^sha512-[A-Za-z0-9+/]{86}==$")) | not) | .key' "$LOCK"
expect_none "versions that are not pinned" '(.dependencies // {}) + (.devDependencies // {}) | to_entries[]
	| select(.value | test("^[0-9]+\\.[0-9]+\\.[0-9]+$") | not) | .key' "$WANTED"
expect_none "versions that the lock has otherwise" '.[0].packages as $locked | .[1].dependencies | to_entries[]
	| select($locked["node_modules/" + .key].version != .value) | .key' <(jq -s . "$LOCK" "$WANTED")
