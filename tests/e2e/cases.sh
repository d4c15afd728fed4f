# shellcheck shell=bash disable=SC2034,SC2016
# The end-to-end cases. Sourced by tests/run (which judges them) and by tests/e2e/play (which plays them, where
# KVM is).

# NO-DISK: the guest's notes come over its console, slowly. FILESYSTEMS: with disks that hold a btrfs and an XFS.
# SMP: its processors have to run at the same time, so a box for it has two (see lab/box --help for what that costs).
# The longest come first, so that all boxes end at about the same time.
#
# name             kernels               cpus  scenarios or groups (guest/)              options of lab/host
readonly CASES='
hostile-6.1        6.1,6.1               2     -
hostile-6.12       6.12,6.1              2     -
migrated           6.1                   2     -
migrated-7.2       7.2                   1     -
arrived            6.12                  1     -
filesystems-7.2    7.2                   2     filesystems                               FILESYSTEMS
swaps              6.1,6.12              2     -
random             5.10,7.2              2     -
all-5.10-1         5.10                  1     EVERYTHING
all-6.1-1          6.1                   1     EVERYTHING
all-6.12-1         6.12                  1     EVERYTHING
all-7.2-1          7.2                   1     EVERYTHING
all-5.10-2         5.10                  2     EVERYTHING                                SMP
all-6.1-2          6.1                   2     EVERYTHING                                SMP
all-6.12-2         6.12                  2     EVERYTHING                                SMP
all-7.2-2          7.2                   2     EVERYTHING                                SMP
pair-1-a           5.10,7.2              1     paper
pair-1-b           6.1,6.12              1     paper
pair-2-a           5.10,6.12             2     paper
pair-2-b           6.1,7.2               2     paper
pair-2-c           6.1,6.1               2     paper
twins              6.1,6.1               1     twins
reboot             6.1                   2     -                                         --reboot
kexec              6.12                  2     -                                         --reboot
kexec-same         6.12                  2     -                                         --reboot --append nokaslr
crashed            6.12                  2     -                                         --reboot --memory 512 --append crashkernel=192M
crashed-pm         6.12                  2     -                                         --reboot --memory 512 --append crashkernel=192M --qemu-arg -overcommit --qemu-arg cpu-pm=on
stored             6.1                   2     -                                         --reboot
stored-5.10        5.10                  1     -                                         --reboot
stored-6.12        6.12                  1     -                                         --reboot
stored-7.2         7.2                   2     -                                         --reboot
gdb                6.1                   2     -                                         --qemu-arg -gdb --qemu-arg unix:{dir}/gdb.sock,server=on,wait=off
snapshot           6.12                  1     -                                         NO-DISK
stopped            7.2                   2     -
plugged            6.1                   2     -                                         --qemu-arg -smp --qemu-arg 2,sockets=3,cores=1,threads=1,maxcpus=3 --qemu-arg -m --qemu-arg 256M,slots=2,maxmem=2G
lent               6.1                   2     -                                         --qemu-arg -m --qemu-arg 256M,slots=1,maxmem=1G
suspended          6.1                   2     -
suspended-7.2      7.2                   1     -
hibernated         6.12                  1     -                                         --reboot --append rdinit=/payload/early --qemu-arg -drive --qemu-arg if=none,id=swap,driver=raw,file.driver=null-co,file.size=536870912,file.read-zeroes=on,snapshot=on --qemu-arg -device --qemu-arg virtio-blk-pci,drive=swap,serial=swap,addr=0x1d
nested             6.1                   1     -
yields-5.10        5.10                  1     case1,chain,case2
yields-6.1         6.1                   2     case1,chain,case2
yields-6.12        6.12                  1     case1,chain,case2
yields-7.2         7.2                   1     case1,chain,case2
tampered           6.12                  1     case1,chain                               --qemu-arg -gdb --qemu-arg unix:{dir}/gdb.sock,server=on,wait=off
sandbox            7.2                   2     case1,case2                               --qemu-arg -sandbox --qemu-arg on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
daemonize          6.1                   1     case1,case2                               --qemu-arg -daemonize
microvm            6.1                   1     case1,case2                               NO-DISK --machine microvm
same-uuid          6.1,7.2               1     case1                                     --qemu-arg -uuid --qemu-arg 6e696a69-6d69-4a01-8b02-00c0ffee00ff
daemon-killed      6.1,6.12              1     -
fault              6.1,6.1               1     -
fault-closed       7.2                   2     -
early              5.10                  2     case1                                     --append rdinit=/payload/early
early-7.2          7.2                   1     case1                                     --append rdinit=/payload/early
ipc-5.10           5.10                  2     ipc,packets,cores,containers,ring
ipc-6.1            6.1                   2     ipc,packets,cores,containers,ring
ipc-6.12           6.12                  2     ipc,packets,cores,containers,ring
ipc-7.2            7.2                   2     ipc,packets,cores,containers,ring
filesystems-5.10   5.10                  1     filesystems                               FILESYSTEMS
filesystems-6.1    6.1                   2     filesystems                               FILESYSTEMS
filesystems-6.12   6.12                  1     filesystems                               FILESYSTEMS
random-1           6.1,6.12              1     -
compat-5.10        5.10                  1     compat,compat-32,EXACT
compat-6.1         6.1                   2     compat,compat-32,EXACT
compat-6.12        6.12                  1     compat,compat-32,EXACT
compat-7.2         7.2                   2     compat,compat-32,SUCCEED
policy-5.10        5.10                  1     -
policy-6.1         6.1                   2     -
policy-6.12        6.12                  1     -
policy-7.2         7.2                   2     -
block-5.10         5.10                  1     -                                         --qemu-arg -device --qemu-arg virtio-scsi-pci,id=scsi
block-6.1          6.1                   2     -                                         --qemu-arg -device --qemu-arg virtio-scsi-pci,id=scsi
block-6.12         6.12                  1     -                                         --qemu-arg -device --qemu-arg virtio-scsi-pci,id=scsi
block-7.2          7.2                   2     -                                         --qemu-arg -device --qemu-arg virtio-scsi-pci,id=scsi
hand-5.10          5.10                  1     -
hand-6.1           6.1                   2     -
hand-6.12          6.12                  1     -
hand-7.2           7.2                   2     -
hostile-closed     6.1                   1     -
stalled            6.12,6.1              1     -
bad-use            -                     -     -
'
readonly EVERYTHING='paper negatives names channels memory endings races counters breakpoints'
# What 32-bit programs play: where the end of their calls is seen, and where it is not (docs/coverage.md).
readonly COMPAT_EXACT='paper negatives names channels memory endings races'
readonly COMPAT_SUCCEED='paper names channels memory endings'
readonly CLASSIFIED=('/classified/**' '/dev/shm/secret*' '/only-1/**')
readonly SCRIPT_SECONDS=${SCRIPT_SECONDS:-300}
# The console is for the scenarios: no word of the kernel's between their lines.
readonly KERNEL_ARGUMENTS='loglevel=1 rcupdate.rcu_cpu_stall_suppress=1'

# Which hook a case is played with, as a part of its name: CASE is the default (patch, where the kernel has all that it needs),
# CASE@debugreg and CASE@filter the others. The list has two of what concerns the hook itself, and of the rest one or another, so that each kernel has
# each. E2E_HOOKS=both: patch and debugreg of everything (about 50 minutes); E2E_HOOKS=HOOK: all with that one. Then also what is not in the
# list since another kernel has it (NOT_ALWAYS).
readonly WITH_BOTH_HOOKS='^(all-.*-1|kexec|gdb|snapshot|ipc-7.2) '
readonly WITH_DEBUGREG='^((stored|ipc|filesystems|compat|policy|hand)-(5.10|6.12)|block-5.10|pair-1-b|pair-2-a|random-1|all-6.12-2) '
readonly WITH_FILTER='^(all-.*-1|all-7.2-2|kexec|ipc-6.1|filesystems-7.2|block-6.12|migrated-7.2|suspended-7.2|yields-6.12|random|swaps) '
# What is about giving way to debug registers, or about no hook.
readonly NEVER_WITH_DEBUGREG='^(yields-.*|tampered|migrated|migrated-7.2|bad-use) '
readonly NOT_ALWAYS='^(hibernated|crashed|crashed-pm|lent|pair-1-a|suspended|kexec-same|pair-2-a@debugreg|reboot|twins|migrated|block-5.10@debugreg|fault-closed|all-6.1-1|all-5.10-2|early-7.2|daemonize|hostile-6.12|hand-6.1|hand-6.12@debugreg|policy-(6.1|5.10@debugreg)|stored|stored-6.12@debugreg|pair-1-b@debugreg|pair-2-b|pair-2-c|all-(6.12|6.1|7.2)-1@debugreg|all-(5.10|6.12|7.2)-1@filter|all-6.1-2|all-7.2-2|all-6.12-2@debugreg|kexec|kexec@debugreg|gdb@debugreg|snapshot@debugreg|yields-5.10|ipc-6.12@debugreg|filesystems-6.12@debugreg|compat-6.12@debugreg|random-1@debugreg|yields-(6.1|7.2)|block-(6.1|7.2)|ipc-7.2@debugreg|compat-6.1|hand-5.10@debugreg|policy-6.12@debugreg|stored-5.10@debugreg|filesystems-6.1|filesystems-5.10@debugreg|all-7.2-2@filter) '

