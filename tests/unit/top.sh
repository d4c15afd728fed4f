#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# top.sh BUILD: `nijimi top` on a terminal (tmux), with an agent that does what it is told.
set -u

BUILD=$1
WORK=$(mktemp -d /tmp/nijimi-top.XXXXXX)
export NIJIMI_SOCKET=$WORK/socket ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-}
# What ncurses keeps of a terminal at a program's end is not ours to free.
printf 'leak:libtinfo\nleak:libncursesw\n' > "$WORK/leaks"
export LSAN_OPTIONS=suppressions=$WORK/leaks:print_suppressions=0
OPENED=0
trap 'terminal kill-server 2> /dev/null; exec 7>&-; kill $(jobs -p) 2> /dev/null; rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
FAILED=0

fail()
{
	echo "FAILED: $*"
	[[ ! -e screen ]] || sed 's/^/    /' screen
	FAILED=1
}

terminal()
{
	tmux -L "nijimi-top-$$-$OPENED" -f /dev/null "$@"
}

# shows TEXT / hides TEXT: on the screen, within 15 s.
shows()
{
	local i

	for ((i = 0; i < 150; i++)); do
		terminal capture-pane -p > screen
		! grep -qE -- "$1" screen || return 0
		sleep 0.1
	done
	fail "the screen never shows '$1'"
}

hides()
{
	local i

	for ((i = 0; i < 150; i++)); do
		terminal capture-pane -p > screen
		grep -qE -- "$1" screen || return 0
		sleep 0.1
	done
	fail "the screen goes on to show '$1'"
}

press()
{
	terminal send-keys "$@"
}

# open COLUMNS ROWS ENVIRONMENT...: a terminal of its own with top, and then the status that it returned.
open()
{
	((OPENED += 1))
	terminal new-session -d -x "$1" -y "$2" \
		"env ${*:3} '$BUILD/nijimi' top --interval 1; echo \"status \$?\"; exec sleep 1000"
}

start_daemon()
{
	"$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --no-state --policy policy.yaml 2>> daemon.log &
	DAEMON=$!
	for ((i = 0; i < 100; i++)); do
		"$BUILD/nijimi" status > /dev/null 2>&1 && return
		sleep 0.1
	done
}

tell()
{
	printf '%s\n' "$@" >&7
}

# Where it cannot be, it says so, and what to do.
"$BUILD/nijimi" top > out 2> err < /dev/null && fail "it runs without a terminal"
grep -q 'top needs a terminal.*--json' err || fail "no terminal: $(cat err)"
open 80 24 TERM=dumb
shows 'TERM=dumb. cannot be drawn on: set TERM'
shows 'nijimi status'
shows 'status 1'
terminal kill-server
open 80 24 TERM=no-such-terminal
shows 'status 1'
terminal kill-server
open 80 24
shows 'no daemon answers'
shows 'status 1'
terminal kill-server

printf '%s\n' 'version: 1' 'labels: [{name: plans, files: /plans/**}]' 'sinks: [{name: internet, kind: inet}]' \
	'rules: [{label: "*", sink: internet, action: alert}]' > policy.yaml
start_daemon
mkfifo life
"$BUILD/tests/unit/policy_agent" "$NIJIMI_SOCKET" web 5 < life > agent.out &
exec 7> life
tell 'vm 3 66' labels 'name 1 plans' 'file 1 ext4 /plans/roadmap' 'edge 0 1 2 classified' 'process 2 501 /usr/bin/cat' 'edge 1 2 2 read'

# All of it at 80 x 24, with nothing wider.
open 80 24 LC_ALL=C.UTF-8
shows '^nijimi .* 1 of 1 VMs traced, 0 alerts'
shows '^VMS '
shows '^LABELS '
shows '^EDGES '
shows '^ALERTS '
shows '^web +armed +6\.1 +1 +1 +0 '
shows '^plans +2 '
shows ' web +read +/plans/roadmap +> cat\[501\]'
shows 'Enter more .* q quit'
[[ $(awk '{ print length }' screen | sort -n | tail -n 1) -le 80 ]] || fail "wider than the terminal"

# What is new comes by itself, the newest first.
tell 'file 3 ext4 /tmp/滲み-copy' 'edge 2 3 2 write'
shows ' write +cat\[501\] +> /tmp/滲み-copy'
tell 'endpoint 4 2 1 203.0.113.9:443 501 /usr/bin/cat' 'edge 2 4 2 sendto'
shows ' web +left +plans +203.0.113.9:443'
shows '1 alerts'

# A VM, something in it, and the way there; and back.
press Enter
shows '^nijimi +VM web'
shows '^UUID +42424242-'
shows '^files of web'
shows '/plans/roadmap +\(plans\)'
press G
press k k
terminal capture-pane -p > screen
press g
for _ in 1 2 3 4 5 6; do press Down; done
press Enter
shows '^how it got there'
press Escape
shows '^files of web'
press Escape
shows '^EDGES '

# Lists, one after the other.
press Tab Enter
shows '^nijimi +label plans'
shows '^processes of web'
press Left
shows '^EDGES '
press Tab Enter
shows '^to +inet 203.0.113.9:443'
shows '^how it got there'
shows ' classified: /plans/roadmap'
press Escape Tab Enter
shows '^nijimi +alert of web'
shows 'by +cat\[501\] \(/usr/bin/cat\)'
press Escape
press '?'
shows 'hold still'
press Escape
shows '^EDGES '

# Held still, nothing moves.
press p
shows 'held still'
tell 'file 5 ext4 /tmp/later' 'edge 2 5 2 write'
sleep 2.5
terminal capture-pane -p > screen
! grep -q '/tmp/later' screen || fail "it is not still"
press p
shows '/tmp/later'

# Other sizes.
terminal resize-window -x 120 -y 40
shows '^EDGES '
shows ' > /tmp/later'
terminal resize-window -x 20 -y 5
shows 'too small'
terminal resize-window -x 40 -y 12
hides 'too small'
shows '^EDGES '
terminal resize-window -x 80 -y 24
shows '1 of 1 VMs traced'

# A daemon that goes away, and comes back.
kill "$DAEMON"
shows 'no daemon answers|closed the connection'
shows '^EDGES '
start_daemon
hides 'no daemon answers|closed the connection'
press q
shows 'status 0'
terminal kill-server

# A terminal of another character set.
tell again 'vm 3 66' 'file 3 ext4 /tmp/滲み-copy' 'edge 0 3 1 classified'
open 80 24 LC_ALL=C
shows '^EDGES '
shows '/tmp/\?\?-copy'
press q
shows 'status 0'

"$BUILD/nijimi" top --json | jq -e '(.vms | length) == 1 and (.edges | length) == 1 and (.labels | length) == 1 and (.alerts | type) == "array"' > /dev/null ||
	fail "--json"
exit $FAILED
