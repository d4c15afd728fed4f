# What the tables of `bench syscalls` and `bench macro` are made of: see bench/columns.sh.

def median: sort | if length == 0 then null else .[length / 2 | floor] end;

# Exits that are of the guest's own making, or of ours: without the host's interrupts, the delivery of the guest's, and those
# of a guest that has nothing to do.
def own_exits: .exits - (.irq_exits // 0) - (.irq_window_exits // 0) - (.halt_exits // 0);

# Between the marks `begin` and `end` of the row that begins with these words; null if they are not both there.
def mark_of($marks; $which; $words): [$marks[] | select(.[0] == $which and .[1:1 + ($words | length)] == $words)][-1];

def between($marks; $words; count):
	mark_of($marks; "begin"; $words) as $before | mark_of($marks; "end"; $words) as $behind
	| if $before and $behind then ($behind[-1] | count) - ($before[-1] | count) else null end;

def exits_between($marks; $words): between($marks; $words; own_exits);

# How many interrupts the guest has got: each takes some exits more.
def interrupts_between($marks; $words): between($marks; $words; .irq_injections // 0);

def round($digits): if . == null then null else . * pow(10; $digits) | round / pow(10; $digits) end;

def padded($width): tostring | if length < $width then " " * ($width - length) + . else . end;

# A number with so many digits behind the point, or a dash.
def shown($digits; $width):
	(if . == null then "-" else round($digits) | tostring
		| if $digits == 0 then . elif contains(".") then . + "0" * ($digits - (split(".")[1] | length))
		  else . + "." + "0" * $digits end end) | padded($width);