# case_row NAME: into KERNELS, CPUS, SCENARIOS, SMP and OPTIONS.
case_row()
{
	local row i append=$KERNEL_ARGUMENTS

	row=$(grep "^${1%@*} " <<< "$CASES")
	read -r _ KERNELS CPUS SCENARIOS OPTIONS <<< "$row"
	[[ $SCENARIOS != EVERYTHING ]] || SCENARIOS=$EVERYTHING
	[[ $SCENARIOS != - ]] || SCENARIOS=''
	SCENARIOS=${SCENARIOS//,/ }
	SCENARIOS=${SCENARIOS/EXACT/$COMPAT_EXACT}
	SCENARIOS=${SCENARIOS/SUCCEED/$COMPAT_SUCCEED}
	KERNELS=${KERNELS//,/ }
	read -ra OPTIONS <<< "${OPTIONS:-}"
	SMP=''
	if [[ ${OPTIONS[0]:-} == SMP ]]; then
		SMP=1
		OPTIONS=("${OPTIONS[@]:1}")
	fi
	if [[ ${OPTIONS[0]:-} == NO-DISK ]]; then
		OPTIONS=("${OPTIONS[@]:1}")
	else
		OPTIONS+=(--qemu-arg -drive --qemu-arg 'if=none,id=notes,format=raw,file={out}/vm{vm}.disk'
			--qemu-arg -device --qemu-arg virtio-blk-pci,drive=notes)
	fi
	if [[ ${OPTIONS[0]:-} == FILESYSTEMS ]]; then
		OPTIONS=("${OPTIONS[@]:1}")
		for i in btrfs xfs; do
			OPTIONS+=(--qemu-arg -drive --qemu-arg "if=none,id=$i,format=raw,snapshot=on,file=${NIJIMI_LAB_FILESYSTEMS:-}/$i"
				--qemu-arg -device --qemu-arg "virtio-blk-pci,drive=$i,serial=$i")
		done
	fi
	for i in "${!OPTIONS[@]}"; do
		[[ ${OPTIONS[i]} != --append ]] || append+=" ${OPTIONS[i + 1]}"
	done
	OPTIONS+=(--append "$append")
	[[ $1 != *@* ]] || OPTIONS+=(--hook "${1#*@}")
}

# function_of NAME: how a case's own functions are called.
function_of()
{
	local name=${1%@*}

	echo "${name//[-.]/_}"
}

# hooks_of ROW: "" for the default.
hooks_of()
{
	if [[ -n ${E2E_HOOKS:-} && $E2E_HOOKS != both ]]; then
		[[ $E2E_HOOKS == debugreg && $1 =~ $NEVER_WITH_DEBUGREG ]] || echo "@$E2E_HOOKS"
	elif [[ ${E2E_HOOKS:-} == both ]]; then
		echo
		[[ $1 =~ $NEVER_WITH_DEBUGREG ]] || echo @debugreg
	else
		[[ $1 =~ $WITH_DEBUGREG || ($1 =~ $WITH_FILTER && ! $1 =~ $WITH_BOTH_HOOKS) ]] || echo
		[[ ! $1 =~ $WITH_DEBUGREG && ! $1 =~ $WITH_BOTH_HOOKS ]] || echo @debugreg
		[[ ! $1 =~ $WITH_FILTER ]] || echo @filter
	fi
}

case_names()
{
	local row hook

	while read -r row; do
		[[ -n $row ]] || continue
		while read -r hook; do
			[[ -z ${E2E_HOOKS:-} && "${row%% *}$hook " =~ $NOT_ALWAYS ]] || echo "${row%% *}$hook"
		done < <(hooks_of "$row")
	done <<< "$CASES"
}

# is_case NAME: whether there is that one, in the list or not.
is_case()
{
	[[ $1 =~ ^([^@]+)(@debugreg|@filter)?$ && $CASES == *$'\n'"${BASH_REMATCH[1]} "* ]]
}

# has FUNCTION
has()
{
	declare -F "$1" > /dev/null
}

# edit_init PAYLOAD EXPRESSION: PAYLOAD/early, for rdinit=, is the first program of the lab's guests, changed by sed.
edit_init()
{
	cat > "$1/early" <<- END
		#!/bin/busybox sh
		/bin/busybox sed '$2' /init > /early
		exec /bin/busybox sh /early
	END
	chmod +x "$1/early"
}

# guest_script NAME: what the case runs in its guests.
guest_script()
{
	echo '#!/bin/busybox sh'
	if has "guest_$(function_of "$1")"; then
		"guest_$(function_of "$1")" "$1"
	else
		echo "exec /payload/scenario $SCENARIOS"
	fi
}

# The scenarios that have to be there in the log: those of the row, and what the case names itself.
SCENARIO_PROGRAM=''
scenarios_of()
{
	# shellcheck disable=SC2086 # names
	[[ -z $1 ]] || "$SCENARIO_PROGRAM" --list $1
}

# collect_notes OUT: what the guests noted, from their disks or else their consoles.
collect_notes()
{
	local log

	for log in "$1"/vm*.log; do
		[[ -e $log ]] || continue
		tr -d '\0' < "${log%.log}.disk" > "${log%.log}.notes" 2> /dev/null || true
		[[ -s ${log%.log}.notes ]] || tr -d '\r' < "$log" > "${log%.log}.notes"
	done
}

# judge NAME OUT: says what is wrong, a line for each thing.
judge()
{
	local name=$1 out=$2 status vm=0 kernel

	status=$(cat "$out/status")
	collect_notes "$out"
	if has "judge_$(function_of "$name")"; then
		"judge_$(function_of "$name")" "$out" "$status" || true
		return
	fi
	judge_played "$out" "$status" || return 0
	for kernel in $KERNELS; do
		((vm += 1))
		judge_vm "$out" "$vm" "$kernel" "$SCENARIOS"
	done
}

# judge_played OUT STATUS: lab/host must have been content.
judge_played()
{
	[[ $2 == 0 ]] && return
	echo "lab/host: $(grep '^lab: ' "$1/lab.log" | tail -n 1) (status $2)"
	[[ ! -s $1/host.log ]] || tail -n 5 "$1/host.log"
	# A scenario that failed has left a state to look at.
	[[ $2 == 1 ]]
}

# judge_vm OUT VM KERNEL SCENARIOS: exactly what was announced has been traced, with nothing left open.
judge_vm()
{
	local json=$1/vm$2.json prefix="vm$2 ($3): "

	# shellcheck disable=SC2046 # names
	{ "$E2E/compare" "$1/vm$2.notes" "$json" $(scenarios_of "$4") || true; } | sed "s|^|$prefix|"
	[[ -s $json ]] || return 0
	jq -r '
		(if .state != "armed" then "the state is \(.state): \(.reason)" else empty end),
		(if .uuid_conflict then "another VM has its UUID" else empty end),
		(.gaps[] | "gap \(.kind) (\(.count)): \(.detail)"),
		(if ([.edges[].seq] | . == [range(1; length + 1)]) then empty
			else "the sequence of the edges has holes or doubles" end)
	' "$json" | sed "s|^|$prefix|"
}

# want VALUE EXPECTED WHAT
want()
{
	[[ $1 == "$2" ]] || echo "$3: '$1' instead of '$2'"
}

state()
{
	jq -r "$2" "$1"
}

# What the host does in the middle of a case: host_NAME EVENT ARGUMENT... (see lab/host --help), or, for
# `call N WORD ...`, on_WORD N ARGUMENT... of any case.

# is_emulated: the machine that this runs on is the box.
is_emulated()
{
	grep -q 'TCG CPU' /proc/cpuinfo
}

counters_now()
{
	"$NIJIMI" state "vm$1" --json |
		jq -r '"\(.counters.syscall_entries) \(.counters.syscall_exits) \(.counters.debug_exits) \(.hook)"'
}

# counters_at_rest VM: twice the same, so that the guest does nothing.
counters_at_rest()
{
	local now='' before tries

	for ((tries = 0; tries < 40; tries++)); do
		before=$now
		now=$(counters_now "$1")
		[[ $now != "$before" ]] || { echo "$now"; return; }
		sleep 0.2
	done
	echo "the guest does not come to rest: $before, $now" >&2
	return 1
}

# on_counters VM CALLS MOVING: CALLS were made since the first look (0: this is it), of which MOVING may move something. Debug
# registers stop at all of them, at their entry and their exit; patched functions at those that matter, and at no more of
# their exits. In the box an exit may pass: QEMU's emulation saves RFLAGS.RF as set for interrupts, too, not for faults alone, so that
# a breakpoint at which one came is not seen on the way back (6 of 100,000 were measured; up to 6.12 the exit is where interrupts are let through).
on_counters()
{
	local file=$OUT/counters-$1 entries exits all hook before_entries before_exits before_all passed=0

	read -r entries exits all hook < <(counters_at_rest "$1")
	if (($2)); then
		read -r before_entries before_exits before_all < "$file"
		# An exit that KVM has reported, and that was not taken for one of ours, is among the debug exits alone.
		echo "counters: entries $before_entries to $entries, exits $before_exits to $exits; $2 calls, $3 moving, $hook;" \
			"debug exits $before_all to $all" >> "$OUT/host.log"
		! is_emulated || passed=$(($2 / 1000))
		case $hook in
		debugreg) ((entries - before_entries == $2 && exits - before_exits <= $2 && exits - before_exits >= $2 - passed)) ;;
		filter) ((entries - before_entries <= $3 && exits - before_exits <= $3)) ;; # some of those pass
		*) ((entries - before_entries == $3 && exits - before_exits <= $3)) ;;
		esac
	else
		echo "$entries $exits $all" > "$file"
	fi
}

# qmp VM COMMAND-LINE: as in QEMU's monitor. Fails if that answers anything.
qmp()
{
	local line status=1 answers=0

	coproc MONITOR { exec socat - "UNIX-CONNECT:$RUN/vm$1/qmp.sock"; }
	{
		echo '{"execute": "qmp_capabilities"}'
		jq -cn --arg line "$2" '{execute: "human-monitor-command", arguments: {"command-line": $line}}'
	} >&"${MONITOR[1]}"
	while ((answers < 2)) && read -r -t 120 -u "${MONITOR[0]}" line; do
		echo "$line" >> "$OUT/qmp.log"
		[[ $line != '{"return"'* && $line != '{"error"'* ]] || ((answers += 1))
		[[ $line != '{"return": ""'* ]] || status=0
	done
	kill "$MONITOR_PID"
	wait "$MONITOR_PID" 2> /dev/null || true
	return "$status"
}

# ---- reboot: what was in memory is forgotten, what is on the disk is not, and the next kernel is traced

guest_reboot()
{
	cat <<- 'END'
		[ "$BOOT" = 1 ] && { /payload/scenario case1 chain; sync; reboot -f; }
		exec /payload/scenario case2 exited
	END
}

judge_reboot()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" .boot)" 2 "boot"
	want "$(state "$1/vm1.json" .state)" armed "state"
	grep -q '@ case1 done' "$1/vm1.notes" || echo "the first boot did not play case1"
	sed '1,/@ - boot 2/d' "$1/vm1.notes" > "$1/second.notes"
	# Files of the first boot on the disk hold their labels; nothing else of it does.
	sed '/@ - boot 2/,$d' "$1/vm1.notes" | sed -n 's/^.*@ [^ ]* file live [^ ]* [^ ]* //p' | grep -v '^/dev/' |
		jq -Rs 'split("\n") | map(select(. != ""))' > "$1/first-files.json"
	jq -r --slurpfile first "$1/first-files.json" '$first[0] - [.files[].path] | .[] | "has lost its labels: \(.)"' "$1/vm1.json"
	# What has ended is told apart by nothing but its end: compared without the lists of that.
	jq --slurpfile first "$1/first-files.json" '.ended = {files: [], processes: [], sockets: []} |
		.files |= map(select(.path as $path | $first[0] | index($path) | not))' "$1/vm1.json" > "$1/second.json"
	"$E2E/compare" "$1/second.notes" "$1/second.json" case2 exited |
		grep -v 'exited: not traced: process ended' || true
}

# ---- stored: labels of files outlive the boot and the daemon

# The folder of the case is tests/e2e/play's.
environment_stored()
{
	# shellcheck disable=SC2154
	export NIJIMI_STATE=$work/state
}
environment_stored_5_10() { environment_stored; }
environment_stored_6_12() { environment_stored; }
environment_stored_7_2() { environment_stored; }

