#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# hostile.sh BUILD: whatever names in a guest contain (hostile_agent.c), every output shows them as text. A row an output.
set -u

BUILD=$1
WORK=$(mktemp -d /tmp/nijimi-hostile.XXXXXX)
export NIJIMI_SOCKET=$WORK/socket ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-}
TMUX_NAME=nijimi-hostile-$$
trap 'tmux -L "$TMUX_NAME" kill-server 2> /dev/null; exec 7>&-; kill $(jobs -p) 2> /dev/null; rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
FAILED=0 CHECKS=0
readonly NAMES=15 OBJECTS=60

# output            how it is made (VM is its UUID)                               what it is
readonly OUTPUTS='
vms                 nijimi vms                                                    text
files               nijimi files VM                                               list
processes           nijimi processes VM                                           list
sockets             nijimi sockets VM                                             list
edges               nijimi edges VM                                               list
trace               nijimi trace VM "#1"                                          text
trace-json          nijimi trace VM "#1" --json                                   json_of_some
trace-of-many       refused nijimi trace VM "/**"                                 text
watch               watched                                                       list
watch-json          watched --json                                                json
explain             nijimi explain VM                                             text
state               nijimi state VM                                               list
status              nijimi status                                                 text
alerts              nijimi alerts                                                 list
audit               nijimi audit                                                  text
policy              nijimi policy show                                            text
terminal-json       nijimi state VM --json                                        json
vms-json            nijimi vms --json                                             json
alerts-json         nijimi alerts --json                                          json
top-json            nijimi top --json                                             json
dot                 nijimi graph VM --group none                                  dot
dot-grouped         nijimi graph VM --group coarse                                text
svg                 nijimi graph VM --group none --format svg                     svg
graphml             nijimi graph VM --format graphml                              graphml
graph-json          nijimi graph VM --format json                                 json
html                nijimi report VM --html                                       html
markdown            nijimi report VM --markdown                                   markdown
report-json         nijimi report VM --json                                       json
log                 cat daemon.log                                                text
'

fail()
{
	echo "FAILED: $NAME: $*"
	FAILED=1
}

nijimi()
{
	"$BUILD/nijimi" "$@"
}

# It goes on until it is stopped.
watched()
{
	timeout 2 "$BUILD/nijimi" watch --last 1000 "$@"
	(($? == 124))
}

# What is refused, and tells why with the names.
refused()
{
	! "$@"
}

# What a terminal, or whoever reads, would obey; not by way of our own tables.
check_text()
{
	iconv -f UTF-8 -t UTF-8 "$1" > /dev/null 2>&1 || fail "no UTF-8"
	! LC_ALL=C.UTF-8 grep -qP '[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{ad}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{feff}\x{fffe}\x{ffff}]' "$1" ||
		fail "characters that are obeyed: $(LC_ALL=C.UTF-8 grep -m1 -P '[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{ad}\x{200b}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{feff}\x{fffe}\x{ffff}]' "$1" | cut -c 1-200 | cat -v)"
	! grep -q '^# title' "$1" || fail "a name has made a line"
}

# Each of the names is there.
check_names()
{
	local name

	for ((name = 0; name < NAMES; name++)); do
		grep -q "$(printf 'name%02d-' "$name")" "$1" || fail "name $name is not there"
	done
}

check_list()
{
	check_text "$1"
	check_names "$1"
}

check_json()
{
	check_text "$1"
	jq -e . "$1" > /dev/null || fail "no JSON"
	[[ $NAME == vms-json ]] || check_names "$1"
}

check_json_of_some()
{
	check_text "$1"
	jq -e . "$1" > /dev/null || fail "no JSON"
}

# count XPATH FILE
count()
{
	xmllint --nonet --huge --xpath "count($1)" "$2" 2> /dev/null
}

# check_xml FILE ELEMENT...: well-formed, with no other elements than these, nothing that acts or is fetched.
check_xml()
{
	local file=$1 allowed=''

	shift
	check_text "$file"
	xmllint --nonet --noout --huge "$file" 2> xml-errors || { fail "not well-formed: $(head -n 3 xml-errors)"; return; }
	printf -v allowed " or local-name()='%s'" "$@"
	[[ $(count "//*[not(false()$allowed)]" "$file") == 0 ]] || fail "other elements than it should have"
	[[ $(count "//@*[starts-with(local-name(), 'on') or local-name()='href' or local-name()='src']" "$file") == 0 ]] ||
		fail "attributes that act"
}

readonly SVG_ELEMENTS=(svg g title polygon polyline path ellipse text)

check_svg()
{
	check_xml "$1" "${SVG_ELEMENTS[@]}"
	check_names "$1"
	[[ $(count "//*[@class='node']" "$1") == "$OBJECTS" ]] || fail "not $OBJECTS nodes"
}

check_graphml()
{
	check_xml "$1" graphml key graph node edge data
	check_names "$1"
	[[ $(count "//*[local-name()='node']" "$1") == "$OBJECTS" ]] || fail "not $OBJECTS nodes"
}

