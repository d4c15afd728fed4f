# shellcheck shell=bash
# Debian packages of any suite, downloaded and unpacked in the lab's cache through an apt of its own:
# own sources, lists, cache and status. Signatures are checked; the system's apt is only read.
#
# A *view* is such an apt, seeing a few suites of the mirror that the system itself uses.
# Its packages stay in the cache, so a view is refreshed only when a package is missing.

readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly APT_CACHE=$LAB_CACHE/apt

# system_sources: the system's binary package sources, one a line: URI SUITE COMPONENT...
system_sources()
{
	local file

	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -r $file ]] || continue
		sed -nE 's/[[:space:]]*#.*//; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]*)?//p' "$file"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ -r $file ]] || continue
		# One stanza a paragraph; a value may go on in indented lines.
		awk -v RS= '
		{
			split("", field); name = ""
			lines = split($0, line, "\n")
			for (i = 1; i <= lines; i++) {
				if (line[i] ~ /^#/)
					continue
				if (line[i] ~ /^[A-Za-z-]+:/) {
					name = tolower(line[i]); sub(/:.*/, "", name)
					sub(/^[^:]*:[ \t]*/, "", line[i])
				}
				field[name] = field[name] " " line[i]
			}
			if (field["types"] !~ /(^| )deb( |$)/ || tolower(field["enabled"]) ~ /no/)
				next
			uris = split(field["uris"], uri, " ")
			suites = split(field["suites"], suite, " ")
			for (u = 1; u <= uris; u++)
				for (s = 1; s <= suites; s++)
					print uri[u], suite[s], field["components"]
		}' "$file"
	done
}

# debian_mirror: the URI that the system gets its own release from; it serves the other suites too.
debian_mirror()
{
	local release uri suite components

	release=$(release_name)
	while read -r uri suite components; do
		[[ $suite == "$release" && " $components " == *" main "* ]] || continue
		echo "$uri"
		return 0
	done < <(system_sources)
	die "$EXIT_SETUP" "no source for Debian $release (main) among the system's apt sources"
}

