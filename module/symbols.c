// SPDX-License-Identifier: GPL-2.0
/*
 * One place for symbols that the kernel does not export.
 *
 * 1. Each KUP_SYM() is a static call, and under the function's name one tail call of it: a single jump, which the kernel's
 *    static call code patches to `jmp function` when it is resolved (`ret` until then).
 * 2. kallsyms_lookup_name() itself is found by a kprobe, registered and removed at once. On a kernel with IBT the probe
 *    stands behind the ENDBR: as good an entry as any, for a direct jump.
 * 3. The rest are looked up by name. A trampoline has the name of what it stands for, so an address inside this module is "not found".
 * 4. If one is missing that must be there, all missing ones are named and the module must not load: nothing has been touched.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>

#include "compat/compat.h"
#include "kup.h"
#include "symbols.h"

void kup_unresolved(void);	/* never defined: only its type is used */

#define KUP_SYM(name)								\
	DEFINE_STATIC_CALL_NULL(kup_sym_##name, kup_unresolved);		\
	asm(".pushsection .text, \"ax\"\n"					\
	    ".globl " #name "\n"						\
	    ".type " #name ", @function\n"					\
	    #name ":\n"								\
	    "	jmp " STATIC_CALL_TRAMP_STR(kup_sym_##name) "\n"		\
	    ".size " #name ", . - " #name "\n"					\
	    ".popsection\n");
#define KUP_SYM_MAYBE KUP_SYM
#include "symbols-list.h"
#undef KUP_SYM
#undef KUP_SYM_MAYBE

static const struct {
	const char *name;
	struct static_call_key *key;
	void *tramp;
	bool maybe;
} symbols[] = {
#define KUP_SYM(sym, ...) { #sym, &STATIC_CALL_KEY(kup_sym_##sym), STATIC_CALL_TRAMP_ADDR(kup_sym_##sym), ##__VA_ARGS__ },
#define KUP_SYM_MAYBE(sym) KUP_SYM(sym, true)
#include "symbols-list.h"
#undef KUP_SYM
#undef KUP_SYM_MAYBE
};

unsigned long kup_symbol(const char *name)
{
	unsigned long addr = kallsyms_lookup_name(name);

	return addr && !within_module(addr, THIS_MODULE) ? addr : 0;
}

static void resolve(unsigned int i, unsigned long addr)
{
	__static_call_update(symbols[i].key, symbols[i].tramp, (void *)addr);
}

static int find_kallsyms(void)
{
	struct kprobe kp = { .symbol_name = symbols[0].name };
	int err = register_kprobe(&kp);

	if (err)
		return err;
	unregister_kprobe(&kp);
	resolve(0, (unsigned long)kp.addr);
	return 0;
}

int kup_symbols_init(char *why, size_t len)
{
	size_t used = 0;
	unsigned int i;
	int err;

	err = find_kallsyms();
	if (err) {
		snprintf(why, len, "no kprobe on %s: error %d", symbols[0].name, err);
		return -ENODEV;
	}
	for (i = 1; i < ARRAY_SIZE(symbols); i++) {
		unsigned long addr = kup_symbol(symbols[i].name);

		if (addr)
			resolve(i, addr);
		else if (!symbols[i].maybe)
			used += scnprintf(why + used, len - used, "%s%s", used ? ", " : "this kernel lacks ", symbols[i].name);
	}
	return used ? -ENODEV : 0;
}