# In the second boot nobody touches what a path says is classified: only the copies under plain names.
guest_stored()
{
	cat <<- 'END'
		if [ "$BOOT" = 1 ]; then
			mkdir -p /classified /plain
			echo secret > /classified/source
			echo public > /plain/public
			cat /classified/source > /plain/copy
			cat /classified/source > /plain/unlinked
			cat /classified/source > /plain/never-touched
			cat /classified/source > /plain/renamed
			sync
			call stored-restart || exit 1
			sync
			reboot -f
		fi
		mv /plain/renamed /plain/other-name
		cat /plain/copy > /plain/second
		cat /plain/other-name > /plain/third
		cat /plain/public > /plain/clean
		rm /plain/unlinked
		sync
	END
}
guest_stored_5_10() { guest_stored; }
guest_stored_6_12() { guest_stored; }
guest_stored_7_2() { guest_stored; }

on_stored_restart()
{
	local limit=$((SECONDS + 30))

	kill -KILL "$(cat "$DAEMON_PID_FILE")"
	setsid "${NIJIMI}d" --socket "$NIJIMI_SOCKET" --state "$NIJIMI_STATE" < /dev/null > "$OUT/nijimid-2.log" 2>&1 &
	echo $! > "$DAEMON_PID_FILE"
	until [[ $("$NIJIMI" vms --json 2> /dev/null | jq 'map(select(.state == "armed")) | length') == 1 ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.2
	done
}

judge_stored()
{
	local json=$1/vm1.json

	judge_played "$1" "$2" || return 0
	want "$(state "$json" .boot)" 2 "boot"
	want "$(state "$json" '[.files[] | select(.filesystem == "ext4") | .path] | sort | join(" ")')" \
		'/classified/source /plain/copy /plain/never-touched /plain/other-name /plain/second /plain/third' "managed files"
	want "$(state "$json" '[.edges[] | select(.syscall == "stored") | .to.path] | sort | join(" ")')" \
		'/plain/copy /plain/other-name /plain/unlinked' "files that got their labels back"
	want "$(state "$json" '[.edges[] | select(.to.path == "/plain/second") | .syscall] | length > 0')" true "the copy of the copy"
	want "$(state "$json" '[.ended.files[].path | select(startswith("/plain/unlinked"))] | length > 0')" true "the unlinked file has ended"
	want "$(state "$json" '[.processes[].comm] | join(" ")')" '' "managed processes"
	want "$(state "$json" '[.kernels[]] | length')" 2 "kernels"
	state "$json" '.gaps[] | "gap \(.kind) (\(.count)): \(.detail)"'
}
judge_stored_5_10() { judge_stored "$@"; }
judge_stored_6_12() { judge_stored "$@"; }
judge_stored_7_2() { judge_stored "$@"; }

# ---- kexec: another kernel, without a reset of the machine, which does not start the second processor (as a crash kernel does not): that
# one stays in the first kernel for ever. Before, the guest forges its UUID where the firmware has left it: who it is
# says QEMU's command line

guest_kexec()
{
	echo "ARGUMENT='${2-maxcpus=1}'"
	cat <<- 'END'
		forge()
		{
			# The chipset keeps the BIOS area read-only (i440FX, PAM0), until it is told otherwise.
			printf '\060' | dd of=/sys/bus/pci/devices/0000:00:00.0/config bs=1 seek=89 conv=notrunc
			dd if=/dev/mem of=/run/bios bs=4096 skip=240 count=16
			for place in $(strings -t d /run/bios | awk '/ijinim/ { print $1 }'); do
				printf X | dd of=/dev/mem bs=1 seek=$((0xf0000 + place)) conv=notrunc
			done
			[ -n "$place" ] && dd if=/dev/mem bs=4096 skip=240 count=16 | strings | grep -q Xjinim
		}
		[ "$BOOT" = 1 ] || exec /payload/scenario case2 exited
		/payload/scenario case1 chain || exit 1
		forge 2> /dev/null || { echo "the UUID was not forged"; exit 1; }
		sync
		exec /payload/kexec /payload/kernel /payload/initramfs $ARGUMENT
	END
}

payload_kexec()
{
	cp "$NIJIMI_LAB_KERNEL_6_12/"{kernel,initramfs} "$1"
}

judge_kexec()
{
	judge_reboot "$@"
	want "$(state "$1/vm1.json" .uuid)" 6e696a69-6d69-4a01-8b02-00c0ffee0001 "UUID"
	# The first is what the guest forged it with, /dev/mem.
	want "$(state "$1/vm1.json" '[.gaps[].kind] | sort | join(" ")')" 'unfollowed-device uuid-differs' "gaps"
}

# ---- kexec-same: the other kernel has everything where this one had it. That it is another one is seen by where that lies in memory.

guest_kexec_same() { guest_kexec "$1" ''; }
payload_kexec_same() { payload_kexec "$1"; }

judge_kexec_same() { judge_kexec "$@"; }

# ---- crashed: the kernel panics on its second processor, and its crash kernel goes on there, in memory of its own: the first processor stays
# parked, and what the first kernel had is still in memory

guest_crashed()
{
	cat <<- 'END'
		[ "$BOOT" = 1 ] || exec /payload/scenario case2 exited
		/payload/scenario case1 chain || exit 1
		sync
		/payload/kexec -p /payload/kernel /payload/initramfs maxcpus=1 || exit 1
		exec taskset 2 sh -c 'echo c > /proc/sysrq-trigger'
	END
}

payload_crashed() { payload_kexec "$1"; }

judge_crashed()
{
	judge_reboot "$@"
	want "$(state "$1/vm1.json" '[.gaps[].kind] | sort | join(" ")')" '' "gaps"
}

# ---- crashed-pm: the same where processors halt without leaving the guest: the parked one does not look as if it were

guest_crashed_pm() { guest_crashed "$@"; }
payload_crashed_pm() { payload_crashed "$@"; }
judge_crashed_pm() { judge_crashed "$@"; }

# ---- gdb: QEMU's own gdbstub, with breakpoints, while traced

guest_gdb()
{
	cat <<- 'END'
		address=$(grep ' T __x64_sys_getppid$' /proc/kallsyms | cut -d' ' -f1)
		/payload/scenario ticker case1 || exit 1
		call gdb hbreak "$address" || exit 1
		call gdb break "$address" || exit 1
		exec /payload/scenario case2 chain
	END
}

# on_gdb VM KIND ADDRESS. In the box the emulated processor does not intercept #BP: no software breakpoints there.
on_gdb()
{
	[[ $2 != break ]] || ! is_emulated || return 0
	timeout 120 gdb -nx -batch -ex 'set architecture i386:x86-64' -ex 'set remotetimeout 60' \
		-ex "target remote $RUN/vm$1/gdb.sock" -ex "$2 *0x$3" \
		-ex continue -ex 'printf "first stop at %#lx\n", $rip' \
		-ex continue -ex 'printf "second stop at %#lx\n", $rip' \
		-ex stepi -ex 'printf "a step to %#lx\n", $rip' \
		-ex delete -ex detach > "$OUT/gdb-$2.log" 2>&1 < /dev/null
	grep -qix "first stop at 0x0*$3" "$OUT/gdb-$2.log" && grep -qix "second stop at 0x0*$3" "$OUT/gdb-$2.log"
}

judge_gdb()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 6.1 'case1 case2 chain ticker'
}

# ---- yields: the guest traces its own kernel, at the very functions where nijimi stops it

# default_hook OUT: what stands for `patch` in the case that is played there.
default_hook()
{
	case $1 in
	*@*) echo "${1##*@}" ;;
	*) echo patch ;;
	esac
}

# on_hook VM HOOK SECONDS: until it is in force.
on_hook()
{
	local limit=$((SECONDS + $3)) now wanted=$2

	[[ $wanted != patch ]] || wanted=$(default_hook "$OUT")
	until now=$("$NIJIMI" state "vm$1" --json | jq -r '"\(.hook) \(.reason)"') && [[ $now == "$wanted "* ]]; do
		((SECONDS < limit)) || { echo "the hook of vm$1 is $now, not $wanted" >> "$OUT/host.log"; return 1; }
		sleep 0.2
	done
	echo "vm$1: $now" >> "$OUT/host.log"
}

guest_yields()
{
	cat <<- 'END'
		tracing=/sys/kernel/tracing
		mount -t tracefs none $tracing || exit 1
		dmesg -c > /dev/null
		/payload/scenario case1 || exit 1
		call hook patch 10 || exit 1
		# By ftrace, and by a kprobe, which is made by it.
		echo __x64_sys_read > $tracing/set_ftrace_filter && echo function > $tracing/current_tracer || exit 1
		call hook debugreg 1 || exit 1
		cat /etc/passwd > /dev/null
		echo 0 > $tracing/tracing_on # whoever reads the trace is in it
		grep -q '__x64_sys_read <-' $tracing/trace || exit 1
		/payload/scenario chain || exit 1
		echo nop > $tracing/current_tracer && echo > $tracing/set_ftrace_filter || exit 1
		if [ -e $tracing/kprobe_events ]; then
			echo 'p:ink __x64_sys_openat' > $tracing/kprobe_events && echo 1 > $tracing/events/kprobes/ink/enable || exit 1
			call hook debugreg 1 || exit 1
			echo 1 > $tracing/tracing_on
			cat /etc/passwd > /dev/null
			echo 0 > $tracing/events/kprobes/ink/enable
			grep -q ' ink: (__x64_sys_openat' $tracing/trace || exit 1
			echo > $tracing/kprobe_events
		fi
		call hook patch 60 || exit 1
		dmesg | grep -E 'ftrace|WARNING|BUG:|Oops' | grep -v 'ftrace: allocat' && exit 1
		exec /payload/scenario case2
	END
}
guest_yields_5_10() { guest_yields; }
guest_yields_6_1() { guest_yields; }
guest_yields_6_12() { guest_yields; }
guest_yields_7_2() { guest_yields; }

# ---- tampered: somebody changes code of ours

guest_tampered()
{
	cat <<- 'END'
		site=$(grep ' T __x64_sys_lgetxattr$' /proc/kallsyms | cut -d' ' -f1)
		/payload/scenario case1 || exit 1
		call hook patch 10 || exit 1
		call tamper "$site" || exit 1
		call hook debugreg 10 || exit 1
		exec /payload/scenario chain
	END
}

# on_tamper VM FUNCTION: into five NOPs of a byte each, behind ENDBR64, which mean the same.
on_tamper()
{
	timeout 120 gdb -nx -batch -ex 'set architecture i386:x86-64' -ex 'set remotetimeout 60' \
		-ex "target remote $RUN/vm$1/gdb.sock" -ex "set {int} (0x$2 + 4) = 0x90909090" \
		-ex "set {char} (0x$2 + 8) = 0x90" -ex detach > "$OUT/gdb.log" 2>&1 < /dev/null
}

judge_tampered()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 6.12 'case1 chain' | grep -v '^vm1 (6.12): gap tampered (1): '
	want "$(state "$1/vm1.json" '[.gaps[] | select(.kind == "tampered")] | length')" 1 'gaps of the kind "tampered"'
	state "$1/vm1.json" .reason | grep -q '90 90 90 90 90' || echo "the reason does not say what was found: $(state "$1/vm1.json" .reason)"
}

# ---- migrated: what leaves the VM has nothing of ours in it, and goes on elsewhere, untraced