# release_name: bookworm, trixie, ...
release_name()
{
	(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
}

# view_sources SUITE...: the view's sources. A suite that the system has is taken from where the system
# takes it (a security archive lives elsewhere), any other from the mirror.
view_sources()
{
	local mirror suite uri

	mirror=$(debian_mirror)
	for suite; do
		uri=$(system_sources | awk -v suite="$suite" '$2 == suite { print $1; exit }')
		[[ -n $uri || $suite != *-security ]] || continue
		printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "${uri:-$mirror}" "$suite"
	done
}

# view_prepare VIEW SUITE...: writes the private configuration of a view.
view_prepare()
{
	local view=$APT_CACHE/$1

	mkdir -p "$view"/{lists/partial,archives/partial,state}
	: > "$view/status"
	view_sources "${@:2}" > "$view/sources.list"
	{
		# How to reach the mirror (proxies, freshness) is the system's business.
		apt-config dump | grep '^Acquire::' | grep -vE '^Acquire::(IndexTargets|Changelogs)' || true
		cat <<-END
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::sourcelist "$view/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$view/state";
		Dir::State::lists "$view/lists";
		Dir::State::status "$view/status";
		Dir::Cache "$view";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "";
		APT::Get::AllowUnauthenticated "false";
		Acquire::AllowInsecureRepositories "false";
		Acquire::Languages "none";
		Acquire::GzipIndexes "true";
		Acquire::Retries "3";
		END
	} > "$view/apt.conf"
}

# view_run VIEW COMMAND...: an apt command in that view.
view_run()
{
	APT_CONFIG=$APT_CACHE/$1/apt.conf "${@:2}"
}

declare -A VIEWS_REFRESHED=()

# view_refresh VIEW SUITE...: at most once in a run.
view_refresh()
{
	local view=$1 log=$APT_CACHE/$1/update.log

	[[ -z ${VIEWS_REFRESHED[$view]:-} ]] || return 0
	[[ -r $KEYRING ]] || die "$EXIT_SETUP" "$KEYRING is missing: install debian-archive-keyring"
	view_prepare "$@"
	say "reading the package lists of ${*:2}"
	# apt-get update exits with 0 even when a source could not be read.
	if ! view_run "$view" apt-get -q update > "$log" 2>&1 || grep -qE '^(E|Err|W: Failed)' "$log"; then
		grep -E '^(E|W|Err)' "$log" >&2 || tail -n 5 "$log" >&2
		die "$EXIT_SETUP" "the package lists of ${*:2} cannot be read"
	fi
	VIEWS_REFRESHED[$view]=1
}

# Ways to choose what to download, printed as PACKAGE=VERSION, one a line.

# choose_package VIEW PACKAGE
choose_package()
{
	view_run "$1" apt-cache show --no-all-versions "$2" |
		awk '/^Package:/ { name = $2 } /^Version:/ { print name "=" $2; exit }'
}

# choose_kernel VIEW METAPACKAGE: the kernel that the metapackage depends on now. Some releases have image and
# modules in one package, some in several.
choose_kernel()
{
	simulate_install "$1" "$2" | grep -E '^linux-(image|binary|modules|base)-[0-9]'
}

# choose_closure VIEW PACKAGE SUITE: the package and all that it needs, as on an empty system, so that
# it does not matter what the system has today; but the C library has to be the system's.
choose_closure()
{
	simulate_install "$1" -t "$3" "$2" |
		grep -vE '^(libc6|libgcc-s1|gcc-[0-9]+-base|debconf|passwd|adduser|libpam-[a-z-]*)='
}

# simulate_install VIEW ARGUMENT...: what would be installed on an empty system.
simulate_install()
{
	view_run "$1" apt-get -s install -y --no-install-recommends "${@:2}" |
		awk '/^Inst/ { gsub(/[()]/, ""); print $2 "=" $3 }'
}

# packages_fetch KEY VIEW "SUITE..." CHOOSE ARGUMENT...: puts the .deb files that CHOOSE selects into
# PACKAGES. KEY names the selection, which is kept: the same call works without network from then on.
packages_fetch()
{
	local key=$1 view=$2 suites=$3 choose=$4
	local store=$APT_CACHE/$view/debs list=$APT_CACHE/$view/$key.list chosen

	shift 4
	mkdir -p "$store"
	if ! packages_present "$store" "$list"; then
		# shellcheck disable=SC2086 # a list of suites
		view_refresh "$view" $suites
		chosen=$("$choose" "$view" "$@") || true
		[[ -n $chosen ]] || die "$EXIT_SETUP" "no package for $key in $suites"
		say "downloading $(wc -l <<< "$chosen") package(s) for $key"
		packages_download "$view" "$chosen"
		echo "$chosen" > "$list"
		packages_present "$store" "$list" || die "$EXIT_SETUP" "the packages for $key did not arrive"
	fi
}

# packages_download VIEW "PACKAGE=VERSION...": apt checks the signed hashes.
packages_download()
{
	local store=$APT_CACHE/$1/debs partial

	partial=$(mktemp -d "$store/partial.XXXXXX")
	# shellcheck disable=SC2086 # a list of packages
	(cd "$partial" && view_run "$1" apt-get -q download $2) > "$APT_CACHE/$1/download.log" 2>&1 || {
		tail -n 5 "$APT_CACHE/$1/download.log" >&2
		rm -rf "$partial"
		die "$EXIT_SETUP" "the download failed"
	}
	mv -f "$partial"/*.deb "$store"
	rmdir "$partial"
}

# packages_present STORE LIST: sets PACKAGES when every package of LIST is in STORE.
packages_present()
{
	local store=$1 list=$2 name version file

	PACKAGES=()
	[[ -s $list ]] || return 1
	while IFS='=' read -r name version; do
		# apt writes an epoch's colon as %3a in file names.
		for file in "$store/${name}_${version/:/%3a}"_*.deb; do
			[[ -f $file ]] || return 1
			PACKAGES+=("$file")
		done
	done < "$list"
}

# packages_unpack DIRECTORY: unpacks PACKAGES there.
packages_unpack()
{
	local file

	mkdir -p "$1"
	for file in "${PACKAGES[@]}"; do
		dpkg-deb -x "$file" "$1"
	done
}
