# shellcheck shell=bash
# What `bench syscalls` and `bench macro` share: VMs that do the same, each by a hook of its own, one of them untraced.
# Sourced, after lab/common.sh and lab/artifacts.sh.

readonly KERNEL_ARGUMENTS='loglevel=1 rcupdate.rcu_cpu_stall_suppress=1'
# A machine that others use as well may take long.
export NIJIMI_LAB_BOOT_SECONDS=${NIJIMI_LAB_BOOT_SECONDS:-900}

# choose_columns HOOK...: into COLUMNS_WANTED those that this nijimi has, and into REFUSED (a JSON object) the others with the
# reason.
choose_columns()
{
	local hook said

	HOOKS_WANTED=() REFUSED='{}'
	for hook; do
		# It says first what is wrong with the hook; that /bin/true is no VM, or that there is no KVM here, comes later.
		said=$("$REPOSITORY/build/nijimi" run --hook "$hook" -- /bin/true 2>&1 < /dev/null) || true
		if [[ $said == *"unknown hook"* ]]; then
			refuse "$hook" "${said#nijimi: run: }"
		else
			HOOKS_WANTED+=("$hook")
		fi
	done
}

# refuse HOOK REASON
refuse()
{
	REFUSED=$(jq -c --arg hook "$1" --arg reason "$2" '. + {($hook): $reason}' <<< "$REFUSED")
}

# run_columns OUT ARGUMENT...: a VM without nijimi and one for each of HOOKS_WANTED. One that cannot be traced like that is
# left out: then again without it. Returns the lab's exit status.
run_columns()
{
	local out=$1 hooks=() hook status vm reason

	shift
	while true; do
		rm -rf "$out"
		mkdir -p "$out"
		hooks=(--hook none)
		for hook in "${HOOKS_WANTED[@]}"; do
			hooks+=(--hook "$hook")
		done
		status=0
		"$LAB_SOURCE/lab" "${hooks[@]}" --vms $((${#HOOKS_WANTED[@]} + 1)) --host-script "$REPOSITORY/bench/guest/host" \
			--append "$KERNEL_ARGUMENTS" --out "$out" "$@" > "$out/said" 2>&1 || status=$?
		((status == EXIT_TRACE)) || break
		read -r vm reason < <(sed -n 's/^lab: vm\([0-9]*\) ([^)]*) is not traced: /\1 /p' "$out/said") || break
		refuse "${HOOKS_WANTED[vm - 2]}" "$reason"
		unset "HOOKS_WANTED[vm - 2]"
		HOOKS_WANTED=("${HOOKS_WANTED[@]}")
	done
	((status == 0)) || tail -n 15 "$out/said" >&2
	return "$status"
}

# columns_json OUT: what each VM was, what its guest has said and how often it has exited:
#   {columns: [{hook, wanted, reason, lines: [[WORD...]...], marks: [[WORD..., {exits, interrupts, halts, ...}]...]}]}
columns_json()
{
	local out=$1 vm=1 hook

	for hook in none "${HOOKS_WANTED[@]}"; do
		# A console has carriage returns, and what the kernel says, behind a number, too.
		tr -d '\r' < "$out/vm$vm.log" | grep -a '^@ ' | awk 'NF >= 6 { sub(/[^0-9.].*/, "", $6); print $1, $2, $3, $4, $5, $6; next } { print }' | jq -R 'ltrimstr("@ ") | split(" ")' | jq -s . > "$out/vm$vm.lines"
		jq -R 'split(" | ") | (.[0] | split(" ")) + [.[1] | fromjson | [.return[].stats[] | select(.value | type == "number")]
			| group_by(.name) | map({key: .[0].name, value: (map(.value) | add)}) | from_entries]' "$out/vm$vm.marks" |
			jq -s . > "$out/vm$vm.counts"
		jq -n --arg wanted "$hook" --arg name "vm$vm" --slurpfile vms "$out/vms.json" --slurpfile lines "$out/vm$vm.lines" \
			--slurpfile marks "$out/vm$vm.counts" '
			([$vms[0][] | select(.name == $name)] | last) as $vm |
			{wanted: $wanted, hook: ($vm.hook // "none"), reason: $vm.hook_reason, kernel: $vm.kernel,
			 lines: $lines[0], marks: $marks[0]}'
		((vm += 1))
	done | jq -s --argjson refused "$REFUSED" '{columns: ., refused: $refused}'
}

# machine_json: where and when this was.
machine_json()
{
	jq -n --arg processor "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg date "$(date -u +%FT%TZ)" \
		--arg kernel "$(uname -r)" --arg load "$(cut -d' ' -f1 /proc/loadavg)" --argjson processors "$(nproc)" \
		'{date: $date, machine: {processor: $processor, processors: $processors, kernel: $kernel, load: ($load | tonumber)}}'
}

# measure_columns OUT NAME ARGUMENT...: runs the lab, and leaves what bench/NAME.jq makes of it in OUT/rows.json.
measure_columns()
{
	local out=$1 name=$2 column

	choose_columns "${HOOKS[@]}"
	run_columns "$out" "${@:3}"
	columns_json "$out" > "$out/columns.json"
	# A VM that is traced in another way than was wanted shows nothing about the one that was.
	while read -r column; do
		refuse "${column%% *}" "it came to ${column#* }"
	done < <(jq -r '.columns[] | select(.wanted != .hook) | "\(.wanted) \(.hook): \(.reason)"' "$out/columns.json")
	jq -L "$REPOSITORY/bench" -f "$REPOSITORY/bench/$name.jq" "$out/columns.json" > "$out/rows.json"
}

# measure_kernels NAME: `measure` for each of VM_KERNELS, with what `make_payload` makes; prints tables and writes JSON.
measure_kernels()
{
	local kernel out all

	out=$KEEP
	if [[ -z $out ]]; then
		out=$(mktemp -d)
		on_exit "rm -rf '$out'"
	fi
	mkdir -p "$out"
	out=$(absolute "$out")
	PAYLOAD=$out/payload
	make_payload "$PAYLOAD"
	all=$(machine_json | jq --arg name "$1" '{benchmark: $name} + . + {kernels: []}')
	for kernel in "${VM_KERNELS[@]}"; do
		measure "$out/$kernel" "$kernel"
		print_table "$out/$kernel/result.json" "$kernel"
		all=$(jq --slurpfile result "$out/$kernel/result.json" '.kernels += $result' <<< "$all")
	done
	[[ -z $JSON ]] || echo "$all" > "$JSON"
}