guest_migrated()
{
	cat <<- 'END'
		# Ways back to us lead into the first of these that begins with nothing but our code.
		functions=$(grep -E ' [Tt] (fd_install|f_dupfd|vfs_readlink|wake_up_new_task)$' /proc/kallsyms | cut -d' ' -f1)
		[ -n "$functions" ] || exit 1
		/payload/scenario case1 || exit 1
		# Inside a call that is watched: it has classified information, and waits to write it, as the pipe is full of other things.
		mkfifo /tmp/waiting
		sh -c 'exec 3<> /tmp/waiting; dd if=/dev/zero bs=4096 count=16 >&3; read line < /classified/case1/source; echo "$line" >&3' &
		(while :; do echo alive; cat /classified/case1/source > /dev/null; sleep 0.2; done) > /dev/ttyS0 &
		call hook patch 10 || exit 1
		call dumped $functions || exit 1
		call hook patch 10 || exit 1
		call cancelled || exit 1
		call hook patch 30 || exit 1
		call migrated $functions || exit 1
		call hook patch 30 || exit 1
		kill %1 %2
		exec /payload/scenario case2
	END
}
guest_migrated_7_2() { guest_migrated; }

# count_ours FILE FUNCTION...: sets CODE and WAYS, how many places there are with code of ours, and with a way back to it.
count_ours()
{
	local function ways=()

	for function in "${@:2}"; do
		# Without, and with four bytes in front of the site.
		ways+=("$(printf '%016x' $((0x$function + 2)))" "$(printf '%016x' $((0x$function + 6)))")
	done
	# Not by grep: an address may have any byte in it, also those that end its lines.
	read -r CODE WAYS < <(perl -e '
		my ($code, $way, $codes, $ways, $tail) = ("\xe7\xe5\xe7\xe5\x90", undef, 0, 0, "");
		open(my $memory, "<:raw", shift) or die;
		$way = join "|", map { quotemeta reverse pack "H*", $_ } @ARGV; # the lowest byte first
		while (read $memory, my $part, 1 << 20) {
			my $data = $tail . $part;
			$codes++ while $data =~ /$code/g;
			$ways++ while $data =~ /$way/g;
			$tail = substr $data, -7;
		}
		print "$codes $ways\n"' "$1" "${ways[@]}")
}

# on_dumped VM FUNCTION...: the memory as it is while the VM runs has our code in it, what is dumped has not.
on_dumped()
{
	local memory=$RUN/memory CODE WAYS

	qmp "$1" "pmemsave 0 268435456 \"$memory\"" || return 1
	count_ours "$memory" "${@:2}"
	echo "dumped: code in $CODE places and $WAYS ways back while it runs" >> "$OUT/host.log"
	((CODE > 50 && WAYS > 0)) || return 1
	rm -f "$memory"
	qmp "$1" "dump-guest-memory $memory" || return 1
	count_ours "$memory" "${@:2}"
	echo "dumped: code in $CODE places and $WAYS ways back in the dump" >> "$OUT/host.log"
	((CODE == 0 && WAYS == 0)) || return 1
	rm -f "$memory"
}

# on_cancelled VM: a migration that would take for ever.
on_cancelled()
{
	qmp "$1" 'migrate_set_parameter max-bandwidth 4096' || return 1
	qmp "$1" "migrate -d exec:cat>/dev/null" || return 1
	on_hook "$1" debugreg 10 || return 1
	qmp "$1" 'migrate_cancel' || return 1
	qmp "$1" 'migrate_set_parameter max-bandwidth 1g'
}

# destination_arguments VM: of the same machine, that waits for its memory.
destination_arguments()
{
	local argument dir=$RUN/vm$1

	while IFS= read -r -d '' argument; do
		case $argument in
		file,id=console,*) argument="file,id=console,path=$OUT/destination.log" ;;
		pipe,id=control,*) argument='null,id=control' ;;
		unix:$dir/qmp.sock,*) argument="unix:$RUN/vm9/qmp.sock,server=on,wait=off" ;;
		"$dir/pid") argument="$RUN/vm9/pid" ;;
		if=none,id=notes,*) argument="if=none,id=notes,format=raw,file=$RUN/vm9/notes" ;;
		esac
		DESTINATION+=("$argument")
	done < "/proc/$(cat "$dir/pid")/cmdline"
}

# start_destination VM COMMAND...: another QEMU that waits for it, by way of COMMAND; DESTINATION_PID is its process.
start_destination()
{
	local DESTINATION=() limit

	truncate -s 1M "$RUN/vm9/notes"
	destination_arguments "$1"
	env -u LD_PRELOAD LD_LIBRARY_PATH="$NIJIMI_LAB_QEMU_LIBRARIES" "${@:2}" "${DESTINATION[@]}" \
		-incoming "unix:$RUN/vm9/incoming" < /dev/null > "$OUT/destination.err" 2>&1 &
	DESTINATION_PID=$!
	limit=$((SECONDS + 60))
	until [[ -S $RUN/vm9/incoming ]]; do
		((SECONDS < limit)) && kill -0 "$DESTINATION_PID" || return 1
		sleep 0.1
	done
}

# await_life SECONDS: of what has arrived.
await_life()
{
	local limit=$((SECONDS + $1)) alive

	until alive=$(grep -c alive "$OUT/destination.log" 2> /dev/null) && ((alive >= 5)) || ((SECONDS > limit)); do
		sleep 0.2
	done
	echo "migrated: $alive signs of life" >> "$OUT/host.log"
	((alive >= 5))
}

# migrate_once VM FUNCTION...: to another QEMU, until it has run on there for a while. The VM here stands still then.
migrate_once()
{
	local status=0 DESTINATION_PID CODE WAYS

	rm -rf "$RUN/vm9"
	mkdir "$RUN/vm9"
	start_destination "$1" || return 1
	qmp "$1" "migrate -d unix:$RUN/vm9/incoming" || status=1
	await_life 60 || status=1 # it runs on there, with the very same processes
	qmp 9 "pmemsave 0 268435456 \"$RUN/memory\"" || status=1
	count_ours "$RUN/memory" "${@:2}"
	echo "migrated: code in $CODE places and $WAYS ways back in what has arrived" >> "$OUT/host.log"
	((CODE == 0 && WAYS == 0)) || status=1
	rm -f "$RUN/memory"
	kill "$DESTINATION_PID"
	wait "$DESTINATION_PID" 2> /dev/null || true
	return "$status"
}

# lost_error_code: QEMU 10.0 (until a patch of 2025-08, "save/load exception error_code") does not migrate the error code of an exception
# that is about to be delivered. Then the guest's kernel takes a program's page fault for one of its own, and says that it was its own in
# user mode, which no other reason gives.
lost_error_code()
{
	grep -q '#PF: supervisor read access in user mode' "$OUT/destination.log" &&
		grep -q '#PF: error_code(0x0000)' "$OUT/destination.log" && grep -q 'RIP: 0033:' "$OUT/destination.log"
}

# on_migrated VM FUNCTION...
on_migrated()
{
	local status=0 tries

	for tries in 1 2 3; do
		migrate_once "$@" || status=1
		qmp "$1" cont || status=1
		((status == 0)) && lost_error_code && ((tries < 3)) || break
		echo 'migrated: QEMU has lost the error code of a page fault: once more' >> "$OUT/host.log"
		mv "$OUT/destination.log" "$OUT/destination-$tries.log"
		on_hook "$1" patch 30 || status=1
	done
	return "$status"
}

# judge_both_sides OUT: what was played before and after. What other processes of the case hold is of no interest.
judge_both_sides()
{
	{ "$E2E/compare" "$1/vm1.notes" "$1/vm1.json" case1 case2 || true; } | grep -E '^(case1|case2): |^there is no' || true
	grep -E 'BUG|Oops|WARNING' "$1/destination.log" "$1/vm1.log" || true
}

judge_migrated()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" '"\(.state) \(.hook)"')" "armed $(default_hook "$1")" 'state and hook'
	judge_both_sides "$1"
}
judge_migrated_7_2() { judge_migrated "$@"; }

# ---- arrived: the host that it goes to traces it, too; its memory is there before it runs, or comes as it is asked for (post-copy).

guest_arrived()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		(while :; do echo alive; dd if=/classified/case1/source of=/dev/null 2> /dev/null; sleep 0.2; done) > /dev/ttyS0 &
		for way in before after; do
			call hook patch 30 || exit 1
			call arrived $way || exit 1
		done
		kill %1
		exec /payload/scenario case2
	END
}

# there COMMAND ARGUMENT...: nijimi of the other host.
there()
{
	NIJIMI_SOCKET=$RUN/vm9/nijimid.sock "$NIJIMI" "$@"
}

# await_there SECONDS FILTER: true of its state, which goes to arrived.json
await_there()
{
	local limit=$((SECONDS + $1))

	until there state arrived --json > "$OUT/arrived.json" 2> /dev/null && jq -e "$2" "$OUT/arrived.json" > /dev/null; do
		((SECONDS < limit)) || { echo "there: not $2" >> "$OUT/host.log"; return 1; }
		sleep 0.2
	done
}

readonly MISSING='.state == "waiting" and (.reason | contains("memory has not come yet"))'

# memory_before VM / memory_after VM: how it comes.
memory_before()
{
	qmp "$1" "migrate -d unix:$RUN/vm9/incoming"
}

memory_after()
{
	qmp "$1" 'migrate_set_capability postcopy-ram on' && qmp 9 'migrate_set_capability postcopy-ram on' &&
		qmp "$1" 'migrate_set_parameter max-bandwidth 1m' && qmp "$1" 'migrate_set_parameter max-postcopy-bandwidth 4m' &&
		qmp "$1" "migrate -d unix:$RUN/vm9/incoming" && sleep 1 && qmp "$1" 'migrate_start_postcopy' &&
		# It runs while memory is missing.
		await_there 60 "$MISSING" && await_life 60 && await_there 0 "$MISSING" &&
		qmp "$1" 'migrate_set_parameter max-postcopy-bandwidth 1g'
}

# on_arrived VM before|after
on_arrived()
{
	local status=0 daemon DESTINATION_PID glob command=("$NIJIMI" run --name arrived)

	rm -rf "$RUN/vm9"
	mkdir "$RUN/vm9"
	rm -f "$OUT/destination.log"
	"$(dirname "$NIJIMI")/nijimid" --socket "$RUN/vm9/nijimid.sock" --no-state < /dev/null > "$OUT/there.log" 2>&1 &
	daemon=$!
	for glob in "${CLASSIFIED[@]}"; do
		command+=(--classified "$glob")
	done
	# What happens there is seen there: another program reads the secret.
	NIJIMI_SOCKET=$RUN/vm9/nijimid.sock start_destination "$1" "${command[@]}" -- && "memory_$2" "$1" && await_life 60 &&
		await_there 60 '.state == "armed" and .hook == "patch"' &&
		await_there 30 '[.ended.processes[], .processes[] | select(.comm == "dd")] | length > 2' || status=1
	mv "$OUT/arrived.json" "$OUT/arrived-$2.json"
	kill "$DESTINATION_PID" "$daemon"
	wait "$DESTINATION_PID" "$daemon" 2> /dev/null || true
	qmp "$1" cont || status=1
	return "$status"
}

