#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# manual.sh SOURCE BUILD: manuals and completion say what `--help` says, no more and no less.
set -u

SOURCE=$1 BUILD=$2 FAILED=0

fail()
{
	echo "FAILED: $*"
	FAILED=1
}

# options_of_help PROGRAM [COMMAND]
options_of_help()
{
	"$@" --help | sed -n 's/^  \(--[a-z-]*\).*/\1/p' | LC_ALL=C sort -u
}

# options_of_manual: those of the mdoc text on standard input.
options_of_manual()
{
	grep -oE 'Fl -[a-z][a-z-]*' | sed 's/^Fl -/--/' | LC_ALL=C sort -u
}

# same WHAT EXPECTED FOUND
same()
{
	[[ $2 == "$3" ]] || fail "$1: $(diff <(echo "$2") <(echo "$3") | grep '^[<>]' | tr '\n' ' ') (<: missing, >: not in --help)"
}

# complete_words WORD...: what is offered for the last.
complete_words()
{
	COMP_WORDS=("$@")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	"_${1##*/}"
	printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort -u
}

# shellcheck source=system/completion.bash
. "$SOURCE/system/completion.bash"

readonly COMMON=$'--help\n--json\n--socket'
commands=$("$BUILD/nijimi" --help | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p' | LC_ALL=C sort -u)
[[ $(wc -l <<< "$commands") -ge 10 ]] || fail 'nijimi --help lists no commands'

same 'nijimi(1), commands' "$commands" \
	"$(sed -n '/^\.Sh COMMANDS/,/^\.Sh ENVIRONMENT/s/^\.Ss //p' "$SOURCE/docs/man/nijimi.1" | LC_ALL=C sort -u)"
same 'nijimi(1), options of every command' "$COMMON" \
	"$(sed -n '/^Every command takes/,/^\.Sh COMMANDS/p' "$SOURCE/docs/man/nijimi.1" | options_of_manual)"
same 'completion, commands' "$(printf '%s\n--help\n--version\n' "$commands" | LC_ALL=C sort -u)" "$(complete_words "$BUILD/nijimi" '')"
for command in $commands; do
	options=$(options_of_help "$BUILD/nijimi" "$command")
	# The synopsis of a command, which ends with the first paragraph.
	synopsis=$(sed -n "/^\.Ss $command\$/,/^\.Pp/p" "$SOURCE/docs/man/nijimi.1" | options_of_manual)
	same "nijimi(1), $command" "$options" "$(printf '%s\n' "$COMMON" "$synopsis" | sed '/^$/d' | LC_ALL=C sort -u)"
	same "completion, $command" "$options" "$(complete_words "$BUILD/nijimi" "$command" --)"
	# What takes a value offers no options for it.
	for option in $("$BUILD/nijimi" "$command" --help | sed -n 's/^  \(--[a-z-]*\) [A-Z].*/\1/p'); do
		[[ $(complete_words "$BUILD/nijimi" "$command" "$option" '') != *--* ]] || fail "completion: $option has no value"
	done
	grep -qE "^\| .?nijimi.*\`?$command\b|\`$command\`" "$SOURCE/docs/commands.md" || fail "docs/commands.md has no $command"
done

options=$(options_of_help "$BUILD/nijimid")
[[ $(wc -l <<< "$options") -ge 10 ]] || fail 'nijimid --help lists no options'
same 'nijimid(8), synopsis' "$options" "$(sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$SOURCE/docs/man/nijimid.8" | options_of_manual)"
same 'nijimid(8), list' "$options" "$(sed -n '/^\.Sh DESCRIPTION/,/^\.Sh WHO/p' "$SOURCE/docs/man/nijimid.8" | grep '^\.It' | options_of_manual)"
same 'completion of nijimid' "$options" "$(complete_words "$BUILD/nijimid" '')"

# The example of nijimi-policy(5) is a policy.
example=$(mktemp)
trap 'rm -f "$example"' EXIT
sed -n '/^\.Bd -literal/,/^\.Ed/p' "$SOURCE/docs/man/nijimi-policy.5" | sed '1d; $d' > "$example"
"$BUILD/nijimi" policy check "$example" || fail 'the example of nijimi-policy(5) is wrong'

if command -v mandoc > /dev/null; then
	said=$(mandoc -T lint -W warning "$SOURCE"/docs/man/*.[1-8] 2>&1) || fail "mandoc: $said"
fi
exit $FAILED
