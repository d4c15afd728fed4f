#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sbom.sh SOURCE BUILD: system/sbom writes SPDX 2.3, and leaves nothing out that the programs need or the lock has.
set -u

SOURCE=$1 BUILD=$2
WORK=$(mktemp -d /tmp/nijimi-sbom.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
SBOM=$WORK/sbom.json

die()
{
	printf '%s\n' "$*"
	exit 1
}

# holds WHAT FILTER: the jq filter says true of it.
holds()
{
	jq -e "$2" "$SBOM" > /dev/null || die "the SBOM: not so: $1"
}

SOURCE_DATE_EPOCH=1700000000 "$SOURCE/system/sbom" "$BUILD" "$SBOM" || die "system/sbom failed"

# What section 6, 7, 8 and 11 of the specification demand.
holds "the document's fields" '.spdxVersion == "SPDX-2.3" and .dataLicense == "CC0-1.0" and .SPDXID == "SPDXRef-DOCUMENT"
	and (.name | length > 0) and (.documentNamespace | test("^https://[^#]+$"))
	and (.creationInfo.created == "2023-11-14T22:13:20Z") and (.creationInfo.creators | all(test("^(Tool|Person|Organization): ")))'
holds "identifiers are SPDXRef-... and unique" '[.SPDXID, (.packages + .files)[].SPDXID] | all(test("^SPDXRef-[A-Za-z0-9.-]+$")) and length == (unique | length)'
holds "packages have what they must" '.packages | length > 10 and all((.name | length > 0) and (.versionInfo | length > 0)
	and .downloadLocation == "NOASSERTION" and .filesAnalyzed == false)'
holds "files have a SHA1" '.files | all((.fileName | startswith("./")) and ([.checksums[] | select(.algorithm == "SHA1") | .checksumValue] | length == 1 and all(test("^[0-9a-f]{40}$"))))'
holds "SHA512 are as long as they are" '[.packages[].checksums // [] | .[] | select(.algorithm == "SHA512") | .checksumValue | test("^[0-9a-f]{128}$")] | length > 0 and all'
holds "relationships are of the specification, between what is there" '[.SPDXID, (.packages + .files)[].SPDXID] as $known | .relationships
	| all((.relationshipType | IN("DESCRIBES", "CONTAINS", "DYNAMIC_LINK", "STATIC_LINK", "BUILD_TOOL_OF"))
		and (.spdxElementId | IN($known[])) and (.relatedSpdxElement | IN($known[])))'
holds "everything is related to something" '[.relationships[] | .spdxElementId, .relatedSpdxElement] as $related | [(.packages + .files)[].SPDXID] | all(IN($related[]))'

# Each library that a program needs, by a package that has it.
for name in nijimi nijimid nijimi-qemu nijimi-agent.so nijimi-profile.so; do
	[[ $(sha256sum < "$BUILD/$name") == "$(jq -r --arg name "./$name" '.files[] | select(.fileName == $name)
		| .checksums[] | select(.algorithm == "SHA256") | .checksumValue' "$SBOM")  -" ]] || die "$name has another digest"
	needs=$(readelf -dW "$BUILD/$name" | grep -c '(NEEDED)')
	links=$(jq --arg id "SPDXRef-file-$name" '[.relationships[] | select(.spdxElementId == $id and .relationshipType == "DYNAMIC_LINK")] | length' "$SBOM")
	# The loader and the C library are of one package.
	((links > 0 && links <= needs && links >= needs - 2)) || die "$name needs $needs libraries, and the SBOM has $links packages"
done
while read -r library; do
	package=$(jq -r --arg prefix "${library%.so*}" '.packages[] | select(.name | startswith($prefix)) | .versionInfo' "$SBOM")
	[[ $package == "$(dpkg-query -W -f '${Version}\n' "${library%.so*}*" 2> /dev/null | grep -Fx "$package" | head -n 1)" ]] && [[ -n $package ]] ||
		die "$library: the SBOM has version '$package'"
done < <(readelf -dW "$BUILD/nijimid" | sed -n 's/.*(NEEDED).*\[\(lib\(sqlite3\|microhttpd\|systemd\)\.so.*\)\]/\1/p')

# Each package of the lock but for esbuild's own for all systems, with the lock's digest.
wanted=$(jq -r '.packages | to_entries[] | select(.key != "" and (.key | test("@esbuild/") | not))
	| (.key | sub("^.*node_modules/"; "")) + " " + .value.version + " " + .value.integrity' "$SOURCE/web/package-lock.json" |
	while read -r name version integrity; do
		printf '%s %s %s\n' "$name" "$version" "$(base64 -d <<< "${integrity#sha512-}" | od -An -v -tx1 | tr -d ' \n')"
	done | sort)
have=$(jq -r '.packages[] | select(.SPDXID | startswith("SPDXRef-npm-")) | "\(.name) \(.versionInfo) \(.checksums[0].checksumValue)"' "$SBOM" | sort)
[[ -n $wanted && $wanted == "$have" ]] || die "npm's packages are not those of the lock: $(diff <(echo "$wanted") <(echo "$have"))"

! "$SOURCE/system/sbom" "$WORK" "$WORK/none.json" 2> "$WORK/error" || die "a build that is not there has an SBOM"
grep -q 'build first' "$WORK/error" || die "and no word of why: $(cat "$WORK/error")"
