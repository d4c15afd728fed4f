# shellcheck shell=bash
# What every part of the lab shares: where things are, how it speaks, how it cleans up.
# Sourced, never run.

set -Eeuo pipefail
# Nothing ends without a word.
trap 'printf "%s: stopped at %s:%s: %s\n" "$LAB_NAME" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for those who source this file
REPOSITORY=$(dirname "$LAB_SOURCE")

# depmod and mke2fs are there, and not in everyone's PATH.
export PATH=$PATH:/usr/sbin:/sbin

# One cache for all checkouts. The box sees the same files at the same paths.
# shellcheck disable=SC2034 # for those who source this file
NIJIMI_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/nijimi
# shellcheck disable=SC2034
LAB_CACHE=$NIJIMI_CACHE/lab

# Exit codes of lab/host, lab/lab and `./run lab` (documented in `lab/host --help`).
# shellcheck disable=SC2034
readonly EXIT_SCRIPT=1 EXIT_USAGE=2 EXIT_SETUP=3 EXIT_BOOT=4 EXIT_TRACE=5 EXIT_TIMEOUT=6 \
	EXIT_DIED=7 EXIT_HOST_SCRIPT=8 EXIT_STATE=9
# Exit codes of lab/box when it is the box that failed; any other is the command's own.
# shellcheck disable=SC2034
readonly EXIT_BOX_TIMEOUT=124 EXIT_BOX=125

LAB_NAME=${0##*/}

say()
{
	printf '%s: %s\n' "$LAB_NAME" "$*" >&2
}

# die STATUS SENTENCE...
die()
{
	local status=$1

	shift
	say "$@"
	exit "$status"
}

# usage_die SENTENCE...: bad use gets one line.
usage_die()
{
	die "$EXIT_USAGE" "$* (--help tells more)"
}

# print_usage FILE: the comment block at the top of FILE is its help.
print_usage()
{
	sed -n '2,/^$/{s/^# \{0,1\}//p;}' "$1"
}

is_number()
{
	[[ $1 =~ ^[1-9][0-9]{0,6}$ ]]
}

# is_line TEXT LINES: whether TEXT is one of LINES.
is_line()
{
	grep -qxF -e "$1" <<< "$2"
}

# Commands to run when the shell ends, last one first.
CLEANUPS=()

on_exit()
{
	CLEANUPS=("$*" "${CLEANUPS[@]}")
}

run_cleanups()
{
	local status=$? command

	trap '' INT TERM HUP
	for command in "${CLEANUPS[@]}"; do
		eval "$command" || true
	done
	exit "$status"
}

# arm_cleanups: from here on the cleanups run, whatever ends the shell.
arm_cleanups()
{
	trap run_cleanups EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# kill_child PID: end a process that this shell started, and wait until it is gone.
kill_child()
{
	kill -KILL "$1" 2>/dev/null || return 0
	wait "$1" 2>/dev/null || true
}

# ask_registers SOCKET: of each processor of the QEMU whose QMP is there, three times, a second apart; nothing if it does not answer.
ask_registers()
{
	{
		echo '{ "execute": "qmp_capabilities" }'
		for _ in 1 2 3; do
			sleep 1
			echo '{ "execute": "human-monitor-command", "arguments": { "command-line": "info registers -a" } }'
		done
		sleep 2
	} | timeout 20 socat - "UNIX-CONNECT:$1" 2> /dev/null | jq -r '.return | strings' 2> /dev/null | tr -d '\r' || true
}

# keep_awake SOCKET: QEMU 10.0's emulated AMD-V now and then forgets that an interrupt is pending while a guest runs (a
# local APIC has it in its IRR, and nothing is delivered any more). If that guest spins, all stands still, until the next interrupt comes from
# elsewhere: a key, of the QEMU whose second QMP is there.
keep_awake()
{
	{
		until [[ -S $1 ]]; do
			sleep 0.1
		done
		{
			echo '{ "execute": "qmp_capabilities" }'
			while sleep 2; do
				echo '{ "execute": "human-monitor-command", "arguments": { "command-line": "sendkey shift" } }'
			done
		} | socat - "UNIX-CONNECT:$1"
	} > /dev/null 2>&1 < /dev/null &
	on_exit "kill_child $!"
}

# deadline SECONDS: the value of SECONDS (bash's clock) when that time is over.
deadline()
{
	echo $((SECONDS + $1))
}

# read_line FD DEADLINE: one line of FD into LINE. Returns 1 when the writer is gone, 2 when time is up.
read_line()
{
	local fd=$1 left=$(($2 - SECONDS)) status=0

	((left > 0)) || return 2
	IFS= read -r -t "$left" -u "$fd" LINE || status=$?
	((status == 0)) || { ((status > 128)) && return 2 || return 1; }
	LINE=${LINE%$'\r'}
}

# absolute PATH: PATH as the box sees it.
absolute()
{
	realpath -m -- "$1"
}
