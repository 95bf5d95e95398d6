# SPDX-License-Identifier: GPL-2.0-only
#
# Print the lines of a kernel log that say that the kernel has found a mistake,
# each with what follows it up to the end of its report, at most 60 lines.

function stop() { left = 0 }

{
	text = $0
	sub(/^(<[0-9]+>)?\[ *[0-9.]+\](\[ *[TC][0-9]+\])? ?/, "", text)
}

text ~ /BUG:|kernel BUG|WARNING:|Oops|KASAN|KFENCE|UBSAN|kmemleak:.*(suspected|unreferenced object)/ ||
text ~ /possible (circular|recursive) locking|possible irq lock inversion|inconsistent lock state/ ||
text ~ /suspicious RCU usage|Invalid wait context|bad unlock balance|held lock freed|lock held (when|at)/ ||
text ~ /scheduling while atomic|sleeping function called|DEBUG_LOCKS_WARN_ON|ODEBUG: [^O]/ ||
text ~ /blocked for more than [0-9]+ seconds|soft lockup|hard LOCKUP|rcu.*detected.*stalls?|self-detected stall/ ||
text ~ /general protection fault|unable to handle|Kernel panic|refcount_t:|list_(add|del) corruption/ ||
text ~ /page allocation failure|Bad page state|double fault|unchecked MSR|stack (segment|guard)/ ||
text ~ /Out of memory:|oom-kill:constraint=CONSTRAINT_NONE|vram.*(tainted|scribbl)|printk messages dropped|Slab .*Objects remaining/ {
	# The machine's own emulation of a clock is slow, not wrong.
	if (text ~ /clocksource|perf: interrupt took too long/)
		next
	left = 60
}

left > 0 {
	print
	left--
	if (text ~ /---\[ end trace|^=+$/ && left < 50)
		stop()
}
