#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench.sh SOURCE BUILD: that the measurements measure, with sizes that say nothing about speed.
set -u

SOURCE=$1 BUILD=$2
export NIJIMI_LIBRARY_DIR=$BUILD
WORK=$(mktemp -d /tmp/nijimi-bench.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
FAILED=0

# measure NAME ARGUMENT...: into WORK/NAME.json. 1 says that a budget is exceeded, as it may be on a machine that is busy.
measure()
{
	local status=0

	"$BUILD/bench/bench_$1" "${@:2}" --json "$WORK/$1.json" > "$WORK/$1.said" 2>&1 || status=$?
	((status <= 1)) && [[ -s $WORK/$1.json ]] && return 0
	printf '%s: status %s\n' "$1" "$status"
	tail -n 5 "$WORK/$1.said"
	FAILED=1
	return 1
}

# expect NAME WHAT CONDITION: of its JSON.
expect()
{
	jq -e "$3" "$WORK/$1.json" > /dev/null && return
	printf '%s: %s\n' "$1" "$2"
	jq -c . "$WORK/$1.json" | head -c 2000
	echo
	FAILED=1
}

if measure engine --repeats 2 --calls 2000 --most 10000; then
	expect engine 'two sizes, each with positive times' \
		'[.sizes[].objects] == [100, 10000] and all(.sizes[]; .lookup_managed_ns.median > 0 and .update_ns.least <= .update_ns.greatest)'
	expect engine 'an object takes more than 128 bytes' 'all(.sizes[]; .bytes_per_object > 40 and .bytes_per_object <= 128)'
	expect engine '1 to 4 threads, four ways' 'all(.sizes[]; [.calls_per_second[].threads] == [1,1,1,1,2,2,2,2,3,3,3,3,4,4,4,4])'
fi
# It counts by itself what has come to the database.
if measure scale --agents 3 --rate 50 --seconds 1 --flood 600; then
	expect scale 'all edges are acknowledged' '[.runs[] | [.agents, .phase, .edges]] == [[3, "paced", 150], [3, "flood", 600]]'
	expect scale 'what a daemon takes' 'all(.runs[]; .daemon_memory_mib > 1 and .delay_ms.least > 0 and .daemon_processor_ms >= 0)'
fi
if measure handler --rounds 300 --kernel 6.12; then
	expect handler 'no call allocates' '(.calls | length) == 22 and all(.calls[]; .allocations == 0)'
	expect handler 'what is followed takes longer than what is not' \
		'[.calls[] | select(.call == "getpid" or .call == "sendto UNIX") | .entry_ns.median] | .[0] < .[1]'
fi
measure filter --rounds 20 && expect filter 'what passes takes its time' \
	'(.nanoseconds | map(.median)) as $ns | ($ns | length) == 9 and $ns[0] < $ns[1] and $ns[0] < $ns[2] and $ns[3] < $ns[6] and $ns[7] > 0 and $ns[8] > 0'
measure uuid --rounds 50 && expect uuid 'all recordings' '(.microseconds | length) == 6 and all(.microseconds[]; .median > 0)'
measure stop --runs 3 && expect stop 'all recordings' '(.kernels | length) == 6 and all(.kernels[]; .sites > 90 and .tasks > 10 and .put_in_ms.median > 0 and .take_out_ms.median > 0)'
measure profile --runs 1 && expect profile 'all recordings' '(.kernels | length) == 6 and all(.kernels[]; .cached_ms.median < .unknown_ms.median)'

# What `bench syscalls` and `bench macro` make of what their guests and KVM say.
printf '%s' '{"columns": [
	{"hook": "none", "lines": [["1", "spin", "managed", "10", "1000"], ["1", "read", "managed", "10", "1000"],
		["2", "read", "managed", "10", "3000"], ["3", "read", "managed", "10", "2000"]], "marks": []},
	{"hook": "debugreg", "lines": [["1", "spin", "managed", "10", "1000"], ["1", "read", "managed", "10", "8000"]], "marks": [
		["begin", "nothing", "managed", {"exits": 100, "irq_exits": 10, "irq_window_exits": 5, "halt_exits": 1}],
		["end", "nothing", "managed", {"exits": 150, "irq_exits": 15, "irq_window_exits": 8, "halt_exits": 2}],
		["begin", "spin", "managed", {"exits": 200, "irq_injections": 2}], ["end", "spin", "managed", {"exits": 247, "irq_injections": 5}],
		["begin", "read", "managed", {"exits": 300}], ["end", "read", "managed", {"exits": 377, "irq_injections": 8}]]}],
	"refused": {}}' > "$WORK/columns.json"
# 50 exits less 5, 3 and 1 of interrupts and idling are 41 for the looking; an interrupt costs (47 - 41) / 3; 77 - 41 - 8 * 2 = 20 of 10 calls.
jq -L "$SOURCE/bench" -f "$SOURCE/bench/syscalls.jq" "$WORK/columns.json" > "$WORK/syscalls.json" || FAILED=1
expect syscalls 'medians, ratios, exits' '[.[] | select(.call == "read" and .state == "managed") | .columns[]
	| [.hook, .median_ns, .ratio, .exits_per_call]] == [["none", 200, 1, null], ["debugreg", 800, 4, 2]]'
printf '%s' '{"columns": [
	{"hook": "none", "lines": [["1", "tar", "50", "5", "2000000000"]], "marks": []},
	{"hook": "patch", "lines": [["1", "tar", "50", "5", "3000000000"], ["2", "tar", "50", "5", "5000000000"], ["3", "tar", "50", "5", "4000000000"]],
	 "marks": [["begin", "tar", "50", "1", {"exits": 10}], ["end", "tar", "50", "1", {"exits": 30, "halt_exits": 5}]]}]}' > "$WORK/columns.json"
jq -L "$SOURCE/bench" -f "$SOURCE/bench/macro.jq" "$WORK/columns.json" > "$WORK/macro.json" || FAILED=1
expect macro 'medians, ratios, exits' '. == [{workload: "tar", level: "50", files: 5, columns: [
	{hook: "none", median_s: 2, least_s: 2, greatest_s: 2, ratio: 1, exits: null},
	{hook: "patch", median_s: 4, least_s: 3, greatest_s: 5, ratio: 2, exits: 15}]}]'

# All that is listed is there, and tells how it is used.
while read -r name _; do
	"$SOURCE/bench/run" "$name" --help 2>&1 | grep -q -- '--json FILE' || { echo "bench $name has no --json"; FAILED=1; }
done < <("$SOURCE/bench/run" | sed -n 's/^\([a-z]\{3,\}\)  .*/\1/p')
exit "$FAILED"