judge_arrived()
{
	local way

	judge_played "$1" "$2" || return 0
	for way in before after; do
		want "$(state "$1/arrived-$way.json" '[.gaps[].kind] | join(" ")')" tracing-late "$way: gaps"
		want "$(state "$1/arrived-$way.json" .uuid)" "$(state "$1/vm1.json" .uuid)" "$way: UUID"
		want "$(state "$1/arrived-$way.json" '[.files[] | select(.path == "/classified/case1/source")] | length')" 1 "$way: the classified file"
	done
	judge_both_sides "$1"
}

# ---- stopped: stop and cont through QMP

guest_stopped()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		call stopped || exit 1
		exec /payload/scenario case2 chain
	END
}

on_stopped()
{
	qmp "$1" stop && sleep 2 && qmp "$1" cont
}

judge_stopped()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 7.2 'case1 case2 chain'
}

# ---- plugged: processors go and come again, and another one comes, with memory above all that was there, is unplugged and comes once more

# guest_memory: what the guest's scripts of plugged and lent begin with.
guest_memory()
{
	cat <<- 'END'
		# wait_for COMMAND...
		wait_for()
		{
			for i in $(seq 100); do
				"$@" && return
				sleep 0.2
			done
			echo "never true: $*"
			exit 1
		}
		# All that is wanted from now on is in the memory that comes.
		fill_memory()
		{
			mkdir -p /run/full
			mount -t tmpfs -o size=90% full /run/full
			free=$(awk '$1 == "MemFree:" { print $2 }' /proc/meminfo)
			dd if=/dev/zero of=/run/full/zero bs=1M count=$((free / 1024 - 24)) 2> /dev/null || exit 1
		}
		# bring_online HOW: the memory that comes, of which `came` are the files of state.
		bring_online()
		{
			wait_for eval 'grep -q offline /sys/devices/system/memory/memory*/state'
			came=$(grep -l offline /sys/devices/system/memory/memory*/state)
			for state in $came; do
				echo "$1" > "$state" || exit 1
			done
		}
	END
}

guest_plugged()
{
	guest_memory
	cat <<- 'END'
		cd /sys/devices/system
		/payload/scenario case1 || exit 1
		echo 0 > cpu/cpu1/online || exit 1
		/payload/scenario chain || exit 1
		echo 1 > cpu/cpu1/online || exit 1
		fill_memory
		call plugged || exit 1
		wait_for test -e cpu/cpu2/online
		echo 1 > cpu/cpu2/online || exit 1
		bring_online online_kernel
		echo 0 > cpu/cpu1/online || exit 1
		cd /
		taskset 4 /payload/scenario case2 exited || exit 1
		call unplugged || exit 1
		wait_for test ! -e /sys/devices/system/cpu/cpu2
		# What is in force changes, which all processors are waited for.
		call cancelled || exit 1
		call hook patch 30 || exit 1
		call plugged-again || exit 1
		wait_for test -e /sys/devices/system/cpu/cpu2/online
		echo 1 > /sys/devices/system/cpu/cpu2/online || exit 1
		taskset 4 /payload/scenario names || exit 1
	END
}

on_plugged()
{
	qmp "$1" 'object_add memory-backend-ram,id=more,size=256M' && qmp "$1" 'device_add pc-dimm,id=dimm,memdev=more' &&
		on_plugged_again "$1"
}

on_plugged_again()
{
	qmp "$1" 'device_add host-x86_64-cpu,id=third,socket-id=2,core-id=0,thread-id=0'
}

on_unplugged()
{
	qmp "$1" 'device_del third'
}

judge_plugged()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 6.1 'case1 chain case2 exited names'
}

# ---- lent: memory that processes have is unplugged under them, and comes again

guest_lent()
{
	guest_memory
	cat <<- 'END'
		# come WORD: the memory, of which processes can have all and the kernel nothing.
		come()
		{
			call "$1" || exit 1
			bring_online online_movable
			fill_memory
		}
		/payload/scenario case1 || exit 1
		come came
		while :; do
			read -r _ < /proc/uptime
		done &
		/payload/scenario endings || exit 1
		umount /run/full
		# What the kernel itself keeps of a file's pages could not be moved.
		sync
		echo 3 > /proc/sys/vm/drop_caches
		for state in $came; do
			wait_for eval "echo offline > $state"
		done
		call went || exit 1
		for state in $came; do
			wait_for test ! -e "$state"
		done
		/payload/scenario chain || exit 1
		come came-again
		/payload/scenario negatives || exit 1
	END
}

on_came()
{
	qmp "$1" 'object_add memory-backend-ram,id=lent,size=128M' && on_came_again "$1"
}

on_came_again()
{
	qmp "$1" 'device_add pc-dimm,id=dimm,memdev=lent'
}

on_went()
{
	qmp "$1" 'device_del dimm'
}

judge_lent()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 6.1 'case1 endings chain negatives'
}

# ---- suspended: the guest sleeps (ACPI S3), and its machine is reset; but its kernel goes on, and with it all that was known

guest_suspended()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		echo deep > /sys/power/mem_sleep || exit 1
		call sleeps || exit 1
		echo mem > /sys/power/state || exit 1
		call hook patch 30 || exit 1
		exec /payload/scenario case2 chain
	END
}
guest_suspended_7_2() { guest_suspended; }

# wake_when_asleep VM: if nothing else does (the lab's keys do, too).
wake_when_asleep()
{
	local line

	coproc MONITOR { exec socat - "UNIX-CONNECT:$RUN/vm$1/qmp.sock"; }
	echo '{"execute": "qmp_capabilities"}' >&"${MONITOR[1]}"
	while read -r -t 120 -u "${MONITOR[0]}" line; do
		echo "$line" >> "$OUT/sleep.log"
		[[ $line != *SUSPEND* ]] || echo '{"execute": "system_wakeup"}' >&"${MONITOR[1]}"
		[[ $line != *WAKEUP* ]] || break
	done
	kill "$MONITOR_PID"
	wait "$MONITOR_PID" 2> /dev/null || true
}

on_sleeps()
{
	wake_when_asleep "$1" > /dev/null 2>&1 < /dev/null &
	until [[ -s $OUT/sleep.log ]]; do # it listens
		sleep 0.1
	done
}

judge_suspended()
{
	judge_played "$1" "$2" || return 0
	case_row "$(basename "$1")"
	judge_vm "$1" 1 "$KERNELS" 'case1 case2 chain'
	want "$(state "$1/vm1.json" .boot)" 1 'boot'
	grep -q SUSPEND "$1/sleep.log" && grep -q WAKEUP "$1/sleep.log" || echo 'the VM has not slept'
}
judge_suspended_7_2() { judge_suspended "$@"; }

# ---- hibernated: the guest's kernel is written to a disk, another one boots, reads it, and gives way to it

# Before a file system is mounted that the other kernel has mounted.
payload_hibernated()
{
	edit_init "$1" '/^# Device type 2/i . /payload/resume'
	cat > "$1/resume" <<- 'END'
		for try in $(seq 100); do
			disk=$(grep -lsx swap /sys/block/*/serial) && break
			usleep 50000
		done
		cat "${disk%/serial}/dev" > /sys/power/resume
	END
}

guest_hibernated()
{
	cat <<- 'END'
		[ "$BOOT" = 1 ] || exit 1
		/payload/scenario case1 || exit 1
		disk=$(grep -lsx swap /sys/block/*/serial) || exit 1
		disk=${disk%/serial}
		mkswap "/dev/${disk##*/}" && swapon "/dev/${disk##*/}" || exit 1
		cat "$disk/dev" > /sys/power/resume
		echo reboot > /sys/power/disk || exit 1
		echo disk > /sys/power/state || exit 1
		call hook patch 60 || exit 1
		# All memory can be had by these.
		for file in /proc/kcore /dev/snapshot; do
			: < "$file" || exit 1
		done
		exec /payload/scenario case2 chain
	END
}

judge_hibernated()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" '"\(.state) \(.hook)"')" "armed $(default_hook "$1")" 'state and hook'
	want "$(state "$1/vm1.json" '[.gaps[] | "\(.kind) \(.count)"] | sort | join(" ")')" 'tracing-late 1 unfollowed-device 2' gaps
	# What runs is known anew: who holds a classified file. What ran before is another boot's, and has ended with it.
	{ "$E2E/compare" "$1/vm1.notes" "$1/vm1.json" case1 case2 chain || true; } |
		grep -vE '^traced, but nobody announced it: (process ended|file ended 0:[0-9]* [0-9]* /dev/vdb$)' || true
}

# ---- nested: a guest in the guest, whose kernel is entered elsewhere

guest_nested()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		modprobe kvm_amd || modprobe kvm_intel || exit 1
		/payload/scenario nested || exit 1
		exec /payload/scenario case2 chain
	END
}

judge_nested()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 6.1 'case1 nested case2 chain'
	want "$(state "$1/vm1.json" .boot)" 1 'boot'
}

# ---- policy: labels of the daemon's file reach the VM before it is traced; what comes to a sink is an alert

environment_policy()
{
	export NIJIMI_LAB_POLICY=$E2E/policy.yaml
}

guest_policy()
{
	cat <<- 'END'
		b=/bin/busybox
		$b ip link set lo up
		$b ip addr add 192.0.2.1/32 dev lo
		$b mkdir -p /secrets /plain
		echo 'the plan' > /secrets/plan
		echo 'mine' > /plain/mine
		$b chown 4711 /plain/mine
		# send PORT ADDRESS FILE
		send() {
			$b timeout 4 $b nc -l -p $1 > /dev/null &
			$b sleep 1
			$b timeout 2 $b nc $2 $1 < $3
			wait
		}
		send 4801 127.0.0.1 /secrets/plan
		$b cat /secrets/plan > /plain/copy
		send 4802 192.0.2.1 /plain/copy
		/payload/scenario out-datagram || exit 1
		send 4804 192.0.2.1 /plain/mine
		$b cat /plain/copy > /dev/console
		call policy || exit 1
		exit 0
	END
}

on_policy()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/state.json" && "$NIJIMI" alerts --json > "$OUT/alerts.json" &&
		"$NIJIMI" policy show --json > "$OUT/policy.json"
}

judge_policy()
{
	local alerts=$1/alerts.json

	judge_played "$1" "$2" || return 0
	want "$(state "$alerts" '[.[] | select(.label == "plans") | "\(.sink) \(.destination) \(.process.exe) \(.path_complete)"] | sort | join(", ")')" \
		'console /dev/console /bin/busybox true, internet 192.0.2.1:4802 /bin/busybox true, internet 192.0.2.1:4803 /payload/scenario true' 'alerts of plans'
	want "$(state "$alerts" '[.[] | select(.label == "owned") | "\(.sink) \(.destination) \(.origin.path)"] | join(", ")')" \
		'internet 192.0.2.1:4804 /plain/mine' 'alerts of owned'
	want "$(state "$alerts" 'all(.[]; .origin.path == (if .label == "plans" then "/secrets/plan" else "/plain/mine" end))')" true 'origins'
	want "$(state "$1/policy.json" '.labels | map(select(.name == "plans"))[0].now | length')" 1 'VMs of plans'
	state "$1/state.json" '.gaps[] | "gap \(.kind) (\(.count)): \(.detail)"'
}

