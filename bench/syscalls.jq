# bench syscalls: the output of columns_json in, [{call, state, columns: [...]}] out. See bench/guest/calls.c for the lines:
# [round, call, state, count, ns], and marks: ["begin" or "end", call, state, {counters}].
include "columns";

def lines_of($call; $state): .lines[] | select(.[1] == $call and .[2] == $state);

def times($call; $state): [lines_of($call; $state) | (.[4] | tonumber) / (.[3] | tonumber)];

# What a row costs in exits beside its calls: the looking, and what each interrupt takes that comes as time passes.
def exits_per_call($call; $state):
	[lines_of($call; $state) | select(.[0] == "1")][0] as $line
	| .marks as $marks
	| exits_between($marks; [$call, $state]) as $all
	| exits_between($marks; ["nothing", $state]) as $looking
	| exits_between($marks; ["spin", $state]) as $spinning
	| if any($line, $all, $looking, $spinning; . == null) then null else
		interrupts_between($marks; ["nothing", $state]) as $usual
		| (interrupts_between($marks; ["spin", $state]) - $usual) as $spun
		| (if $spun > 0 then ($spinning - $looking) / $spun else 0 end) as $each
		| ($all - $looking - $each * (interrupts_between($marks; [$call, $state]) - $usual)) / ($line[3] | tonumber) end;

.columns as $columns
| [("getpid", "read", "write", "fork", "sendto", "recvfrom", "openat", "open-read", "new-file", "connection", "pipe", "execve", "mmap", "map-own", "map-none", "mprotect",
	"ioctl", "fcntl", "readlink", "io_uring", "eventfd", "thr-read", "thr-write", "thr-send", "thr-open", "thr-conn") as $call
	| ("unmanaged", "managed") as $state
	| ($columns[0] | times($call; $state) | median) as $untraced
	| {call: $call, state: $state, columns: [$columns[] | times($call; $state) as $times | ($times | median) as $median
		| {hook: .hook, median_ns: $median, least_ns: ($times | min), greatest_ns: ($times | max),
		   ratio: (if $untraced and $median then $median / $untraced else null end),
		   exits_per_call: exits_per_call($call; $state)}]}]
