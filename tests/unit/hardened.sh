#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# hardened.sh SOURCE BUILD: that what was built is hardened as meson.build wants it, and that the agent brings nothing along.
set -u

SOURCE=$1 BUILD=$2
WRONG=0

# program          what it must call: the stack protector's and a checking function of the C library
readonly PROGRAMS='nijimi nijimid nijimi-qemu nijimi-agent.so nijimi-profile.so'
readonly AGENT_NEEDS='ld-linux-x86-64.so.2 libc.so.6' # older C libraries have threads and dl beside it

wrong()
{
	printf '%s\n' "$*"
	WRONG=1
}

# has PROGRAM WHAT PATTERN TEXT
has()
{
	grep -qE -- "$3" <<< "$4" || wrong "$1: $2 is missing"
}

check_program()
{
	local name=$1 program=$BUILD/$1 headers dynamic symbols

	[[ -f $program ]] || { wrong "$name was not built"; return; }
	headers=$(readelf -hlW "$program") dynamic=$(readelf -dW "$program") symbols=$(readelf --dyn-syms -W "$program")
	has "$name" "a place that changes (PIE)" 'Type: +DYN' "$headers"
	[[ $name == *.so ]] || has "$name" "a place that changes (PIE)" 'FLAGS_1.*PIE' "$dynamic"
	has "$name" "RELRO" 'GNU_RELRO' "$headers"
	has "$name" "BIND_NOW" 'FLAGS\).*BIND_NOW|\(BIND_NOW\)|FLAGS_1.*NOW' "$dynamic"
	has "$name" "a stack that says what it is" 'GNU_STACK' "$headers"
	! grep -qE 'GNU_STACK.* RWE ' <<< "$headers" || wrong "$name: the stack is executable"
	! grep -qE '^ +LOAD.* RWE ' <<< "$headers" || wrong "$name: memory that is written is executable"
	! grep -qE 'TEXTREL' <<< "$dynamic" || wrong "$name: code is changed as it is loaded"
	! grep -qE 'RPATH|RUNPATH' <<< "$dynamic" || wrong "$name: it looks for libraries where it was built"
	has "$name" "the stack protector" '__stack_chk_fail' "$symbols"
	has "$name" "_FORTIFY_SOURCE" '__[a-z]+_chk(@|$)' "$symbols"
	has "$name" "the mark for shadow stacks" 'x86 feature:.*SHSTK' "$(readelf -nW "$program")"
}

# check_objects: each of ours has landings for indirect branches, whatever the C library's start files have.
check_objects()
{
	local object count=0

	while read -r object; do
		((count += 1))
		grep -qE 'x86 feature: IBT, SHSTK' <<< "$(readelf -nW "$object" 2> /dev/null)" || wrong "$object: no landings for indirect branches"
	done < <(find "$BUILD" -path "$BUILD/tests" -prune -o -path "$BUILD/bench" -prune -o -path "$BUILD/package" -prune -o -name '*.c.o' -print)
	((count > 100)) || wrong "only $count objects were looked at"
}

# check_flags: what leaves no mark that can be told in a program.
check_flags()
{
	local without

	without=$(jq -r '.[] | select(.file | test("/(src|web)/|^[^/]*\\.c$")) | select((.command | contains("-fstack-clash-protection")
		and contains("-Werror=format-security") and contains("-fPIC")) | not) | .file' "$BUILD/compile_commands.json")
	[[ -z $without ]] || wrong "compiled without -fstack-clash-protection or -Werror=format-security: $without"
}

# check_agent: it lives with another program's libraries.
check_agent()
{
	local needs exports expected

	needs=$(readelf -dW "$BUILD/nijimi-agent.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
	for library in $needs; do
		[[ " $AGENT_NEEDS " == *" $library "* ]] || wrong "the agent needs $library"
	done
	exports=$(readelf --dyn-syms -W "$BUILD/nijimi-agent.so" | awk '$5 ~ /GLOBAL|WEAK/ && $7 != "UND" && $7 != "ABS" { sub(/@.*/, "", $8); print $8 }' | sort | xargs)
	expected=$(sed -n 's/.*global: *\(.*\)/\1/p' "$SOURCE/src/agent/agent.map" | tr -d ';' | tr ' ' '\n' | sort | xargs)
	[[ $exports == "$expected" ]] || wrong "the agent exports '$exports', and not '$expected'"
}

# check_paths: a name of the folder that it was built in would be another in each.
check_paths()
{
	local name

	for name in $PROGRAMS; do
		! grep -qaF "$SOURCE/" "$BUILD/$name" || wrong "$name has names of folders below $SOURCE in it: $(
			strings -a "$BUILD/$name" | grep -F "$SOURCE/" | head -n 2 | xargs)"
	done
}

for name in $PROGRAMS; do
	check_program "$name"
done
check_objects
check_flags
check_agent
check_paths
exit "$WRONG"
