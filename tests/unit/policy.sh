#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# policy.sh BUILD: nijimid with a policy, agents that follow a script (policy_agent.c), and nijimi.
set -u

BUILD=$1
WORK=$(mktemp -d /tmp/nijimi-policy.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
export NIJIMI_SOCKET=$WORK/socket
export NIJIMI_SYSLOG_SOCKET=$WORK/syslog NIJIMI_JOURNAL_SOCKET=$WORK/journal
FAILED=0 CHECKS=0
: > out; : > err

fail()
{
	echo "FAILED: $NAME: $*"
	sed 's/^/    out: /' out
	sed 's/^/    err: /' err
	FAILED=1
}

run()
{
	local expected=$1 status=0
	NAME=$2
	shift 2
	: $((CHECKS++))
	"$@" > out 2> err < /dev/null || status=$?
	[[ $status == "$expected" ]] || fail "status $status, not $expected"
}

says()
{
	grep -qE -e "$2" "$1" || fail "'$2' is not in $1"
}

silent()
{
	! grep -qE -e "$2" "$1" || fail "'$2' is in $1"
}

holds()
{
	jq -e "$1" out > /dev/null || fail "not true: $1"
}

nijimi()
{
	"$BUILD/nijimi" "$@"
}

wait_for()
{
	local i
	for ((i = 0; i < 100; i++)); do
		"$@" > /dev/null 2>&1 && return
		sleep 0.1
	done
	fail "never true: $*"
}

# agent NAME INSTANCE: a coprocess; `tell LINE` has it do something.
agent()
{
	coproc AGENT { "$BUILD/tests/unit/policy_agent" "$NIJIMI_SOCKET" "$1" "$2" 2>&1; }
	AGENT_PROCESS=$!
}

tell()
{
	local line
	echo "$*" >&"${AGENT[1]}"
	while read -r -t 10 line <&"${AGENT[0]}"; do
		case $line in
		"done: $*") return 0 ;;
		"failed: $*") fail "the agent could not: $*"; return 1 ;;
		*) echo "$line" >> told ;;
		esac
	done
	fail "the agent is silent: $*"
}

# The agent ends, and all that it has said has been read.
hang_up()
{
	eval "exec ${AGENT[1]}>&-"
	wait "$AGENT_PROCESS" 2> /dev/null
}

alerts_are()
{
	[[ $(nijimi alerts --json | jq length) == "$1" ]]
}

start_daemon()
{
	"$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --policy policy.yaml "$@" 2>> daemon.log &
	DAEMON=$!
	wait_for nijimi status
}

