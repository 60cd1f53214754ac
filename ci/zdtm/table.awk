# SPDX-License-Identifier: GPL-2.0
# A line for each of ZDTM's tests, of what its Makefile would start ("static ./NAME ARGS"), its description and its hook:
#
#	NAME  STATE  FLAGS  FEATURE  DUMP  RESTORE  ARGS
#
# tabs between, "-" for nothing. STATE is "run", or why it is not run; DUMP and RESTORE are more options for CRIU.
function value(key,   v)
{
	if (!match(desc, "['\"]" key "['\"] *: *['\"][^'\"]*"))
		return ""
	v = substr(desc, RSTART, RLENGTH)
	sub(/.*['"]/, "", v)
	gsub(/[ \t]+/, " ", v)
	sub(/ $/, "", v)
	return v
}
function has(list, word) { return index(" " list " ", " " word " ") }
function or_none(s) { return s == "" ? "-" : s }
function with(a, b) { return a b == "" ? "-" : a (a != "" && b != "" ? " " : "") b }
function exists(file,   line, there)
{
	there = (getline line <file) >= 0
	close(file)
	return there
}

BEGIN {
	while ((getline line <expected) > 0) {
		split(line, w, "\t")
		if (w[2] == "not-run")
			listed[w[1]] = w[3]
	}
}

{
	base = substr($2, 3)
	name = $1 "/" base
	args = ""
	for (i = 3; i <= NF; i++)
		args = args (i > 3 ? " " : "") $i
	file = dir "/" name
	desc = ""
	while ((getline line <(file ".desc")) > 0) {
		sub(/#.*/, "", line)
		desc = desc " " line
	}
	close(file ".desc")
	flags = value("flags")
	flavor = value("flavor")
	arch = value("arch")

	if (!exists(file))
		state = "does not build"
	else if (has(flags, "noauto"))
		state = "CRIU's own runs leave it out (noauto)"
	else if (has(flags, "crfail"))
		state = "CRIU has to refuse it (crfail)"
	else if (flavor != "" && !has(flavor, "h"))
		state = "only in namespaces of its own (" flavor ")"
	else if (arch != "" && !has(arch, "x86_64"))
		state = "not for x86-64"
	else if (has(flags, "crlib"))
		state = "needs a plugin of CRIU's"
	else if (has(flags, "pre-dump-notify"))
		state = "tests a dump before the dump"
	else if (name in listed)
		state = listed[name]
	else
		state = "run"
	printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state, or_none(flags), or_none(value("feature")), with(value("opts"), value("dopts")),
		with(value("opts"), value("ropts")), args
}