check_html()
{
	check_xml "$1" html head meta style title body h1 h2 h3 p div span table thead tbody tr th td code "${SVG_ELEMENTS[@]}"
	check_names "$1"
	[[ $(count "//*[local-name()='h1']" "$1") == 1 ]] || fail "a name has made a heading"
}

check_dot()
{
	check_text "$1"
	check_names "$1"
	[[ $(dot -Tplain "$1" 2> /dev/null | grep -c '^node ') == "$OBJECTS" ]] || fail "not $OBJECTS nodes"
	[[ $(dot -Tplain "$1" 2> /dev/null | grep -c '^edge ') == $((NAMES * 3)) ]] || fail "not $((NAMES * 3)) edges"
}

# As a renderer that lets everything through shows it.
check_markdown()
{
	check_list "$1"
	{
		echo '<html>'
		cmark-gfm --unsafe -e table -e autolink -e strikethrough "$1"
		echo '</html>'
	} > rendered.html
	check_xml rendered.html html h1 h2 h3 p strong blockquote table thead tbody tr th td code ul li
}

# Waits for the terminal's screen to have the text.
await_screen()
{
	local i

	for ((i = 0; i < 100; i++)); do
		tmux -L "$TMUX_NAME" capture-pane -p > screen 2> /dev/null
		! grep -q -- "$1" screen || return 0
		sleep 0.1
	done
	fail "the screen never shows '$1'"
	cat screen
}

# Every page, down to the details of every edge.
check_top()
{
	local edge

	tmux -L "$TMUX_NAME" -f /dev/null new-session -d -x 80 -y 24 "LC_ALL=C.UTF-8 '$BUILD/nijimi' top --interval 60"
	await_screen EDGES
	check_text screen
	tmux -L "$TMUX_NAME" send-keys Enter
	await_screen 'files of'
	for ((edge = 0; edge < 12; edge++)); do
		check_text screen
		tmux -L "$TMUX_NAME" send-keys NPage
		sleep 0.1
		tmux -L "$TMUX_NAME" capture-pane -p > screen
	done
	tmux -L "$TMUX_NAME" send-keys Escape
	await_screen EDGES
	tmux -L "$TMUX_NAME" send-keys Tab Tab
	for ((edge = 0; edge < NAMES; edge++)); do
		tmux -L "$TMUX_NAME" send-keys Enter
		await_screen 'how it got there'
		check_text screen
		[[ $(grep -c . screen) -ge 5 ]] || fail "the screen was cleared"
		tmux -L "$TMUX_NAME" send-keys Escape
		await_screen EDGES
		tmux -L "$TMUX_NAME" send-keys Down Down Down Down
	done
	tmux -L "$TMUX_NAME" send-keys q
}

NAME=preparation
printf '%s\n' 'version: 1' 'sinks: [{name: internet, kind: inet}]' 'rules: [{label: "*", sink: internet, action: alert}]' > policy.yaml
"$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --no-state --policy policy.yaml 2> daemon.log &
for ((i = 0; i < 100; i++)); do
	nijimi status > /dev/null 2>&1 && break
	sleep 0.1
done
mkfifo life
"$BUILD/tests/unit/hostile_agent" "$NIJIMI_SOCKET" < life > agent.out &
exec 7> life
for ((i = 0; i < 100; i++)); do
	grep -q done agent.out && break
	sleep 0.1
done
VM=$(nijimi vms --json | jq -r '.[0].uuid')
nijimi mark "$VM" $'/a\e[31m<b>' classified > /dev/null 2>&1
nijimi clear "$VM" $'/\e[31m`|<b>' > /dev/null 2>&1

while read -r NAME line; do
	[[ -n $NAME ]] || continue
	kind=${line##* }
	: $((CHECKS++))
	eval "set -- ${line% *}"
	"${@//VM/$VM}" > "$NAME.out" 2> "$NAME.err" < /dev/null || fail "status $?: $(head -c 300 "$NAME.err" | cat -v)"
	check_text "$NAME.err"
	"check_$kind" "$NAME.out"
done <<< "$OUTPUTS"

# What is wrong is told with the value.
NAME=errors
for arguments in "files" "graph --from" "edges --label" "report"; do
	# shellcheck disable=SC2086 # words
	nijimi $arguments $'\e[31m\u202e\xff' > /dev/null 2> error
	check_text error
done
NAME=top
check_top
[[ ! -e owned ]] || fail "a name was run"

# Who does wrong again and again does not fill the log, and that more was left out is said.
NAME=log
for ((i = 0; i < 40; i++)); do
	socat -u SYSTEM:'echo rubbish' "UNIX-CONNECT:$NIJIMI_SOCKET" 2> /dev/null
done
nijimi status > /dev/null || fail "the daemon does not answer"
[[ $(grep -c 'it speaks no protocol of ours' daemon.log) == 30 ]] || fail "$(grep -c 'no protocol' daemon.log) lines, not 30"
[[ $(grep -c 'more about its processes is left out' daemon.log) == 1 ]] || fail "that more is left out is not said once"
((CHECKS >= 24)) || fail "only $CHECKS outputs"
echo "$CHECKS outputs, $NAMES names each"
exit $FAILED