# The same on every kernel.
for i in environment guest judge; do
	for kernel in 5_10 6_1 6_12 7_2; do
		eval "${i}_policy_$kernel() { ${i}_policy \"\$@\"; }"
	done
done

# ---- block: what the policy blocks does not happen, by whatever way, and is told; everything else goes on

environment_block()
{
	cp "$E2E/block.yaml" "$work/policy.yaml"
	export NIJIMI_LAB_POLICY=$work/policy.yaml
}

guest_block()
{
	cat <<- 'END'
		b=/bin/busybox
		$b ip link set lo up
		$b ip addr add 192.0.2.1/32 dev lo
		$b mkdir -p /secrets /sealed /outside /plain
		echo 'the plan' > /secrets/plan
		echo 'the seal' > /sealed/file
		$b mount -t tmpfs none /outside
		for program in scenario scenario32; do
			/payload/$program block || exit 1
		done
		$b cat /sealed/file > /plain/seal || exit 1
		( call block-count $($b wc -c < /tally) ) || exit 1 # who has seen the tally is managed

		# A disk that is plugged in: files on it, and the disk itself.
		echo free > /plain/free
		modprobe virtio_scsi && modprobe sd_mod || exit 1
		call block-plug || exit 1
		for i in 1 2 3 4 5 6 7 8 9 10; do
			[ ! -b /dev/sda ] || break
			$b sleep 0.5
		done
		$b mkdir /stick
		$b mount -t ext4 /dev/sda /stick || exit 1
		$b cp /plain/free /stick/free || exit 1
		! $b cp /secrets/plan /stick/plan || exit 1
		[ "$($b cat /stick/free)" = free ] && [ ! -s /stick/plan ] || exit 1
		$b umount /stick
		! $b dd if=/secrets/plan of=/dev/sda bs=512 || exit 1
		$b dd if=/plain/free of=/dev/sda bs=512 || exit 1

		call block-alone || exit 1
		/payload/scenario blocked-once || exit 1
		call block-together || exit 1
		/payload/scenario not-blocked || exit 1
		call block-end || exit 1
		exit 0
	END
}

on_block_count()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/counted.json"
	echo "$2" > "$OUT/tally"
}

on_block_plug()
{
	truncate -s 8M "$RUN/stick"
	mke2fs -q -F "$RUN/stick"
	qmp "$1" "drive_add 0 if=none,id=stick,format=raw,file=$RUN/stick" || [[ $(tail -n 1 "$OUT/qmp.log") == *OK* ]]
	qmp "$1" 'device_add scsi-hd,drive=stick,removable=on'
}

# Nobody but the agent is left.
on_block_alone()
{
	kill -KILL "$(cat "$DAEMON_PID_FILE")"
}

await_armed()
{
	local limit=$((SECONDS + 30))

	until [[ $("$NIJIMI" vms --json 2> /dev/null | jq 'map(select(.state == "armed")) | length') == 1 ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.2
	done
}

# What was refused while there was none is told to the next daemon; then the policy blocks nothing any more.
on_block_together()
{
	setsid "${NIJIMI}d" --socket "$NIJIMI_SOCKET" --policy "$NIJIMI_LAB_POLICY" < /dev/null > "$OUT/nijimid-2.log" 2>&1 &
	echo $! > "$DAEMON_PID_FILE"
	await_armed || return 1
	"$NIJIMI" state "vm$1" --json > "$OUT/state.json"
	"$NIJIMI" alerts --json > "$OUT/alerts.json"
	sed -i 's/action: block/action: alert/' "$NIJIMI_LAB_POLICY"
	"$NIJIMI" policy reload > "$OUT/reload.log"
	sleep 1
}

on_block_end()
{
	sleep 0.5
	"$NIJIMI" alerts --json > "$OUT/alerts-2.json"
}

judge_block()
{
	local alerts=$1/alerts.json

	judge_played "$1" "$2" || return 0
	want "$(state "$1/counted.json" .counters.calls_blocked)" "$(cat "$1/tally")" 'calls that were blocked'
	want "$(state "$alerts" '[.[] | select(.blocked | not)] | length')" 0 'alerts of what was not blocked'
	want "$(state "$alerts" '[.[] | select(.label == "plans") | "\(.sink) \(.destination)"] | unique | join(", ")')" \
		'console /dev/console, internet 192.0.2.1:4810, outside /outside/file, stick /dev/sda, stick /stick/plan' 'alerts of plans'
	want "$(state "$alerts" '[.[] | select(.label == "sealed") | "\(.sink) \(.process.exe) \(.origin.path)"] | unique | join(", ")')" \
		'strangers /payload/scenario /sealed/file, strangers /payload/scenario32 /sealed/file' 'alerts of what is sealed'
	want "$(state "$1/alerts-2.json" '[.[] | select(.blocked | not) | "\(.sink) \(.destination)"] | unique | join(", ")')" \
		'internet 192.0.2.1:4810' 'alerts after the policy was changed'
	want "$(state "$1/state.json" '[.files[].path] | map(select(startswith("/outside"))) | length')" 0 'managed files outside'
	want "$(state "$1/state.json" '[.files[].path] | map(select(startswith("/plain/"))) | sort | join(" ")')" \
		'/plain/file /plain/low /plain/ring /plain/seal' 'managed files inside'
	want "$(state "$1/state.json" '[.files[].path] | map(select(startswith("/stick/"))) | length')" 0 'managed files on the stick'
	state "$1/state.json" '.gaps[] | "gap \(.kind) (\(.count)): \(.detail)"'
}

for i in environment guest judge; do
	for kernel in 5_10 6_1 6_12 7_2; do
		eval "${i}_block_$kernel() { ${i}_block \"\$@\"; }"
	done
done

# ---- hand: boundaries of the policy; what is marked and cleared by hand

environment_hand()
{
	cp "$E2E/hand.yaml" "$work/policy.yaml"
	export NIJIMI_LAB_POLICY=$work/policy.yaml
}

guest_hand()
{
	cat <<- 'END'
		b=/bin/busybox
		$b mkdir -p /secrets /plain /keep
		echo 'the plan' > /secrets/plan
		echo 'by hand' > /plain/hand
		for i in cat sed sh; do
			$b cp $b /keep/$i
		done
		/keep/sed '' /secrets/plan > /plain/kept || exit 1
		/keep/cat /secrets/plan > /plain/sent # by sendfile()
		/keep/sh -c 'read x < /secrets/plan; echo $x > /plain/kept-by-shell
			(echo $x > /plain/kept-by-child)
			exec /bin/busybox sh -c "echo x > /plain/after"' || exit 1
		$b cat /secrets/plan > /plain/copy
		call hand-one || exit 1
		$b cat /plain/hand > /plain/hand-copy
		$b cat /plain/copy > /plain/copy-2
		call hand-two || exit 1
		$b cat /plain/hand > /plain/hand-3
		/keep/sed '' /secrets/plan > /plain/let-go || exit 1
		call hand-three || exit 1
		exit 0
	END
}

on_hand_one()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/one.json" && "$NIJIMI" explain "vm$1" --json > "$OUT/explain.json" &&
		"$NIJIMI" mark "vm$1" /plain/hand plans > "$OUT/mark.log" &&
		"$NIJIMI" clear "vm$1" /plain/copy plans > "$OUT/clear.log"
}

on_hand_two()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/two.json" && "$NIJIMI" clear --all "vm$1" plans > "$OUT/all.log" &&
		"$NIJIMI" state "vm$1" --json > "$OUT/cleared.json" &&
		sed -i '/^boundaries/,$d' "$NIJIMI_LAB_POLICY" && "$NIJIMI" policy reload > "$OUT/reload.log" && sleep 1
}

on_hand_three()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/three.json" && "$NIJIMI" audit --json > "$OUT/audit.json"
}

judge_hand()
{
	local files='[.files[] | select(.path != "/notes") | .path] | sort | join(" ")'

	judge_played "$1" "$2" || return 0
	want "$(state "$1/one.json" "$files")" '/plain/after /plain/copy /plain/sent /secrets/plan' 'managed with boundaries'
	want "$(state "$1/one.json" '[.edges[] | select(.syscall == "boundary") | .from.exe] | unique | join(" ")')" \
		'/keep/sed /keep/sh' 'what has kept something back'
	want "$(state "$1/explain.json" '[.in_force[].exe] | sort | join(" ")')" '/keep/sed /keep/sh' 'what explain says of it'
	want "$(state "$1/explain.json" '.kept_back >= 3')" true 'how often'
	want "$(state "$1/two.json" "$files")" '/plain/after /plain/hand /plain/hand-copy /plain/sent /secrets/plan' 'managed by hand'
	want "$(state "$1/two.json" '[.edges[] | select(.syscall == "cleared") | .to.path] | join(" ")')" '/plain/copy' 'cleared'
	want "$(state "$1/cleared.json" '.files + .processes + .sockets | length')" 0 'managed when all is cleared'
	want "$(state "$1/three.json" "$files")" '/plain/let-go /secrets/plan' 'managed without boundaries'
	want "$(state "$1/three.json" '.marks | length')" 0 'marks'
	want "$(state "$1/audit.json" '[.[] | "\(.action) \(.target)"] | join(", ")')" \
		'mark /plain/hand, clear /plain/copy, clear all null' 'the audit'
	state "$1/three.json" '.gaps[] | "gap \(.kind) (\(.count)): \(.detail)"'
}

for i in environment guest judge; do
	for kernel in 5_10 6_1 6_12 7_2; do
		eval "${i}_hand_$kernel() { ${i}_hand \"\$@\"; }"
	done
done

# ---- snapshot: savevm, and loadvm when more has happened. `call save` returns twice.

guest_snapshot()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		call save
		case $? in
		0) /payload/scenario chain; call load; exit 1 ;;
		7) exec /payload/scenario case2 ;;
		esac
		exit 1
	END
}

on_save()
{
	qmp "$1" 'savevm ink'
}

on_load()
{
	qmp "$1" 'loadvm ink' || return 1
	return 7
}

judge_snapshot()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" .state)" armed "state"
	# What was done between the two may still be there: nothing may be missing.
	{ "$E2E/compare" "$1/vm1.notes" "$1/vm1.json" case1 case2 || true; } |
		grep -E '^(case1|case2): |^there is no' || true
}

# ---- same-uuid: reported, and kept apart

guest_same_uuid()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		exec call together
	END
}

