# What the tables of `bench syscalls` and `bench macro` are made of: see bench/columns.sh.

def median: sort | if length == 0 then null else .[length / 2 | floor] end;

# Exits that are of the guest's own making, or of ours: without the host's interrupts, and without those of a guest that has
# nothing to do.
def own_exits: .exits - (.irq_exits // 0) - (.halt_exits // 0);

# Between the marks `begin` and `end` of the row.
def exits_between($marks; $words):
	[$marks[] | select(.[0] == "begin" and .[1:1 + ($words | length)] == $words) | last | own_exits] as $begin
	| [$marks[] | select(.[0] == "end" and .[1:1 + ($words | length)] == $words) | last | own_exits] as $end
	| if ($begin | length) == 0 or ($end | length) == 0 then null else $end[0] - $begin[0] end;

def round($digits): if . == null then null else . * pow(10; $digits) | round / pow(10; $digits) end;

def padded($width): tostring | if length < $width then " " * ($width - length) + . else . end;

# A number with so many digits behind the point, or a dash.
def shown($digits; $width):
	(if . == null then "-" else round($digits) | tostring
		| if $digits == 0 then . elif contains(".") then . + "0" * ($digits - (split(".")[1] | length))
		  else . + "." + "0" * $digits end end) | padded($width);
