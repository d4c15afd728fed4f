#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# cli.sh BUILD: nijimi and nijimid as a user has them, with a synthetic agent (cli_synthetic_agent.c)
# in place of a virtual machine monitor, and a fake /dev/kvm (cli_fake_kvm.c).
set -u

BUILD=$1
HERE=$BUILD/tests/unit
WORK=$(mktemp -d /tmp/nijimi-cli.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$WORK"' EXIT
cd "$WORK"

export NIJIMI_SOCKET=$WORK/socket NIJIMI_LIBRARY_DIR=$HERE XDG_CACHE_HOME=$WORK/cache
export FAKE_KVM=ok SYNTHETIC_PROGRAM=sleep
export ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-}
unset NIJIMI_CACHE_DIR NIJIMI_NAME LD_PRELOAD
FAILED=0 CHECKS=0

for file in nijimi nijimid tests/unit/nijimi-agent.so tests/unit/cli_fake_kvm.so; do
	[[ -e $BUILD/$file ]] || { echo "$BUILD/$file is missing"; exit 1; }
done

fail()
{
	echo "FAILED: $NAME: $*"
	sed 's/^/    out: /' out
	sed 's/^/    err: /' err
	FAILED=1
}

# run STATUS NAME COMMAND...: leaves its output in `out` and `err`.
run()
{
	local expected=$1 status=0
	NAME=$2
	shift 2
	: $((CHECKS++))
	"$@" > out 2> err < /dev/null || status=$?
	[[ $status == "$expected" ]] || fail "status $status, not $expected"
}

# says FILE PATTERN / silent FILE PATTERN
says()
{
	grep -qE -e "$2" "$1" || fail "'$2' is not in $1"
}

silent()
{
	! grep -qE -e "$2" "$1" || fail "'$2' is in $1"
}

one_line()
{
	[[ $(wc -l < err) == 1 ]] || fail "not one line on stderr"
}

nijimi()
{
	"$BUILD/nijimi" "$@"
}

