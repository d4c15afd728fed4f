# bench macro: the output of columns_json in, [{workload, level, files, columns: [...]}] out. See bench/guest/macro for the
# lines: [round, workload, level, files, ns], and marks: ["begin" or "end", workload, level, round, {counters}].
include "columns";

def times($workload; $level): [.lines[] | select(.[1] == $workload and .[2] == $level) | .[4] | tonumber | . / 1e9];

def exits($workload; $level):
	.marks as $marks
	| [.lines[] | select(.[1] == $workload and .[2] == $level) | exits_between($marks; [$workload, $level, .[0]]) | values] | median;

.columns as $columns
| [$columns[0].lines | group_by(.[1:3])[] | .[0] | {workload: .[1], level: .[2], files: (.[3] | tonumber)}]
| sort_by(.workload, (.level | tonumber))
| map(.workload as $workload | .level as $level
	| ($columns[0] | times($workload; $level) | median) as $untraced
	| . + {columns: [$columns[] | times($workload; $level) as $times | ($times | median) as $median
		| {hook: .hook, median_s: $median, least_s: ($times | min), greatest_s: ($times | max),
		   ratio: (if $untraced and $median then $median / $untraced else null end), exits: exits($workload; $level)}]})