# A web server for the hook: refuses at first, then takes.
cat > hook.sh <<'END'
while IFS= read -r line; do
	line=${line%$'\r'}
	[[ $line ]] || break
	[[ ${line,,} == content-length:* ]] && length=${line#*: }
	[[ ${line,,} == x-key:* ]] && echo "$line" >> hook.headers
done
head -c "${length:-0}" >> hook.bodies
echo >> hook.bodies
if [[ $(wc -l < hook.bodies) == 1 ]]; then status='503 Busy'; else status='204 Thanks'; fi
printf 'HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$status"
END
socat TCP-LISTEN:0,bind=127.0.0.1,reuseaddr,fork EXEC:"bash hook.sh" 2> hook.log &
HOOK_PID=$!
for ((i = 0; i < 50; i++)); do
	PORT=$(ss -ltnpH 2> /dev/null | awk -v pid="pid=$HOOK_PID," 'index($0, pid) { sub(/.*:/, "", $4); print $4; exit }')
	[[ $PORT ]] && break
	sleep 0.1
done
socat -u UNIX-RECV:syslog OPEN:syslog.got,creat,append &
socat -u UNIX-RECV:journal OPEN:journal.got,creat,append &
cat > command.sh <<'END'
#!/bin/bash
[[ -e refuse ]] && exit 3
cat >> command.got
echo "${1:-}" >> command.arguments
END
sed -i "s|refuse|$WORK/refuse|; s|command.got|$WORK/command.got|; s|command.arguments|$WORK/command.arguments|" command.sh
chmod +x command.sh

policy()
{
	cat <<-END
	version: 1
	labels:
	  - name: payroll
	    files:
	      - /srv/payroll/**
	      - {path: "/home/*/pay", owner: 1001, filesystem: ext4}
	      - {device: "254:1", inode: 99}
	    vms: [web-*, 07070707-0707-0707-0707-070707070707]
	  - name: plans
	    files: {group: 50}
	networks:
	  - {name: office, addresses: [10.0.0.0/8, "fd00::/8"]}
	sinks:
	  - {name: internet, kind: inet}
	  - {name: mail, kind: inet, ports: [25, 465-587], protocol: tcp}
	  - {name: share, kind: filesystem, except: /mnt/scratch/**}
	  - {name: disk, kind: block}
	  - {name: serial, kind: character}
	  - {name: raw, kind: packets}
	  - {name: vsock, kind: vsock}
	rules:
	  - {label: payroll, sink: internet, program: /usr/bin/backup, action: allow}
	  - {label: "*", sink: [internet, share, disk, serial, raw, vsock], action: alert}
	alerts:
	  limit: ${LIMIT:-1000}
	  deliver:
	    - {to: file, path: $WORK/alerts.jsonl}
	    - {to: command, command: [$WORK/command.sh, argument], timeout: 5}
	    - {to: webhook, url: "http://127.0.0.1:$PORT/hook", headers: "X-Key: secret"}
	    - syslog
	    - journald
	END
}

# The check ------------------------------------------------------------------------------------

policy > policy.yaml
run 0 'a good policy' nijimi policy check policy.yaml
says out 'policy.yaml: fine: 3 labels, 1 networks, 7 sinks, 2 rules, 5 ways'
run 0 'a good policy, JSON' nijimi policy check policy.yaml --json
holds '.ok and .errors == []'
sed 's/version: 1/version: 3/; s/group: 50/group: staff/; s/action: alert/action: refuse/' policy.yaml > bad.yaml
run 1 'a bad policy' nijimi policy check bad.yaml
says out "^bad.yaml:1:10: .* not '3'"
says out "^bad.yaml:[0-9]+:[0-9]+: 'group': 'staff' is not"
says out "unknown action 'refuse': there are allow, alert and block"
says err 'has 3 errors'
run 1 'a bad policy, JSON' nijimi policy check bad.yaml --json
holds '.ok == false and (.errors | length) == 3 and .errors[0].line == 1'
run 1 'no file' nijimi policy check nowhere.yaml
says err 'cannot read the policy nowhere.yaml: No such file'
run 1 'a directory' nijimi policy check /tmp
says err 'not a regular file'
run 2 'no operand' nijimi policy
run 2 'no such operand' nijimi policy frobnicate
run 2 'check of nothing' nijimi policy check
run 2 'show of something' nijimi policy show x
run 2 'alerts of something' nijimi alerts --ended
run 1 'no daemon' nijimi policy show
run 1 'no daemon for alerts' nijimi alerts

run 1 'nijimid with a bad policy' "$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --policy bad.yaml
says err 'bad.yaml:1:10: '
says err 'the policy bad.yaml has 3 errors'
[[ ! -e $NIJIMI_SOCKET ]] || fail 'it listened'
run 1 'nijimid without its policy' "$BUILD/nijimid" --socket "$NIJIMI_SOCKET" --policy nowhere.yaml
says err 'cannot read the policy nowhere.yaml'

# Labels reach agents --------------------------------------------------------------------------

start_daemon
run 0 show nijimi policy show
says out 'payroll, VMs web-\*, 07070707'
says out 'allow payroll to internet by /usr/bin/backup'
silent out 'X-Key|secret'
run 0 'no alerts' nijimi alerts
says out '^no alerts$'

NAME='labels of a VM by its name'
agent web-1 1
: > told
tell vm 1 0
tell nolabels
tell vm 2 5
tell labels
cp told out
says out '^labels 4$'
says out "^row payroll 1 0 0 0 0 '/srv/payroll/\*\*' ''$"
says out "^row payroll 19 0 1001 0 0 '/home/\*/pay' 'ext4'$"
says out "^row payroll 12 266338305 0 0 99 '' ''$"
says out "^row plans 32 0 0 50 0 '' ''$"
tell vm 3 5
NAME='told once'
tell nolabels

# Alerts ---------------------------------------------------------------------------------------

NAME='a leak'
tell name 5 payroll
tell name 9 plans
tell file 1 ext4 /srv/payroll/2026
tell edge 0 1 32 classified
tell process 2 501 /bin/cat
tell edge 1 2 32 read
tell file 3 ext4 /tmp/copy
tell edge 2 3 32 write
tell process 4 502 /usr/bin/curl
tell edge 3 4 32 read
tell socket 5
tell edge 4 5 32 sendto
tell endpoint 6 2 1 203.0.113.9:443 502 /usr/bin/curl
tell edge 4 6 32 sendto
wait_for alerts_are 1
run 0 'the alert' nijimi alerts --json
holds '.[0] | .vm == "web-1" and .uuid == "05050505-0505-0505-0505-050505050505" and .label == "payroll" and
	.sink == "internet" and .kind == "inet" and .destination == "203.0.113.9:443" and .path_complete and
	.process == {pid: 502, comm: "curl", exe: "/usr/bin/curl", uid: 1000} and
	.origin.path == "/srv/payroll/2026" and .syscall == "sendto" and .event == "alert" and
	(.path | map(.syscall)) == ["classified", "read", "write", "read", "sendto"] and .repeated == 0 and
	(.path[-1].labels) == ["payroll"]'
run 0 'the alert, for people' nijimi alerts
says out 'payroll, from /srv/payroll/2026, was brought to 203.0.113.9:443 \(sink internet\) by curl\[502\] \(/usr/bin/curl\) of user 1000'
says out 'write +cat\[501\] -> /tmp/copy'
run 0 'label in the lists' nijimi files web-1 --label payroll
says out '/tmp/copy .* payroll$'

NAME='the same through its socket is the same'
tell endpoint 7 2 1 203.0.113.9:443
tell edge 5 7 32 sendto
tell endpoint 8 2 1 203.0.113.9:443 502 /usr/bin/curl
tell edge 4 8 32 sendto
NAME='inside: loopback, a named network; allowed: a program; no sink: a scratch directory, a terminal'
tell endpoint 9 2 1 127.0.0.1:25 502 /usr/bin/curl
tell edge 4 9 32 sendto
tell endpoint 10 10 1 [fd00::7]:443 502 /usr/bin/curl
tell edge 4 10 32 sendto
tell process 11 503 /usr/bin/backup
tell edge 3 11 32 read
tell endpoint 12 2 2 198.51.100.1:99 503 /usr/bin/backup
tell edge 11 12 32 sendto
tell endpoint 13 2 2 198.51.100.1:99
tell edge 5 13 32 sendto
tell out 14 100644 nfs4 /mnt/scratch/x 502 /usr/bin/curl
tell edge 4 14 32 write
tell out 15 20620 devpts /dev/pts/3 502 /usr/bin/curl
tell edge 4 15 32 write
tell file 16 9p /mnt/share/marked
tell edge 0 16 512 classified
NAME='another program, to where one is allowed'
tell endpoint 17 2 2 198.51.100.1:99 502 /usr/bin/curl
tell edge 4 17 32 sendto
wait_for alerts_are 2
NAME='every kind of sink'
tell file 18 nfs4 /mnt/share/x
tell edge 4 18 32 write
tell out 19 60660 devtmpfs /dev/sdb 502 /usr/bin/curl
tell edge 4 19 32 write
tell out 20 20660 devtmpfs /dev/ttyS0 502 /usr/bin/curl
tell edge 4 20 32 write
tell endpoint 21 17 3 packets:0 502 /usr/bin/curl
tell edge 4 21 32 sendto
tell endpoint 22 40 1 family:0 502 /usr/bin/curl
tell edge 4 22 32 sendto
wait_for alerts_are 7
run 0 'sinks' nijimi alerts --json
holds 'map(.sink) == ["internet", "internet", "share", "disk", "serial", "raw", "vsock"]'
holds '.[0].repeated == 2 and .[2].destination == "/mnt/share/x" and .[2].process.pid == 502'
run 0 'the last' nijimi alerts --json --last 2
holds 'map(.sink) == ["raw", "vsock"]'
run 0 'of a VM, and a label' nijimi alerts web-1 --label payroll --json
holds 'length == 7'
run 0 'the last, by UUID' nijimi alerts 0505 --json --last 2
holds 'map(.sink) == ["raw", "vsock"]'
run 1 'the last, by UUID, and of a VM that is not known' nijimi alerts nobody 0505 --json --last 2
holds 'map(.sink) == ["raw", "vsock"]'
says err "no VM 'nobody' is known"
run 0 'of a label that has none' nijimi alerts --label plans --last 3
says out '^no alerts$'
run 1 'of a label that is not known' nijimi alerts --label tpyo
says err "no alert of a label 'tpyo', nor has the policy such a label"
silent out .
run 1 'of a VM that is not known' nijimi alerts nobody --json
holds '. == []'
says err "no VM 'nobody' is known"
run 1 'of a VM that is not known, for people' nijimi alerts nobody
silent out .
run 1 'of a VM that is not known, and on' nijimi alerts nobody --follow
run 0 'status' nijimi status
says out '^policy policy.yaml, 7 alerts$'
NAME='a path of which the beginning is not known'
tell process 30 600 /bin/nc
tell endpoint 31 2 1 203.0.113.77:1 600 /bin/nc
tell edge 30 31 512 sendto
wait_for alerts_are 8
run 0 'says so' nijimi alerts --last 1
says out 'the path is not known completely'
says out 'plans, from an unknown file'

# Delivery -------------------------------------------------------------------------------------

NAME=delivery
delivered()
{
	nijimi policy show --json | jq -e '.deliveries | all(.queued == 0)'
}
wait_for delivered
cp alerts.jsonl out
[[ $(jq -s 'map(.id) == [1,2,3,4,5,6,7,8]' out) == true ]] || fail 'not eight alerts in the file'
cp command.got out
[[ $(jq -s 'map(.id) == [1,2,3,4,5,6,7,8]' out) == true ]] || fail 'not eight alerts for the command'
cp hook.bodies out
[[ $(jq -s 'map(.id) == [1,1,2,3,4,5,6,7,8]' out) == true ]] || fail 'not eight alerts, the first twice, at the hook'
cp hook.headers out
says out '^X-Key: secret$'
cp syslog.got out
says out '^<36>.* nijimi\[[0-9]+\]: web-1 \(05050505'
cp journal.got out
says out '^NIJIMI_LABEL=payroll$'
says out '^NIJIMI_ALERT=\{"event":"alert"'
says out '^MESSAGE=web-1 \(05050505.*by curl\[502\] of user 1000$'
cp command.arguments out
says out '^argument$'
cp daemon.log out
says out 'alerts cannot be delivered to webhook.*status 503'
says out 'alerts arrive at webhook again'

NAME='a command that refuses'
touch refuse
tell endpoint 32 2 1 203.0.113.78:1 502 /usr/bin/curl
tell edge 4 32 32 sendto
refused()
{
	nijimi policy show | grep -q 'command: 8 delivered, 1 waiting.*ended with status 3'
}
wait_for refused
rm refuse
wait_for delivered

# Reload ---------------------------------------------------------------------------------------

cp bad.yaml policy.yaml
run 1 'a broken file' nijimi policy reload
says err 'has 3 errors \(the first: line 1: .*\); the policy from before stays in force'
run 0 'the old one is in force' nijimi policy show
says out 'the last reload failed'
says out 'allow payroll to internet'
policy | sed 's|/srv/payroll/\*\*|/srv/wages|; s/^  - name: plans/  - name: news/; /"\*"/d' > policy.yaml
: > told
run 0 'a good file' nijimi policy reload
NAME='agents are told'
tell labels
cp told out
says out "^row payroll 1 .*'/srv/wages'"
says out '^row news 32'
NAME='without a rule: alert'
tell endpoint 40 2 1 203.0.113.90:443 502 /usr/bin/curl
tell edge 4 40 32 sendto
wait_for alerts_are 10
run 0 'no rule' nijimi alerts --json --last 1
holds '.[0].rule_line == null'
LIMIT=2 policy > policy.yaml
: > told
NAME=SIGHUP
kill -HUP $DAEMON
tell labels
cp told out
says out '^row plans 32'

NAME='too many'
"$BUILD/nijimi" alerts --follow --json > followed &
FOLLOWER=$!
"$BUILD/nijimi" watch --last 1000 --json > watched &
WATCH=$!
for i in {50..59}; do
	tell endpoint "$i" 2 1 "203.0.113.$i:443" 502 /usr/bin/curl
	tell edge 4 "$i" 32 sendto
done
wait_for alerts_are 20
run 0 'held back' nijimi alerts --json --last 10
holds 'map(select(.held_back)) | length >= 8'
[[ $(nijimi policy show --json | jq .held_back) -ge 8 ]] || fail 'not counted'
NAME=follow
followed()
{
	[[ $(wc -l < followed) == 20 ]]
}
wait_for followed
kill $FOLLOWER
NAME='alerts in a watch'
watched()
{
	[[ $(jq -c 'select(.event == "alert" and .destination) | .id' watched | sort -u | wc -l) == 20 ]]
}
wait_for watched
[[ $(jq -r 'select(.event == "alert") | .id' watched | wc -l) == 20 ]] || fail 'an alert twice'
kill $WATCH

# Another VM, by UUID only; a daemon that comes back knows the agent's names. ------------------

NAME='a VM that is not meant'
hang_up
agent db 2
: > told
tell vm 2 8
tell labels
cp told out
says out '^labels 1$'
silent out 'payroll'
hang_up
NAME='a VM by its UUID'
agent other 3
: > told
tell vm 2 7
tell labels
cp told out
says out '^labels 4$'

# With a state: names of labels and the way that information took outlive the daemon and the VM. --

hang_up
kill -TERM $DAEMON
wait $DAEMON
LIMIT=1000 policy > policy.yaml
start_daemon --state state
NAME='a leak that began before the daemon was killed'
agent web-9 9
tell vm 3 9
tell labels
tell name 5 payroll
tell kept 1 100 /srv/payroll/2026
tell edge 0 1 32 classified
tell process 2 501 /bin/cat
tell edge 1 2 32 read
tell kept 3 101 /tmp/copy
tell edge 2 3 32 write
tell saved
kill -KILL $DAEMON
wait $DAEMON 2> /dev/null
# Another label takes the first free bit, unless it is known that it is not free.
policy | sed 's/^  - name: payroll/  - name: aaa\n    files: {group: 7}\n&/' > policy.yaml
start_daemon --state state
: > told
tell again
tell labels
tell process 4 502 /usr/bin/curl
tell edge 3 4 32 read
tell endpoint 6 2 1 203.0.113.9:443 502 /usr/bin/curl
tell edge 4 6 32 sendto
wait_for alerts_are 1
run 0 'its whole way' nijimi alerts --json
holds '.[0] | .label == "payroll" and .path_complete and .origin.path == "/srv/payroll/2026" and
	(.path | map(.syscall)) == ["classified", "read", "write", "read", "sendto"]'
run 0 'labels in the lists' nijimi files web-9 --json
holds 'map([.path, .labels]) == [["/srv/payroll/2026", ["payroll"]], ["/tmp/copy", ["payroll"]]]'
tell saved
hang_up

NAME='the VM comes again'
agent web-9 10
: > told
tell vm 3 9
tell recall
cp told out
says out '^stored 100 payroll$'
says out '^stored 101 payroll$'
silent out 'stored.*(classified|aaa)'
NAME='a leak that began in the life before'
tell name 3 payroll
tell kept 1 101 /tmp/renamed
tell edge 0 1 8 stored
tell process 2 900 /bin/nc
tell edge 1 2 8 read
tell endpoint 3 2 1 203.0.113.10:443 900 /bin/nc
tell edge 2 3 8 sendto
wait_for alerts_are 2
run 0 'its whole way, too' nijimi alerts --json --last 1
holds '.[0] | .label == "payroll" and .path_complete and .origin.path == "/srv/payroll/2026" and
	(.path | map(.syscall)) == ["classified", "read", "write", "stored", "read", "sendto"]'

NAME='the end'
kill -TERM $DAEMON
wait $DAEMON
[[ $? == 0 ]] || fail 'nijimid did not end well'

echo "$CHECKS checks"
exit $FAILED