# With a fake KVM; in the program, too, as any other LD_PRELOAD of the user's.
traced()
{
	LD_PRELOAD=$HERE/cli_fake_kvm.so "$BUILD/nijimi" run "$@"
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

start_daemon()
{
	"$BUILD/nijimid" --socket "$NIJIMI_SOCKET" 2>> daemon.log &
	DAEMON=$!
	wait_for nijimi status
}

# Use -----------------------------------------------------------------------------------------

run 0 version nijimi --version
says out '^nijimi [0-9]'
run 0 help nijimi --help
says out 'processes'
for command in trace watch graph report top explain mark clear audit run vms files processes sockets edges state status wait; do
	run 0 "help of $command" nijimi $command --help
	says out "^usage: nijimi $command"
	says out '^  --json '
	run 2 "bad option of $command" nijimi $command --bogus x
	one_line
	says err "unknown option '--bogus'"
done
run 0 'help clear' nijimi help clear
says out '^usage: nijimi clear \[OPTION\]... VM WHAT \[LABEL\]$'
says out '^       nijimi clear \[OPTION\]... --all VM LABEL$'
says out '^Take labels away by hand\.$'
run 2 'no command' nijimi
run 2 'unknown command' nijimi frobnicate
one_line
run 2 'surplus' nijimi status x
run 2 'missing value' nijimi edges --last
run 2 'a trace of nothing' nijimi trace vm1
one_line
says err 'VM OBJECT is missing'
run 2 'bad number' nijimi edges --last many
run 2 'value of a flag' nijimi vms --json=yes
run 2 'unknown format' nijimi graph --format jpg
one_line
says err 'dot, svg, png, json and graphml'
run 2 'unknown grouping' nijimi graph --group much
run 2 'no time' nijimi graph --since yesterday
one_line
says err "'yesterday' is no time: write"
run 2 'two formats' nijimi graph --json --format svg
run 2 'two forms' nijimi report --html --json vm1
run 2 'no interval' nijimi top --interval 0
run 1 'full disk' bash -c "'$BUILD/nijimi' --help > /dev/full"
says err 'cannot write'

run 1 'no daemon' nijimi vms
one_line
says err "no daemon answers at $NIJIMI_SOCKET: start one with .nijimid., or .* .nijimi run."
run 1 'long socket' nijimi vms --socket "/tmp/$(printf 'x%.0s' {1..200})"
says err 'too long'
run 1 'wait without a daemon' nijimi wait vm1 --timeout 0
says err 'no daemon answers'
run 2 'unknown state' nijimi wait vm1 --state happy

# What run refuses -----------------------------------------------------------------------------

run 2 'no program' traced
run 2 'no program behind --' traced --
run 2 'relative glob' traced --classified etc/shadow sleep 1
one_line
says err "glob 'etc/shadow' is not absolute"
run 2 'unclosed glob' traced --classified '/etc/[a' -- sleep 1
one_line
says err "'\[' without its '\]'"
run 2 'unknown hook' traced --hook quantum -- sleep 1
one_line
says err "unknown hook 'quantum': there are auto, debugreg, filter and patch"
run 2 'bad name' traced --name 'two words' -- sleep 1
run 1 'no such program' traced -- no-such-program-here
one_line
says err "no program 'no-such-program-here' along PATH"
run 1 'no such path' traced -- ./nothing
says err "cannot run './nothing': No such file"
echo x > plain
run 1 'not executable' traced -- ./plain
says err "'./plain' is not executable"
run 1 'directory' traced -- /tmp
says err "is not a program"
FAKE_KVM=none run 1 'no KVM' traced -- sleep 1
one_line
says err 'this machine has no KVM'
FAKE_KVM=denied run 1 'no permission' traced -- sleep 1
one_line
says err 'no permission to use /dev/kvm'
FAKE_KVM=old run 1 'other KVM' traced -- sleep 1
says err 'its version is 11, not 12'
NIJIMI_LIBRARY_DIR=/nowhere run 1 'no agent' traced -- sleep 1
says err '/nowhere/nijimi-agent.so'
if "${CC:-cc}" -static -x c -o static - <<< 'int main(void) { return 0; }' 2> /dev/null; then
	run 1 'static program' traced -- ./static
	one_line
	says err 'statically linked'
fi
cp "$(command -v sleep)" other-user
chown 12345 other-user 2> /dev/null && chmod u+s other-user &&
	run 1 'set-user-ID program' traced -- ./other-user 1 && says err 'set-user-ID'
printf '#!/bin/sh\nexec sleep 0.3\n' > script
chmod +x script
printf '\x7fELF\x01\x01\x01%64s' '' > elf32
chmod +x elf32
run 1 '32-bit program' traced -- ./elf32
says err 'not an x86-64 program'
[[ ! -e $NIJIMI_SOCKET ]] || { NAME=early; fail 'a daemon was started before all was checked'; }

# A private daemon -----------------------------------------------------------------------------

run 0 'a traced program' traced --name web -- sleep 1
says err '^nijimi: web: traced from now on: Linux 6.1.0-18-cloud-amd64, hook debugreg \(after'
says err '^nijimi: web: gap in the trace: call-limit'
says err '^nijimi: web: in all 2 managed files, 2 processes, 2 sockets; 6 edges'
run 0 'a script' traced -- ./script
says err 'traced from now on'
run 3 'no VM' env SYNTHETIC_PROGRAM=x LD_PRELOAD=$HERE/cli_fake_kvm.so "$BUILD/nijimi" run -- sleep 0
says err '^nijimi: sleep did not create a KVM virtual machine .*-accel kvm.*; nothing was traced'
run 7 'a program that fails' traced -- sh -c 'sleep 0.3; exit 7'
run 4 'one that fails without a VM' traced -- sh -c 'exit 4'
says err 'did not create a KVM virtual machine'
run 0 'an untraced VM' env SYNTHETIC=untraced LD_PRELOAD=$HERE/cli_fake_kvm.so \
	"$BUILD/nijimi" run --name x -- sleep 0.5
says err '^nijimi: x: not traced: the kernel has no BTF'
says err '^nijimi: x: it was not traced'
run 0 'json' traced --json --name j -- sleep 0.5
jq -e -s 'map(select(.event == "armed" and .vm == "j")) | length == 1' err > /dev/null || fail 'no JSON events'
run 143 'killed' traced -- sh -c 'sleep 0.3; kill $$'
says err 'ended by signal 15'

run 0 'environment' env SYNTHETIC_DUMP="$WORK/dump" LD_PRELOAD=$HERE/cli_fake_kvm.so \
	"$BUILD/nijimi" run --classified '/a/**' --classified '/b *' --hook debugreg -- sleep 0.3
mv dump out
says out "^LD_PRELOAD=$HERE/nijimi-agent.so:$HERE/cli_fake_kvm.so$"
says out '^NIJIMI_CLASSIFIED=/a/\*\*$'
says out '^/b \*$'
says out '^NIJIMI_HOOK=debugreg$'
says out "^NIJIMI_SOCKET=$NIJIMI_SOCKET$"
says out "^NIJIMI_LIBRARY_DIR=$HERE$"
says out '^NIJIMI_RUN_ID=[0-9a-f]{32}$'
says out "^NIJIMI_CACHE_DIR=$WORK/cache/nijimi/profiles$"
silent out '^NIJIMI_NAME='
[[ -d $WORK/cache/nijimi/profiles ]] || fail 'no cache directory'
run 1 'environment without cache' env SYNTHETIC_DUMP="$WORK/dump" LD_PRELOAD=$HERE/cli_fake_kvm.so \
	"$BUILD/nijimi" run --no-agent-cache --socket socket -- sleep 0.3 -name guest=shop,debug-threads=on
# (sleep refuses -name, but it has been loaded by then)
mv dump out
silent out 'NIJIMI_CACHE_DIR'
says out "^NIJIMI_SOCKET=$WORK/socket$"
says out '^NIJIMI_NAME=shop$'

# The emulator of those who start QEMU themselves: what QEMU is told it tells the agent, and nothing else of it has to be known.
cat > configuration <<- END
	# a remark
	EMULATOR=$(type -P sleep)
	  SOCKET="$WORK/elsewhere"
END
# dumped NAME ARGUMENT...: sleep refuses them, but the agent has been loaded by then.
dumped()
{
	local name=$1
	shift
	rm -f dump
	run 1 "$name" env -u NIJIMI_SOCKET NIJIMI_QEMU_CONFIGURATION="$WORK/configuration" SYNTHETIC_DUMP="$WORK/dump" \
		LD_PRELOAD=$HERE/cli_fake_kvm.so "$BUILD/nijimi-qemu" 0.1 "$@"
	mv dump out
}
dumped 'nijimi-qemu' -name 'guest=my, web,,shop,debug-threads=on' -uuid C7A5FDBD-CDAF-9455-926A-D65C16DB1809 -S
says out '^NIJIMI_NAME=my$'
says out '^NIJIMI_UUID=C7A5FDBD-CDAF-9455-926A-D65C16DB1809$'
says out "^NIJIMI_SOCKET=$WORK/elsewhere$"
says out "^NIJIMI_LIBRARY_DIR=$HERE$"
says out "^LD_PRELOAD=$HERE/nijimi-agent.so:$HERE/cli_fake_kvm.so$"
silent out '^NIJIMI_(CACHE_DIR|HOOK|RUN_ID|CLASSIFIED)='
dumped 'a name with a comma and a space, the last one counts' --name one -name 'debug-threads=on,guest=web,,shop two' --uuid 1
says out '^NIJIMI_NAME=web,shop_two$'
says out '^NIJIMI_UUID=1$'
dumped 'a name in short, a UUID in the SMBIOS' -name web,process=x -smbios 'type=1,manufacturer=a,,b,uuid=c7a5fdbd-cdaf-9455-926a-d65c16db1809' \
	-smbios type=0,uuid=2
says out '^NIJIMI_NAME=web$'
says out '^NIJIMI_UUID=c7a5fdbd-cdaf-9455-926a-d65c16db1809$'
dumped 'a name that is too long is cut' -name "$(printf 'ä%.0s' {1..70})"
says out "^NIJIMI_NAME=$(printf 'ä%.0s' {1..32})$"
NIJIMI_HOOK=debugreg NIJIMI_CLASSIFIED=/srv/x NIJIMI_SOCKET=$WORK/own run 1 'a domain of its own' \
	env NIJIMI_QEMU_CONFIGURATION="$WORK/configuration" SYNTHETIC_DUMP="$WORK/dump" LD_PRELOAD=$HERE/cli_fake_kvm.so "$BUILD/nijimi-qemu" 0.1 -x
mv dump out
says out '^NIJIMI_HOOK=debugreg$'
says out '^NIJIMI_CLASSIFIED=/srv/x$'
says out "^NIJIMI_SOCKET=$WORK/own$"
silent out '^NIJIMI_(NAME|UUID)='
# What is wrong does not keep a VM from running, unless that is what is wanted.
for wrong in 'SPEED=high' 'no sense' 'HOOK=a hook of more than 32 characters'; do
	printf 'EMULATOR=%s\n%s\n' "$(type -P true)" "$wrong" > wrong
	run 0 "wrong: $wrong" env NIJIMI_QEMU_CONFIGURATION="$WORK/wrong" "$BUILD/nijimi-qemu" -x
	one_line
	says err '^nijimi-qemu: .*: the VM runs untraced$'
done
says err 'wrong, line 2: HOOK is too long'
printf 'UNTRACED=refuse\nEMULATOR=%s\n' "$(type -P true)" > wrong
run 126 'refused' env NIJIMI_LIBRARY_DIR="$WORK" NIJIMI_QEMU_CONFIGURATION="$WORK/wrong" "$BUILD/nijimi-qemu" -x
says err 'nijimi-agent.so: No such file .*the VM is not started'
# It is wherever it stands, however it is written, and whatever else is wrong.
for wrong in 'UNTRACED=Refuse' 'UNTRACED=maybe' 'UNTRACED=' 'UNTRACED=run-or-refuse' 'UNTRACED = "refuse"' $'SPEED=high\nUNTRACED=refuse' \
	$'no sense\nnone\nUNTRACED=no' $'UNTRACED=refuse\nSPEED=high'; do
	printf 'EMULATOR=%s\n%s\n' "$(type -P true)" "$wrong" > wrong
	run 126 "refused: $wrong" env NIJIMI_LIBRARY_DIR="$WORK" NIJIMI_QEMU_CONFIGURATION="$WORK/wrong" "$BUILD/nijimi-qemu" -x
	one_line
	says err 'the VM is not started \(UNTRACED='
done
says err "wrong, line 3: there is no setting 'SPEED'"
printf 'EMULATOR=%s\n' "$WORK/nothing" > wrong
run 126 'no emulator' env NIJIMI_QEMU_CONFIGURATION="$WORK/wrong" "$BUILD/nijimi-qemu" -x
says err "cannot run $WORK/nothing: No such file"
# Signals go on to the program; the terminal's own do so by themselves. (Who runs the tests may ignore SIGHUP.)
NAME='signals'
env --default-signal=HUP LD_PRELOAD="$HERE/cli_fake_kvm.so" "$BUILD/nijimi" run -- \
	sh -c 'trap "echo hung up; exit 9" HUP; echo begun; while true; do sleep 0.1; done' > out 2> err &
RUN=$!
wait_for grep -q begun out
kill -HUP $RUN
wait $RUN
[[ $? == 9 ]] || fail 'SIGHUP was not passed on'
says out 'hung up'

# QEMU's -daemonize: what was started ends, the VM does not.
run 0 'in the background' traced --name bg -- sh -c 'sleep 12 & exit 0'
says err 'goes on in the background'
run 0 'and is listed' nijimi vms
says out '^bg .* armed '
run 0 'lost, gone' nijimi wait bg --state gone --timeout 60
run 0 'private' nijimi status
says out '\(private\)'
NAME='the private daemon ends'
wait_for test ! -e "$NIJIMI_SOCKET"

# Two runs share one; killed, it is started again by the one that had started it.
traced --name first -- sleep 28 > /dev/null 2> first.err &
wait_for nijimi wait first --timeout 0
traced --name second -- sleep 24 > /dev/null 2> second.err &
SECOND=$!
wait_for nijimi wait second --timeout 0
NAME='killed daemon'
kill -KILL "$(nijimi status --json | jq .daemon.pid)"
run 0 'again after SIGKILL' nijimi wait first --timeout 60
run 0 'the other again, too' nijimi wait second --timeout 60
run 0 'nothing twice' nijimi state first --json
jq -e '(.edges | length) == 6 and (.files | length) == 2 and (.gaps | length) == 1' out > /dev/null ||
	fail 'not what it was'
run 0 'explained' nijimi explain first
says out '^first: 6 labels came to objects by 6 edges, 1 of them by being marked$'
says out '^ +4 +66 % +4 +3 +2 +/usr/bin/tool +classified$'
says out '^no boundary is suggested'
run 0 'explained in JSON' nijimi explain first --json --last 2
jq -e '.edges == 2 and .unknown_sources == 1 and (.boundaries | length) == 0' out > /dev/null ||
	fail 'not what it was'
# Pictures and reports name what is classified: they are for one user, and there whole or not at all.
umask 022
run 0 'a picture' nijimi graph first -o new.svg
[[ $(stat -c %a new.svg) == 600 ]] || fail 'others can read it'
run 0 'a report' nijimi report first -o new.html
[[ $(stat -c %a new.html) == 600 ]] || fail 'others can read it'
echo old > old.svg
chmod 640 old.svg
ln -s old.svg link.svg
exec 9< old.svg
run 0 'a picture in the place of another, by a link' nijimi graph first -o link.svg
[[ -L link.svg && $(stat -c %a old.svg) == 640 && $(cat <&9) == old ]] || fail 'not replaced'
exec 9<&-
says old.svg '</svg>'
mkfifo pipe.svg
cat pipe.svg > piped &
PIPED=$!
run 0 'a picture into a pipe' nijimi graph first --format svg -o pipe.svg
wait $PIPED
cmp -s old.svg piped && [[ -p pipe.svg ]] || fail 'not what went into the file'
run 0 'a picture for /dev/stdout' nijimi graph first --format svg -o /dev/stdout
cmp -s old.svg out || fail 'not what went into the file'
run 0 'a picture for /dev/null' nijimi graph first --format svg -o /dev/null
[[ -c /dev/null ]] || fail '/dev/null was replaced'
run 1 'a picture where nothing can be' nijimi graph first -o "$WORK/none/new.svg"
one_line
run 1 'a picture in the place of a folder' nijimi graph first --format svg -o "$WORK"
one_line
! compgen -G '*.svg.??????' > /dev/null || fail 'something is left'
run 1 'a label that is not known' nijimi explain first --label nothing
one_line
run 0 'audit of a VM that has none' nijimi audit second
says out 'nothing was marked'
run 0 'cleared' nijimi clear first /tmp/copy
says out '^first: done: 1 object, 0 marks$'
run 1 'cleared again' nijimi clear first /tmp/copy
one_line
says err "nothing in first that is called '/tmp/copy' holds a label"
run 2 'all without a label' nijimi clear --all first
run 2 'all and an object' nijimi clear --all first /tmp/copy classified
run 0 'all cleared' nijimi clear --all first classified
run 0 'nothing left' nijimi files first
says out '^no managed files$'
run 0 'marked' nijimi mark first '/srv/a file' plans
says out '^first: done: 0 files are there'
run 1 'marked badly' nijimi mark first relative plans
one_line
run 0 'listed' nijimi state first --json
jq -e '.marks == [{"path": "/srv/a file", "label": "plans"}]' out > /dev/null || fail 'not listed'
run 0 'audit' nijimi audit
says out "$(id -un) +first +clear +/tmp/copy +\\(all\\) +done: 1 object"
says out "$(id -un) +first +clear all +classified +done"
says out "first +mark +/srv/a file +plans +done"
run 0 'audit in JSON' nijimi audit first --json --last 2
jq -e 'length == 2 and .[1].action == "mark" and .[1].uid == '"$(id -u)" out > /dev/null || fail 'not what it was'
run 1 'audit of a VM that is not known' nijimi audit nobody
one_line
says err "no VM 'nobody' is known"
run 0 'alerts of a VM that has none' nijimi alerts second --label classified
says out '^no alerts$'
run 1 'alerts of a VM that is not known' nijimi alerts second nobody
one_line
silent out .
run 1 'alerts of a label that is not known' nijimi alerts --label tpyo
one_line
silent out .
wait $SECOND
wait
cp first.err err
says err '^nijimi: first: in all 2 managed files'
NAME='gone again'
wait_for test ! -e "$NIJIMI_SOCKET"

# Questions ------------------------------------------------------------------------------------

start_daemon
run 1 'second daemon' "$BUILD/nijimid" --socket "$NIJIMI_SOCKET"
one_line
says err "another nijimid serves $NIJIMI_SOCKET already"
run 2 'bad option of nijimid' "$BUILD/nijimid" --bogus
run 2 'argument of nijimid' "$BUILD/nijimid" x
run 2 'bad number of nijimid' "$BUILD/nijimid" --edges none
run 0 'no VMs' nijimi vms
says out '^no VMs$'
run 0 'no VMs, JSON' nijimi vms --json
[[ $(jq -c . out) == '[]' ]] || fail 'not []'
run 1 'unknown VM' nijimi state nobody
one_line
says err "no VM 'nobody' is known"

"$BUILD/nijimi" watch --json > watched 2> watched.err &
# script: what it is on a terminal of 90 columns.
script -qfec "stty cols 90; TERM=xterm exec '$BUILD/nijimi' watch" watched.terminal > /dev/null 2>&1 < /dev/null &
TERMINALS=$!
script -qfec "stty cols 200; TERM=xterm NO_COLOR=1 exec '$BUILD/nijimi' watch" watched.plain > /dev/null 2>&1 < /dev/null &
TERMINALS+=" $!"
sleep 0.5
traced --name vm1 -- sleep 60 > /dev/null 2>&1 &
run 0 wait nijimi wait vm1 --timeout 20
run 0 'wait, JSON' nijimi wait vm1 --json
[[ $(jq -r .state out) == armed ]] || fail 'no state'
run 0 vms nijimi vms
says out '^NAME +UUID +KERNEL +STATE'
says out '^vm1 +abababab-abab-abab-abab-abababababab +6.1.0-18-cloud-amd64 +armed +debugreg +1 +2 +2 +1 +2 +[0-9]+$'
for name in vm1 abababab-abab-abab-abab-abababababab ABABABAB-abab-abab-abab-abababababab abababab-a; do
	run 0 "files of $name" nijimi files "$name"
	says out '^/srv/secret/plan.txt +254:1 +101 +ext4 +classified$'
done
run 0 'files of all' nijimi files
says out '^/tmp/copy'
run 0 processes nijimi processes vm1
silent out ' 501 '
says out '^502 +client +/usr/bin/tool +0 +classified'
run 0 'ended processes' nijimi processes --ended vm1
says out '^501 +cat .* 20[0-9-]+ [0-9:]+$'
run 0 sockets nijimi sockets vm1
says out '^unix +stream +/run/server.sock +905'
says out '^inet +stream +127.0.0.1:40000 +127.0.0.1:5000'
run 0 edges nijimi edges vm1
says out ' read +100 B +/srv/secret/plan.txt +cat\[501\]'
says out ' write +3.5 KiB +cat\[501\] +/tmp/copy'
says out ' sendto +- +client\[502\] '
[[ $(wc -l < out) == 7 ]] || fail 'not six edges'
run 0 'last edges' nijimi edges vm1 --last 2
[[ $(wc -l < out) == 3 ]] || fail 'not two edges'
run 0 'by label' nijimi edges vm1 --label classified
run 1 'by an unknown label' nijimi files --label x
says err "no label is called 'x' \(there are: classified\)"
run 0 state nijimi state vm1
says out '^kernel +6.1.0'
says out 'syscall-entries +1234'
run 0 'state, JSON' nijimi state vm1 --json
jq -e '
	.uuid == "abababab-abab-abab-abab-abababababab" and .name == "vm1" and .state == "armed" and
	.hook == "debugreg" and .kernel == "6.1.0-18-cloud-amd64" and .boot == 1 and .vcpus == 2 and
	.uuid_ns == 20000 and .profile_ns == 90000000 and .reason == null and .stale == false and
	(.files | map(.path)) == ["/srv/secret/plan.txt", "/tmp/copy"] and
	.files[0] == {path: "/srv/secret/plan.txt", device: "254:1", inode: 101, generation: 0,
		filesystem: "ext4", labels: ["classified"], id: .files[0].id} and
	(.processes | map(.comm)) == ["client"] and .processes[0].pid == 502 and
	.processes[0].exe == "/usr/bin/tool" and .processes[0].start_time == 5000000000 and
	(.sockets | map([.family, .type, .address, .local, .peer])) == [
		["unix", "stream", "/run/server.sock", null, "/run/server.sock"],
		["inet", "stream", "127.0.0.1:40000", "127.0.0.1:40000", "127.0.0.1:5000"]] and
	(.ended | map_values(length)) == {files: 0, processes: 1, sockets: 0} and
	(.edges | map(.syscall)) == ["classified", "read", "write", "read", "sendto", "sendto"] and
	.edges[0].from == null and .edges[0].time == "2023-11-14T22:13:20.123456789Z" and
	.edges[1].from.type == "file" and .edges[1].to.type == "process" and .edges[1].to.comm == "cat" and
	.counters == {"syscall-entries": 1234, "syscall-exits": 1234} and
	.gaps[0].kind == "call-limit" and .gaps[0].count == 2' out > /dev/null || fail 'not the state'
for list in files processes sockets edges; do
	run 0 "$list, JSON" nijimi $list --json
	jq -e 'length > 0 and all(.vm == "vm1")' out > /dev/null || fail 'no list'
done
run 0 status nijimi status
says out '^nijimid .* since '
says out '^vm1 +armed +[0-9.-]+ +[0-9.-]+ +[0-9]+ +2 +[0-9.]+ .?i?B'
run 0 'status, JSON' nijimi status --json
jq -e '.daemon.vms == 1 and .agents[0].vms == ["vm1"] and .vms[0].name == "vm1" and .vms[0].gap_count == 2 and
	.daemon.memory_bytes > 0 and .daemon.deliveries == []' out > /dev/null || fail 'no status'
run 1 'wait in vain' nijimi wait vm1 --state waiting --timeout 1
says err 'vm1 is still armed, not waiting, after 1 s'

# What watchers have seen of it, from its start on.
NAME='watch'
for file in watched watched.terminal watched.plain; do
	wait_for grep -q call-limit $file
	wait_for grep -q armed $file
done
jq -s . watched > out || fail 'not a JSON object a line'
cp watched.err err
jq -e 'all(.vm == "vm1" and .time) and (map(select(.event == "object") | .path // .comm // .address)) ==
		["/srv/secret/plan.txt", "cat", "/tmp/copy", "client", "/run/server.sock", "127.0.0.1:40000"] and
	(map(select(.event == "edge") | .syscall)) == ["classified", "read", "write", "read", "sendto", "sendto"] and
	(map(select(.event == "gap") | [.kind, .count])) == [["call-limit", 2]] and
	(map(select(.event == "state")) | last | .state == "armed" and .kernel == "6.1.0-18-cloud-amd64")' out > /dev/null || fail 'not what there was'
NAME='watch on a terminal'
cp watched.terminal out
says out $'\x1b\\[32mobject\x1b\\[0m file +/tmp/copy \\(#[0-9]+\\)'
says out $'\x1b\\[36medge  \x1b\\[0m write +cat\\[501\\] -> /tmp/copy  \\[classified\\]'
sed -e '/^Script /d' -e $'s/\x1b\\[[0-9;]*m//g' watched.terminal | tr -d '\r' > out
[[ $(LC_ALL=C.UTF-8 wc -L < out) -le 90 ]] || fail 'wider than the terminal'
NAME='watch without colours'
cp watched.plain out
says out ' vm1  edge   write +cat\[501\] -> /tmp/copy'
silent out $'\x1b'
# shellcheck disable=SC2086 # words
kill $TERMINALS
run 124 'what is there is not new' timeout 1.5 "$BUILD/nijimi" watch vm1
[[ ! -s out && ! -s err ]] || fail 'it says something'
run 124 'begin with the last' timeout 1.5 "$BUILD/nijimi" watch vm1 --last 2
[[ $(grep -c ' edge   sendto ' out) == 2 && $(wc -l < out) == 2 ]] || fail 'not the last two'
silent out $'\x1b'
run 1 'watch an unknown VM' nijimi watch nobody
one_line
says err "no VM 'nobody' is known"
run 1 'watch an unknown label' nijimi watch --last 2 --label x
says err "no label is called 'x'"

run 0 'trace' nijimi trace vm1 /tmp/copy
says out '^vm1: file /tmp/copy \(#[0-9]+; holds it now\), inode 103 of 254:1, ext4$'
says out '^how classified came there:$'
says out '20.123  origin +/srv/secret/plan.txt \('
says out '20.123  read +100 B -> cat\[501\] \(#[0-9]+; ended\)$'
says out '20.123  write +3.5 KiB -> /tmp/copy '
says out '^what it reached: 3 objects$'
says out '20.123  read +100 B -> client\[502\]'
says out '20.123    sendto +- -> unix /run/server.sock'
for name in 501 'cat[501]' '/srv/*/plan.txt' 127.0.0.1:40000 'inet 127.0.0.1:40000 ↔ 127.0.0.1:5000'; do
	run 0 "trace $name" nijimi trace vm1 "$name" --label classified
	says out '^how classified came there:$'
done
says out '^it reached nothing$'
run 0 'trace, JSON' nijimi trace abababab 502 --json
jq -e '(.nodes | map({(.node | tostring): .name}) | add) as $names | .vm == "vm1" and .other_steps == 0 and
	$names[.object | tostring] == "client[502]" and (.paths | length) == 1 and .paths[0].labels == ["classified"] and
	$names[.paths[0].origin | tostring] == "/srv/secret/plan.txt" and (.paths[0].classified | startswith("2023-11-14T22:13:20.123")) and
	(.paths[0].steps | map([.syscall, $names[.to | tostring]])) == [["read", "cat[501]"], ["write", "/tmp/copy"], ["read", "client[502]"]] and
	(.reached | map([.depth, .syscall])) == [[1, "sendto"], [1, "sendto"]]' out > /dev/null || fail 'not the paths'
run 1 'trace of several' nijimi trace vm1 '/**'
says err "^nijimi: 2 objects are called '/\*\*': say which, by its '#ID'$"
says err '^nijimi:   /tmp/copy \(#[0-9]+; holds it now\)$'
run 0 'trace of one of them' nijimi trace vm1 "$(sed -n 's/.*plan.txt (\(#[0-9]*\);.*/\1/p' err)"
says out '^what it reached: 5 objects$'
run 1 'trace of what is near' nijimi trace vm1 /tmp/cop
says err "no object is called '/tmp/cop'"
says err 'near: /tmp/copy \(#'
run 1 'trace with an unknown label' nijimi trace vm1 /tmp/copy --label x
one_line
says err "no label is called 'x' here \(there are: classified\)"

# On a terminal a row fits the line; elsewhere nothing is cut.
run 0 'narrow terminal' script -qec "stty cols 80; '$BUILD/nijimi' edges vm1" /dev/null
tr -d '\r' < out > out2
[[ $(LC_ALL=C.UTF-8 wc -L < out2) -le 80 ]] || fail 'wider than the terminal'
mv out2 out
says out '…'
silent out $'\x1b'

# The same UUID twice.
env LD_PRELOAD="$HERE/cli_fake_kvm.so" "$BUILD/nijimi" run --name vm2 -- sleep 60 > /dev/null 2>&1 &
RUN=$!
run 0 'wait for the second' nijimi wait vm2 --timeout 20
run 0 'conflict in vms' nijimi vms
says out '^warning: vm1 shares the UUID abababab'
says out '^warning: vm2 shares'
run 1 'conflict in a query' nijimi files abababab-abab-abab-abab-abababababab
one_line
says err 'claim the UUID abababab-.* by its name: vm1, vm2'
run 0 'by name' nijimi files vm2

# A daemon that others have started may be killed, and comes back.
"$BUILD/nijimi" watch vm1 > watched.late 2> watched.late.err &
sleep 0.5
kill -KILL $DAEMON
wait $DAEMON 2> /dev/null
run 1 'while it is away' nijimi vms
start_daemon
run 0 'vm1 is back' nijimi wait vm1 --timeout 10
run 0 'vm2 is back' nijimi wait vm2 --timeout 10
run 0 'nothing twice' nijimi edges vm1 --json
[[ $(jq length out) == 6 ]] || fail 'not six edges'
NAME='the watch goes on, and says nothing twice'
wait_for grep -q 'answers again' watched.err
wait_for grep -q 'answers again' watched.late.err
sleep 2.5
silent watched.late ' (edge|object) '
cp watched.err err
jq -s . watched > out
jq -e 'map(select(.event == "edge" and .vm == "vm1")) | length == 6' out > /dev/null || fail 'not six edges'
says err '^nijimi: the daemon does not answer any more: waiting for it$'

# An agent that ends: listed on, until the daemon ends.
kill -TERM "$(pgrep -P $RUN)"
run 0 'lost' nijimi wait vm2 --state lost --timeout 10
run 0 'still listed' nijimi vms --json
jq -e 'map(select(.name == "vm2"))[0] | .state == "lost" and .connected == false' out > /dev/null || fail 'not lost'
sleep 1.5
run 1 'in vain now' nijimi wait vm2 --state gone --timeout 1

echo "$CHECKS checks"
exit $FAILED