# await_both WHAT VM: until the other has come as far.
await_both()
{
	local limit=$((SECONDS + 120))

	touch "$RUN/$1-$2"
	until [[ -e $RUN/$1-1 && -e $RUN/$1-2 ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.2
	done
}

# on_together VM: what is told of it while the other runs, too.
on_together()
{
	await_both ready "$1" && "$NIJIMI" state "vm$1" --json > "$OUT/together-$1.json" && await_both told "$1"
}

judge_same_uuid()
{
	local vm

	judge_played "$1" "$2" || return 0
	for vm in 1 2; do
		want "$(state "$1/vm$vm.json" .uuid)" 6e696a69-6d69-4a01-8b02-00c0ffee00ff "vm$vm: UUID"
		want "$(state "$1/together-$vm.json" .uuid_conflict)" true "vm$vm: uuid_conflict"
		judge_vm "$1" "$vm" "$vm" case1 | grep -v 'another VM has its UUID' || true
	done
}

# ---- microvm: without SMBIOS, QEMU's own arguments tell which VM it is

judge_microvm()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" .uuid)" 6e696a69-6d69-4a01-8b02-00c0ffee0001 "UUID"
	judge_vm "$1" 1 6.1 'case1 case2'
}

# ---- twins: same image, same script, same numbers

judge_twins()
{
	local vm

	judge_played "$1" "$2" || return 0
	for vm in 1 2; do
		judge_vm "$1" "$vm" 6.1 twins
		grep -h '@ twins twin ' "$1/vm$vm.notes" > "$1/numbers-$vm"
	done
	cmp -s "$1/numbers-1" "$1/numbers-2" || echo "the numbers of the two VMs do not coincide: the case proves nothing"
	want "$(state "$1/vm1.json" '[.files + .processes | .[] | select(.path != "/notes" and .path != "/dev/vdb")] | length')" 3 "vm1: managed"
	want "$(state "$1/vm2.json" '[.files, .processes, .sockets, .ended.files, .ended.processes, .ended.sockets,
		.edges] | map(length) | add')" 0 "vm2: managed"
}

# ---- daemon-killed: nothing is lost, nothing doubled

guest_daemon_killed()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		call daemon-kill || exit 1
		/payload/scenario case2 exited || exit 1
		call daemon-start || exit 1
		exec /payload/scenario chain unlinked
	END
}

# Two VMs share the daemon: it is killed and started once, for both.
on_daemon_kill()
{
	(
		flock 9
		[[ -e $OUT/killed ]] || kill -KILL "$(cat "$DAEMON_PID_FILE")"
		touch "$OUT/killed"
	) 9> "$RUN/daemon.lock"
}

on_daemon_start()
{
	local limit=$((SECONDS + 30))

	(
		flock 9
		[[ ! -e $OUT/started ]] || exit 0
		rm -f "$NIJIMI_SOCKET"
		setsid "${NIJIMI}d" --socket "$NIJIMI_SOCKET" < /dev/null > "$OUT/nijimid-2.log" 2>&1 9>&- &
		echo $! > "$DAEMON_PID_FILE"
		touch "$OUT/started"
	) 9> "$RUN/daemon.lock"
	until [[ $("$NIJIMI" vms --json 2> /dev/null | jq 'map(select(.state == "armed")) | length') == "$VMS" ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.2
	done
}

judge_daemon_killed()
{
	local vm

	judge_played "$1" "$2" || return 0
	for vm in 1 2; do
		judge_vm "$1" "$vm" "$vm" 'case1 case2 exited chain unlinked'
	done
}

# ---- fault: of the agent, in the VM that makes enough system calls, of which each is seen, whatever the hook

guest_fault()
{
	cat <<- 'END'
		/payload/scenario case1 || exit 1
		[ "$VM" = 1 ] && { head -c 5000 /dev/zero > /classified/much; dd if=/classified/much of=/dev/null bs=1 2>/dev/null; }
		/payload/scenario case2 || exit 1
		echo "GUEST WENT ON"
	END
}

environment_fault()
{
	export NIJIMI_FAULT_AT=8000
}

judge_fault()
{
	judge_played "$1" "$2" || return 0
	want "$(state "$1/vm1.json" .state)" untraced "vm1: state"
	[[ $(state "$1/vm1.json" .reason) == *'fault in nijimi'* ]] || echo "vm1: no reason: $(state "$1/vm1.json" .reason)"
	grep -q 'GUEST WENT ON' "$1/vm1.log" || echo "vm1 did not go on to its end"
	judge_vm "$1" 2 6.1 'case1 case2'
}

# ---- fault-closed: the policy blocks something, and wants a VM that cannot be kept from it any more to stop

environment_fault_closed()
{
	export NIJIMI_FAULT_AT=8000
	stop_on_failure
}

stop_on_failure()
{
	export NIJIMI_LAB_POLICY=$work/policy.yaml
	{
		cat "$E2E/block.yaml"
		echo 'enforcement: {failure: closed}'
	} > "$NIJIMI_LAB_POLICY"
}

guest_fault_closed()
{
	cat <<- 'END'
		mkdir -p /secrets
		head -c 20000 /dev/zero > /secrets/much
		dd if=/secrets/much of=/dev/null bs=1 2>/dev/null &
		call halted
		echo "GUEST WENT ON"
	END
}

# Its end is that of its QEMU, by us.
play_fault_closed()
{
	local status=0

	play_in_lab "$@" || status=$?
	[[ $status != 7 ]] || return 0
	return $((status ? status : 1))
}

on_halted()
{
	local limit=$((SECONDS + 100))

	until socat -t 5 - "UNIX-CONNECT:$RUN/vm$1/qmp.sock" > "$OUT/qmp.log" <<- 'END' &&
		{"execute": "qmp_capabilities"}
		{"execute": "query-status"}
	END
		grep -q '"status": "internal-error"' "$OUT/qmp.log"; do
		((SECONDS < limit)) || return 1
		sleep 1
	done
	# What has happened is told by another thread of the agent's.
	until "$NIJIMI" state "vm$1" --json > "$OUT/state.json" && [[ $(state "$OUT/state.json" .state) == untraced ]] ||
		((SECONDS >= limit)); do
		sleep 0.2
	done
	kill "$(cat "$RUN/vm$1/pid")"
}

judge_fault_closed()
{
	want "$2" 0 'status'
	grep -q '"status": "internal-error"' "$1/qmp.log" || echo "the VM was not stopped: $(tail -n 1 "$1/qmp.log")"
	want "$(state "$1/state.json" .state)" untraced 'state'
	[[ $(state "$1/state.json" .reason) == *'the VM is stopped, as the policy says'* ]] ||
		echo "no reason: $(state "$1/state.json" .reason)"
	! grep -q 'GUEST WENT ON' "$1/vm1.log" || echo "the VM went on"
}

# ---- early: a file that is open, and a guest that does not leave the processor, when the tracing begins

payload_early()
{
	edit_init "$1" 's,/sbin/init,/payload/early-init,'
	cat > "$1/early-init" <<- 'END'
		#!/bin/busybox sh
		mount -t proc proc /proc
		exec < /dev/null > /dev/ttyS0 2>&1
		/payload/scenario held-open spinning
		umount /proc
		exec /sbin/init
	END
	chmod +x "$1/early-init"
}

payload_early_7_2()
{
	payload_early "$1"
}

judge_early()
{
	judge_played "$1" "$2" || return 0
	judge_vm "$1" 1 "$KERNELS" 'held-open spinning case1'
	# Armed while the guest was spinning, long before it spoke.
	[[ $(state "$1/vm1.json" .since) < $(cat "$1/ready") ]] || echo "armed only when the guest had come to rest"
}

judge_early_7_2()
{
	judge_early "$@"
}

host_early()
{
	[[ $1 != ready ]] || date -u +%Y-%m-%dT%H:%M:%S.%NZ > "$OUT/ready"
}

host_early_7_2()
{
	host_early "$@"
}

# ---- compat: 32-bit programs

guest_compat_5_10()
{
	echo "/payload/scenario32 ${SCENARIOS#compat } || exit 1"
	echo 'exec /payload/scenario compat'
}

guest_compat_6_1()
{
	guest_compat_5_10
}

guest_compat_6_12()
{
	guest_compat_5_10
}

guest_compat_7_2()
{
	guest_compat_5_10
}

# With debug registers 32-bit calls are not seen to end there (docs/coverage.md): which file the scenario closed-by-thread has used is not
# known, and that is told.
judge_compat_7_2()
{
	local known='^$'

	judge_played "$1" "$2" || return 0
	if [[ $1 == *@debugreg ]]; then
		known='^vm1 \(7\.2\): gap changed-descriptor '
		want "$(state "$1/vm1.json" '[.gaps[].kind] | join(" ")')" changed-descriptor 'vm1: gaps'
	fi
	judge_vm "$1" 1 7.2 "$SCENARIOS" | grep -vE "$known" || true
}

# ---- filesystems: one more is an image file

payload_filesystems_5_10()
{
	cp "$NIJIMI_LAB_FILESYSTEMS/ext4" "$1/ext4"
}

payload_filesystems_6_1()
{
	payload_filesystems_5_10 "$1"
}

payload_filesystems_6_12()
{
	payload_filesystems_5_10 "$1"
}

payload_filesystems_7_2()
{
	payload_filesystems_5_10 "$1"
}

# ---- random, random-1: random programs of flows, see tests/random. The same ones every time, unless SEED says otherwise;
# `./run bench random` plays new ones.

payload_random()
{
	gcc -static -O1 -g -D_GNU_SOURCE -pthread -o "$1/random" "$E2E"/../random/*.c -luring
}

payload_random_1()
{
	payload_random "$1"
}

guest_random()
{
	echo "exec /payload/random \$((${SEED:-1000} + VM * 500)) 14 20"
}

guest_random_1()
{
	guest_random
}

judge_random()
{
	local vm=0 kernel

	judge_played "$1" "$2" || return 0
	for kernel in $KERNELS; do
		((vm += 1))
		{ "$E2E/../random/compare" "$1/vm$vm.notes" "$1/vm$vm.json" 2> "$1/compared-$vm" || true; } |
			sed "s|^|vm$vm ($kernel): seed |"
	done
}

# ---- swaps: descriptors whose meaning threads change while others use them; with the filter the one call is seen, and the other is not.

payload_swaps()
{
	payload_random "$1"
}

guest_swaps()
{
	echo "exec /payload/random \$((\${SEED:-1000} + VM * 500)) swaps 40"
}

judge_swaps()
{
	judge_random "$@"
}

judge_random_1()
{
	judge_random "$@"
}

# ---- hostile: the first VM's kernel lies to whoever reads its memory (tests/hostile), the second is traced as if it were alone.
# HOSTILE_SECONDS: for how long (12).

readonly HOSTILE_NEIGHBOUR='paper names channels endings'
# What the VMM may need more at the end than in the midst of it: in so short a time pools are still being used for the first time (the
# journal, calls in progress). `./run bench hostile` goes on for longer.
readonly HOSTILE_GROWTH=$((48 << 20))

environment_hostile()
{
	export NIJIMI_MEASURE=1
}

guest_hostile()
{
	cat <<- END
		[ "\$VM" = 1 ] || exec /payload/scenario $HOSTILE_NEIGHBOUR
		/payload/attack ${HOSTILE_SECONDS:-12} &
		sleep $((${HOSTILE_SECONDS:-12} / 2))
		call sample middle || exit 1
		wait \$! || exit 1
		call sample end || exit 1
		/payload/scenario case1 chain || exit 1
		call sample afterwards || exit 1
	END
	# In one of them it goes away altogether: system calls enter its kernel elsewhere.
	[[ $1 != hostile-6.12* ]] || echo '/payload/attack lstar && call lost'
}

on_lost()
{
	local limit=$((SECONDS + 120))

	until "$NIJIMI" state "vm$1" --json > "$OUT/lost.json" && [[ $(state "$OUT/lost.json" .state) == untraced ]]; do
		((SECONDS < limit)) || return 1
		sleep 1
	done
}

# on_sample VM NAME: its state, and how much memory its VMM has beside the guest's own.
on_sample()
{
	"$NIJIMI" state "vm$1" --json > "$OUT/$2.json"
	"$E2E/../../lab/vmm-memory" "$(cat "$RUN/vm$1/pid")" Anonymous > "$OUT/$2.bytes"
}

judge_hostile()
{
	local json=$1/afterwards.json

	judge_played "$1" "$2" || return 0
	[[ $1 != */hostile-6.12* ]] || want "$(state "$1/lost.json" '[.gaps[] | select(.kind == "kernel-lost").count] | add')" 1 'vm1: gaps of a kernel that is lost'
	judge_vm "$1" 2 6.1 "$HOSTILE_NEIGHBOUR"
	grep -q 'hostile: .* 0 failed' "$1/vm1.log" || echo "vm1: its own programs have suffered: $(grep 'hostile: ' "$1/vm1.log" | tail -n 1)"
	# Given up it may have, with a reason; but not for a fault of its own.
	state "$json" 'select(.state != "armed") | "vm1: the state is \(.state): \(.reason)"'
	state "$json" '.gaps[] | select(.kind == "fault") | "vm1: \(.detail)"'
	want "$(state "$json" '[.gaps[].kind] | map(select(startswith("un"))) | length >= 3')" true 'vm1: gaps tell of what could not be read'
	want "$(state "$json" '[.edges[].seq] | . == [range(1; length + 1)]')" true 'vm1: the sequence of its edges is whole'
	# After all that, nothing is missed of what is done in it.
	{ "$E2E/compare" "$1/vm1.notes" "$json" case1 chain || true; } | grep -E '^(case1|chain): |^there is no' | sed 's/^/vm1: /'
	(($(cat "$1/end.bytes") - $(cat "$1/middle.bytes") < HOSTILE_GROWTH)) ||
		echo "vm1: the VMM had $(cat "$1/middle.bytes") bytes beside the guest's, and has $(cat "$1/end.bytes")"
	hostile_figures "$1" > "$1/figures"
	judge_stalls "$json" vm1
	judge_stalls "$1/vm2.json" vm2
}

