# SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/) of what `sbom` has found: see there.

def id($kind; $name): "SPDXRef-" + $kind + "-" + ($name | gsub("[^A-Za-z0-9.]"; "-"));
def is_tool: .key | test("(^|/)(@esbuild/|esbuild$)");

# npm tells digests in base64, SPDX in hexadecimal digits.
def digits: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
def two_digits: "0123456789abcdef" as $hex | (. / 16 | floor) as $high | $hex[$high:$high + 1] + $hex[. % 16:. % 16 + 1];
def base64_to_hex:
	[gsub("="; "") | split("")[] as $letter | digits | index($letter)]
	| [range(0; length; 4) as $i | .[$i:$i + 4] | (length - 1) as $bytes
		| reduce (.[0], .[1], .[2] // 0, .[3] // 0) as $six (0; . * 64 + $six)
		| [(. / 65536 | floor), (. / 256 | floor) % 256, . % 256][:$bytes][] | two_digits]
	| join("");
def sha512: sub("^sha512-"; "") | base64_to_hex;

($lock[0].packages | to_entries | map(select(.key != "" and (.key | test("@esbuild/") | not)))) as $npm
| ($debian | group_by(.package) | map(.[0])) as $packages
| {
	spdxVersion: "SPDX-2.3",
	dataLicense: "CC0-1.0",
	SPDXID: "SPDXRef-DOCUMENT",
	name: ("nijimi-" + $version),
	documentNamespace: ("https://spdx.org/spdxdocs/nijimi-" + $version + "-" + $digest),
	creationInfo: {created: $created, creators: ["Tool: nijimi-sbom-" + $version]},
	packages: ([{
			SPDXID: "SPDXRef-nijimi", name: "nijimi", versionInfo: $version, downloadLocation: "NOASSERTION",
			filesAnalyzed: false, licenseConcluded: "NOASSERTION", licenseDeclared: "GPL-2.0-or-later",
			copyrightText: "NOASSERTION", primaryPackagePurpose: "APPLICATION"
		}]
		+ ($packages | map({
			SPDXID: id("deb"; .package), name: .package, versionInfo: .version, downloadLocation: "NOASSERTION",
			supplier: "Organization: Debian", sourceInfo: ("Debian source package " + .source), filesAnalyzed: false,
			licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION",
			externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
				referenceLocator: ("pkg:deb/debian/" + (.package | @uri) + "@" + (.version | @uri) + "?arch=" + .architecture)}]
		}))
		+ ($npm | map((.key | sub("^.*node_modules/"; "")) as $name | {
			SPDXID: id("npm"; $name), name: $name, versionInfo: .value.version, downloadLocation: "NOASSERTION",
			filesAnalyzed: false, licenseConcluded: "NOASSERTION", licenseDeclared: (.value.license // "NOASSERTION"),
			copyrightText: "NOASSERTION",
			checksums: [{algorithm: "SHA512", checksumValue: (.value.integrity | sha512)}],
			externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
				referenceLocator: ("pkg:npm/" + ($name | sub("^@"; "%40")) + "@" + .value.version)}]
		}))),
	files: ($files | map({
		SPDXID: id("file"; .name), fileName: ("./" + .name), fileTypes: ["BINARY"],
		checksums: [{algorithm: "SHA1", checksumValue: .sha1}, {algorithm: "SHA256", checksumValue: .sha256}],
		licenseConcluded: "NOASSERTION", licenseInfoInFiles: ["NOASSERTION"], copyrightText: "NOASSERTION"
	})),
	relationships: ([{spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: "SPDXRef-nijimi"}]
		+ ($files | map({spdxElementId: "SPDXRef-nijimi", relationshipType: "CONTAINS", relatedSpdxElement: id("file"; .name)}))
		+ ($debian | map(
			if .relation == "tool" then {spdxElementId: id("deb"; .package), relationshipType: "BUILD_TOOL_OF", relatedSpdxElement: "SPDXRef-nijimi"}
			elif .relation == "contains" then {spdxElementId: id("file"; .program), relationshipType: "STATIC_LINK", relatedSpdxElement: id("deb"; .package)}
			else {spdxElementId: id("file"; .program), relationshipType: "DYNAMIC_LINK", relatedSpdxElement: id("deb"; .package)} end))
		+ ($npm | map(id("npm"; .key | sub("^.*node_modules/"; "")) as $id
			| if is_tool then {spdxElementId: $id, relationshipType: "BUILD_TOOL_OF", relatedSpdxElement: "SPDXRef-nijimi"}
			else {spdxElementId: id("file"; "nijimid"), relationshipType: "CONTAINS", relatedSpdxElement: $id} end)))
}
