# SPDX-License-Identifier: GPL-2.0
# Of patches what concerns the files that are there, where a source was not unpacked whole.
#
#   unread   what was not unpacked: patterns of paths, in which * stands for any characters, [!x] for none of these
#   moved    paths that were, in spite of that
#   list=1   prints no patches, but what ought to be in moved: files that they move from there to where all are
function is_read(name, i) {
	if (name in is_moved) return 1
	for (i = 1; i <= n; i++) if (name ~ ("^" pattern[i] "$")) return 0
	return name != "" && name != "dev/null"
}
function strip(name) { sub(/\t.*/, "", name); sub(/^[^\/]*\//, "", name); return name }
function part(before, after) {
	good = is_read(before) || is_read(after)
	if (!list && good) printf "%s", head
	if (list && good && before != "dev/null" && !is_read(before)) print before
	if (list) good = 0
	head = from = to = ""
}
function flush() { if (from != "") part(from, to); head = "" }
BEGIN {
	n = split(moved, name)
	for (i = 1; i <= n; i++) is_moved[name[i]] = 1
	n = split(unread, pattern, " ")
	for (i = 1; i <= n; i++) { gsub(/\./, "\\.", pattern[i]); gsub(/\*/, ".*", pattern[i]); gsub(/\[!/, "[^", pattern[i]) }
}
old > 0 || new > 0 {				# in a hunk
	if (/^[- ]/ || /^$/) old--
	if (/^[+ ]/ || /^$/) new--
	if (good) print
	next
}
/^\\/ { if (good) print; next }
/^@@ / {
	split($2, a, ","); split($3, b, ",")
	old = $2 ~ /,/ ? a[2] : 1; new = $3 ~ /,/ ? b[2] : 1
	if (good) print
	next
}
/^diff --git / { flush() }
/^rename from / { from = substr($0, 13) }
/^rename to / { to = substr($0, 11) }
{ head = head $0 "\n" }
/^--- / { before = strip(substr($0, 5)) }
/^\+\+\+ / { part(before, strip(substr($0, 5))) }
END { flush() }