# judge_stalls JSON WORD: no exit of ours has kept a vCPU for long. In the box the processor is emulated, and what others take of
# the machine counts as its time: there only what hangs is found.
judge_stalls()
{
	local maximum=10000000

	[[ -z ${IN_BOX:-} ]] || maximum=15000000000
	state "$1" "select(.counters.longest_exit_cpu_ns > $maximum or .counters.longest_exit_cpu_ns == 0) |
		\"$2: the longest exit took \(.counters.longest_exit_cpu_ns) ns of a processor's time\""
}

hostile_figures()
{
	grep 'hostile: [0-9]' "$1/vm1.log" | tr -d '\r'
	state "$1/afterwards.json" '"gaps: \([.gaps[] | "\(.kind) \(.count)"] | join(", "))",
		"longest exit: \(.counters.longest_exit_ns) ns, \(.counters.longest_exit_cpu_ns) ns of processor time, reads at most \(.counters.most_exit_reads); longest stop \(.counters.longest_stop_ns) ns",
		"exits: \(.counters.syscall_entries) entries, engine \(.counters.engine_bytes) bytes, objects \(.counters.managed_objects)"'
	echo "VMM beside the guest: $(cat "$1/middle.bytes") bytes in the midst, $(cat "$1/end.bytes") at the end"
}

for i in environment guest judge; do
	for kernel in 6_1 6_12; do
		eval "${i}_hostile_$kernel() { ${i}_hostile \"\$@\"; }"
	done
done

# ---- hostile-closed: the same policy, and a guest that leads its system calls past its kernel's entry

environment_hostile_closed()
{
	stop_on_failure
}

guest_hostile_closed()
{
	cat <<- 'END'
		call halted &
		/payload/attack lstar || exit 1
		sleep 100
		echo "GUEST WENT ON"
	END
}

play_hostile_closed()
{
	play_fault_closed "$@"
}

judge_hostile_closed()
{
	judge_fault_closed "$@"
	want "$(state "$1/state.json" '[.gaps[] | select(.kind == "kernel-lost").count] | add')" 1 'gaps of a kernel that is lost'
}

# ---- stalled: the daemon takes nothing for a while, with more to be said than the socket holds: the VM does not wait. Then its VMM is
# killed in the midst of its exits: the daemon keeps what it was told, and the other VM does not notice.

readonly STALLED_FILES=1500 STALLED_NAME=$(printf 'a-name-that-is-long-%.0s' {1..10})

environment_stalled()
{
	export NIJIMI_MEASURE=1
}

guest_stalled()
{
	cat <<- END
		[ "\$VM" = 1 ] || { /payload/scenario case1 && call stall-over && exec /payload/scenario case2 chain; }
		mkdir -p /classified /tmp/$STALLED_NAME
		echo secret > /classified/source
		call stall || exit 1
		read secret < /classified/source
		i=0
		while [ \$i -lt $STALLED_FILES ]; do
			echo \$secret > /tmp/$STALLED_NAME/\$i
			i=\$((i + 1))
		done
		call stall-end || exit 1
		(while :; do cat /classified/source > /tmp/again; done) &
		sleep 1
		call kill-vmm
		exit 1
	END
}

on_stall()
{
	kill -STOP "$(cat "$DAEMON_PID_FILE")"
}

# What has been said by then, the path of each file at least, is more than a socket's buffer holds.
on_stall_end()
{
	((STALLED_FILES * ${#STALLED_NAME} > $(< /proc/sys/net/core/wmem_default))) || return 1
	kill -CONT "$(cat "$DAEMON_PID_FILE")"
	"$NIJIMI" state "vm$1" --json > "$OUT/stalled.json"
	touch "$OUT/over"
}

on_stall_over()
{
	local limit=$((SECONDS + 200))

	until [[ -e $OUT/over ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.5
	done
}

on_kill_vmm()
{
	local limit=$((SECONDS + 30))

	kill -KILL "$(cat "$RUN/vm$1/pid")"
	until "$NIJIMI" state "vm$1" --json > "$OUT/killed.json" && [[ $(state "$OUT/killed.json" .state) == @(lost|gone) ]]; do
		((SECONDS < limit)) || return 1
		sleep 0.2
	done
}

# Its end is that of its QEMU, by us.
play_stalled()
{
	play_fault_closed "$@"
}

judge_stalled()
{
	want "$2" 0 'status'
	want "$(state "$1/stalled.json" '[.files[].path | select(startswith("/tmp/a-name"))] | length')" "$STALLED_FILES" 'vm1: managed files'
	want "$(state "$1/stalled.json" '[.edges[].seq] | . == [range(1; length + 1)]')" true 'vm1: the sequence of its edges is whole'
	want "$(state "$1/stalled.json" '[.gaps[].kind] | join(" ")')" '' 'vm1: gaps'
	judge_stalls "$1/stalled.json" vm1
	want "$(state "$1/killed.json" '[.files[].path | select(startswith("/tmp/a-name"))] | length')" "$STALLED_FILES" 'vm1: managed files when its VMM was killed'
	want "$(state "$1/killed.json" '.state | . == "lost" or . == "gone"')" true 'vm1: is it known to be no more'
	judge_vm "$1" 2 6.1 'case1 case2 chain'
}

# ---- bad-use: one clear line, and a failure

# refused STATUS WORDS COMMAND...: the command must end with this status (-: any but 0) and say one line with WORDS.
refused()
{
	local expected=$1 words=$2 status=0 text

	shift 2
	text=$("$@" 2>&1 < /dev/null) || status=$?
	printf '%s\n    -> %s: %s\n' "$*" "$status" "$text"
	[[ $expected != - || $status == 0 ]] || expected=$status
	[[ $status == "$expected" ]] || echo "WRONG: $*: status $status instead of $expected"
	# Progress is not counted.
	(($(grep -cv ' VM(s) up after ' <<< "$text") == 1)) || echo "WRONG: $*: not one line"
	grep -qiE -- "$words" <<< "$text" || echo "WRONG: $*: nothing about '$words'"
}

without_kvm()
{
	unshare --mount sh -ec '
		mount -t tmpfs tmpfs /dev
		mknod -m 666 /dev/null c 1 3
		exec "$@"' sh "$@"
}

# space_for_nothing COMMAND...: only what names the cause. What follows from it may be told too.
space_for_nothing()
{
	local status=0

	"$@" > "$work/text" 2>&1 || status=$?
	grep -i 'space' "$work/text"
	return "$status"
}

play_bad_use()
{
	local top=$E2E/../.. work nijimi

	nijimi=$top/build/nijimi
	work=$(mktemp -d)
	export NIJIMI_SOCKET=$work/socket
	refused 2 'glob' "$nijimi" run --classified 'not/absolute' -- /bin/true
	refused 2 'glob' "$nijimi" run --classified '/a[' -- /bin/true
	refused 2 'hook' "$nijimi" run --hook nonsense -- /bin/true
	refused 2 'option' "$nijimi" run --nonsense -- /bin/true
	refused 2 'missing' "$nijimi" run --
	refused - 'no-such-program' "$nijimi" run -- no-such-program
	refused 3 'KVM' "$nijimi" run -- /bin/true
	refused - 'KVM' without_kvm "$nijimi" run -- "$NIJIMI_LAB_QEMU_BINARY" -version
	refused - 'daemon' env NIJIMI_SOCKET="$work/none" "$nijimi" vms
	refused 2 'nonsense' "$nijimi" nonsense
	refused 2 "unknown kernel '9.9'" "$top/lab/host" --kernel 9.9
	refused 3 'KVM' without_kvm "$top/lab/host"
	refused 2 'number' "$top/lab/host" --vms none
	refused 2 'file' "$top/lab/host" --script "$work/none"
	mkdir "$work/full"
	mount -t tmpfs -o size=64k tmpfs "$work/full"
	dd if=/dev/zero of="$work/full/fill" bs=4k 2> /dev/null || true
	refused - 'space' space_for_nothing "$top/lab/host" --kernel 6.1 --out "$work/full/out"
	umount "$work/full"
	rm -rf "$work"
}

judge_bad_use()
{
	want "$2" 0 "status"
	grep '^WRONG: ' "$1/lab.log" || true
}
