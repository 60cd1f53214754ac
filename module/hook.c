// SPDX-License-Identifier: GPL-2.0
/*
 * How faults, and the few other paths that look at page tables without a fault, are caught.
 *
 *   handle_mm_fault        a preserved page has no entry: answer before the kernel would give a zero page
 *   do_madvise, vector_madvise  DONTNEED, FREE, COLLAPSE ... would skip a page that is not there, and it would come back later
 *   do_coredump            holes are not dumped
 *   prctl                  khugepaged would fill holes; it stays away only as long as THP is disabled for the mm
 *   pagemap_read, do_pagemap_cmd  CRIU asks here which pages to copy: not one that only came back because somebody looked at it
 *   shmem_file_llseek, default_llseek  and here which of shared memory, by SEEK_DATA; the second is of hugetlbfs
 *   hugetlb_fault          as handle_mm_fault: get_user_pages() calls it by itself up to 6.5
 *   hugetlb_reserve_pages  CRIU maps a file of hugetlbfs to dump it, and to fill it in, and would reserve all of it once more
 *   folio_mc_copy          the content of a page of hugetlbfs that is moved to its frame, where it is already
 *   folio_zero_user        and of the empty one that is to be replaced by it
 *   userfaultfd_ioctl      UFFDIO_COPY and its like fill holes; so nothing is left unbound before a range is registered
 *   write_enabled_file_bool  debugfs kprobes/enabled = 0 would silently end all probes: -EBUSY (with hook=kprobe)
 *
 * 1. At the function's ftrace site redirect() is called, by one ftrace_ops for all, since each one more costs a walk over all sites of
 *    the kernel to arm it; with hook=kprobe by a kprobe for handle_mm_fault, which stands at the same site. It may not
 *    sleep: it only looks whether the call concerns a registered space, counts itself in as `inside`, and lets the function go on at
 *    our entry stub instead.
 * 2. The stub, now in ordinary context, saves the arguments and calls on_*(). 0: it restores them and jumps behind the
 *    ftrace site of the original, as if nothing had been there. Else that value is returned to the caller.
 * 3. on_*() counts itself out when it is done, so nobody is `inside` while the original runs (which may sleep for as long as
 *    userfaultfd likes). The few instructions left in the stub are covered by synchronize_rcu_tasks().
 *
 * The kprobe has an empty post_handler: that makes it IPMODIFY and keeps it from being optimised into a jump. The ftrace_ops has
 * PERMANENT, so that kernel.ftrace_enabled=0 is -EBUSY while armed, for the kprobe as well. Nothing else stands at
 * handle_mm_fault: with one user a site calls it directly, with two it goes through the list of all.
 */
#include <linux/ftrace.h>
#include <linux/hash.h>
#include <linux/kprobes.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/prctl.h>
#include <linux/rculist.h>
#include <linux/sched/coredump.h>
#include <linux/static_call.h>
#include <linux/userfaultfd.h>
#include <linux/wait_bit.h>
#include <asm/ibt.h>
#include <asm/linkage.h>

#include "compat/compat.h"
#include "compat/ftrace.h"
#include "kup.h"
#include "symbols.h"

static char *mode = "ftrace";
module_param_named(hook, mode, charp, 0444);
MODULE_PARM_DESC(hook, "how faults are caught: ftrace (default), or kprobe, which costs other processes and the blackout more");

#define SPACE_BITS 6
static struct hlist_head spaces[1 << SPACE_BITS];	/* writers: spaces_lock; readers: RCU */
static DEFINE_SPINLOCK(spaces_lock);
static atomic_t nr_spaces;

static DEFINE_MUTEX(arm_lock);
static unsigned int armed;	/* arm_lock */
static bool use_ftrace;
static atomic_t inside;		/* calls between redirect() and the end of on_*() */

/* Registry. */

static struct hlist_head *bucket(struct mm_struct *mm)
{
	return &spaces[hash_ptr(mm, SPACE_BITS)];
}

static __always_inline struct kup_space *lookup(struct mm_struct *mm)
{
	struct kup_space *s;

	hlist_for_each_entry_rcu(s, bucket(mm), node, lockdep_is_held(&spaces_lock))
		if (s->mm == mm)
			return s;
	return NULL;
}

int kup_space_register(struct kup_space *space)
{
	int err = -EEXIST;

	refcount_set(&space->users, 1);
	spin_lock(&spaces_lock);
	if (!lookup(space->mm)) {
		hlist_add_head_rcu(&space->node, bucket(space->mm));
		atomic_inc(&nr_spaces);
		err = 0;
	}
	spin_unlock(&spaces_lock);
	return err;
}

void kup_space_unregister(struct kup_space *space)
{
	spin_lock(&spaces_lock);
	hlist_del_rcu(&space->node);
	atomic_dec(&nr_spaces);
	spin_unlock(&spaces_lock);
	synchronize_rcu();	/* lookup() may still have it in hand */
	kup_space_put(space);
}

struct kup_space *kup_space_get(struct mm_struct *mm)
{
	struct kup_space *s;

	rcu_read_lock();
	s = lookup(mm);
	if (s && !refcount_inc_not_zero(&s->users))
		s = NULL;
	rcu_read_unlock();
	return s;
}

void kup_space_put(struct kup_space *space)
{
	if (refcount_dec_and_test(&space->users))
		space->free(space);
}

/* In ordinary context, from the stubs: 0 to go on with the original, else what the caller gets. */

static void leave(void)
{
	if (atomic_dec_and_test(&inside))
		wake_up_var(&inside);
}

static int touch(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct kup_space *s = kup_space_get(mm);
	int err = 0;

	if (!s)
		return 0;
	if (s->ops->touch)
		err = s->ops->touch(s, start, end);
	kup_space_put(s);
	return err;
}

static __used long on_fault(struct vm_area_struct *vma, unsigned long addr, unsigned int flags)
{
	struct kup_space *s = kup_space_get(vma->vm_mm);
	vm_fault_t ret = 0;

	if (s) {
		ret = s->ops->fault(s, vma, addr, flags);
		kup_space_put(s);
	}
	leave();
	return ret;
}

static bool advice_only(int behavior)
{
	switch (behavior) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_MERGEABLE:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
		return true;
	default:
		return false;
	}
}

static int touch_advised(struct mm_struct *mm, unsigned long start, size_t len)
{
	unsigned long end;

	start = untagged_addr(start);
	end = start + PAGE_ALIGN(len);
	return end > start ? touch(mm, start, end) : 0;
}

static __used long on_madvise(struct mm_struct *mm, unsigned long start, size_t len, int behavior)
{
	int err = advice_only(behavior) ? 0 : touch_advised(mm, start, len);

	leave();
	return err;
}

/* process_madvise(); the kernel has its own copy of the vector already. */
static __used long on_vector_madvise(struct mm_struct *mm, struct iov_iter *iter, int behavior)
{
	struct iov_iter it = *iter;
	unsigned long start;
	size_t len;
	int err = 0;

	while (!advice_only(behavior) && !err && kup_compat_next_segment(&it, &start, &len))
		err = touch_advised(mm, start, len);
	leave();
	return err;
}

static __used long on_pagemap(struct file *file)
{
	struct kup_space *s = kup_space_get(file->private_data);

	if (s) {
		if (s->ops->look)
			s->ops->look(s);
		kup_space_put(s);
	}
	leave();
	return 0;
}

static __used long on_llseek(struct file *file, loff_t offset, int whence)
{
	long ret = whence == SEEK_DATA && kup_shmem_is_hidden(file_inode(file)) ? -ENXIO : 0;

	leave();
	return ret;
}

/* As STUB_ARGUMENTS() saves them. */
struct arguments {
	unsigned long r9, r8, rcx, rdx, rsi, rdi;
};

static __used long on_hugetlb_fault(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long addr, unsigned int flags)
{
	return on_fault(vma, addr, flags);
}

/* In place of folio_mc_copy() or folio_zero_user(), not before it. */
static __used notrace long kup_stub_left_out(void)
{
	leave();
	return 0;
}

/* hugetlb_reserve_pages(inode, from, to, vma, flags): as if it were mapped by MAP_NORESERVE. */
static __used long on_reserve(struct arguments *args)
{
	if (kup_hugetlb_reserves_none((struct inode *)args->rdi, (struct vm_area_struct *)args->rcx))
		args->r8 |= VM_NORESERVE;
	leave();
	return 0;
}

static __used long on_coredump(void)
{
	touch(current->mm, 0, TASK_SIZE_MAX);	/* a dump with a hole is better than none */
	leave();
	return 0;
}

static __used long on_prctl(void)
{
	int err = touch(current->mm, 0, TASK_SIZE_MAX);

	leave();
	return err;
}

/* A space that this pass has not seen, or NULL. Not by position: a space may go while another is touched. */
static struct kup_space *get_unseen(unsigned int pass)
{
	struct kup_space *s;
	unsigned int i;

	rcu_read_lock();
	for (i = 0; i < ARRAY_SIZE(spaces); i++)
		hlist_for_each_entry_rcu(s, &spaces[i], node)
			if (s->seen != pass && refcount_inc_not_zero(&s->users)) {
				s->seen = pass;
				rcu_read_unlock();
				return s;
			}
	rcu_read_unlock();
	return NULL;
}

/* The range belongs to whoever opened the descriptor, which is not always current: all spaces. */
static __used long on_uffd(struct file *file, unsigned int cmd)
{
	static DEFINE_MUTEX(pass_lock);
	static unsigned int pass;
	struct kup_space *s;
	int err = 0;

	mutex_lock(&pass_lock);
	pass += pass == UINT_MAX ? 2 : 1;	/* 0: a space that is new */
	while (!err && (s = get_unseen(pass))) {
		if (s->ops->touch)
			err = s->ops->touch(s, 0, TASK_SIZE_MAX);
		kup_space_put(s);
	}
	mutex_unlock(&pass_lock);
	leave();
	return err;
}

static __used long on_kprobes_switch(void)
{
	leave();
	return -EBUSY;
}

/*
 * Entry stubs. Reached by a return from the ftrace trampoline with the registers of a call of the original. KUP_STUB's
 * jump is a static call that kup_hook_init() points behind the ftrace site of the original.
 */
void kup_hook_original(void);	/* never defined: only its type is used */

#define STUB_OF(name, code)							\
	DEFINE_STATIC_CALL_NULL(kup_orig_##name, kup_hook_original);		\
	extern const char kup_stub_##name[];					\
	asm(".pushsection .text, \"ax\"\n"					\
	    ".balign 16\n"							\
	    ".globl kup_stub_" #name "\n"					\
	    ".type kup_stub_" #name ", @function\n"				\
	    "kup_stub_" #name ":\n"						\
	    ASM_ENDBR								\
	    code								\
	    ".size kup_stub_" #name ", . - kup_stub_" #name "\n"		\
	    ".popsection\n")

#define STUB(name, handler) STUB_OF(name,					\
	    "	push %rdi\n	push %rsi\n	push %rdx\n	push %rcx\n"		\
	    "	sub $8, %rsp\n"							\
	    "	call " #handler "\n"						\
	    "	add $8, %rsp\n"							\
	    "	pop %rcx\n	pop %rdx\n	pop %rsi\n	pop %rdi\n"		\
	    "	test %rax, %rax\n"						\
	    "	jnz 1f\n"							\
	    "	jmp " STATIC_CALL_TRAMP_STR(kup_orig_##name) "\n"		\
	    "1:	" ASM_RET "\n")

/* For a handler that changes arguments, and then the original goes on. */
#define STUB_ARGUMENTS(name, handler) STUB_OF(name,				\
	    "	push %rdi\n	push %rsi\n	push %rdx\n	push %rcx\n"		\
	    "	push %r8\n	push %r9\n"					\
	    "	mov %rsp, %rdi\n"						\
	    "	sub $8, %rsp\n"							\
	    "	call " #handler "\n"						\
	    "	add $8, %rsp\n"							\
	    "	pop %r9\n	pop %r8\n"					\
	    "	pop %rcx\n	pop %rdx\n	pop %rsi\n	pop %rdi\n"		\
	    "	jmp " STATIC_CALL_TRAMP_STR(kup_orig_##name) "\n")

STUB(fault, on_fault);
STUB(madvise, on_madvise);
STUB(vector_madvise, on_vector_madvise);
STUB(pagemap, on_pagemap);
STUB(pagemap_scan, on_pagemap);
STUB(llseek, on_llseek);
STUB(default_llseek, on_llseek);
STUB(hugetlb_fault, on_hugetlb_fault);
STUB_ARGUMENTS(reserve, on_reserve);
STUB(coredump, on_coredump);
STUB(prctl, on_prctl);
STUB(uffd, on_uffd);
STUB(kprobes_switch, on_kprobes_switch);

/* At the ftrace site, atomic: is this call for us? */

static bool want_fault(unsigned long vma, unsigned long addr)
{
	return lookup(((struct vm_area_struct *)vma)->vm_mm);
}

static bool want_madvise(unsigned long mm, unsigned long start)
{
	return lookup((struct mm_struct *)mm);
}

static bool want_vector_madvise(unsigned long mm, unsigned long iter)
{
	return lookup((struct mm_struct *)mm);
}

static bool want_pagemap(unsigned long file, unsigned long arg)
{
	return lookup(((struct file *)file)->private_data);
}
#define want_pagemap_scan want_pagemap

static bool want_llseek(unsigned long file, unsigned long offset)
{
	return kup_shmem_is_kept((struct file *)file);
}

#define want_default_llseek want_llseek

static bool want_hugetlb_fault(unsigned long mm, unsigned long vma)
{
	return lookup((struct mm_struct *)mm);
}

static bool want_reserve(unsigned long inode, unsigned long from)
{
	return kup_shmem_is_hidden((struct inode *)inode) || kup_hugetlb_is_restoring();
}

static bool want_copy(unsigned long to, unsigned long from)
{
	return kup_hugetlb_is_moving(to);
}

static bool want_clear(unsigned long folio, unsigned long addr)
{
	return kup_hugetlb_is_filling();
}

static bool want_coredump(unsigned long info, unsigned long unused)
{
	return lookup(current->mm);
}

static bool want_prctl(unsigned long regs, unsigned long unused)
{
	return ((struct pt_regs *)regs)->di == PR_SET_THP_DISABLE && lookup(current->mm);
}

static bool want_uffd(unsigned long file, unsigned long cmd)
{
	return cmd == UFFDIO_REGISTER && atomic_read(&nr_spaces);
}

static bool want_kprobes_switch(unsigned long file, unsigned long buf)
{
	return true;
}

struct hook {
	const char *symbol[2];	/* the second: its name in other kernels, or NULL */
	bool needed;		/* else the feature is not in this kernel if the symbol is not */
	bool maybe;		/* who needs it asks whether it is hooked, or does without */
	bool kprobe_only;
	bool (*want)(unsigned long arg0, unsigned long arg1);
	const char *stub;
	struct static_call_key *key;
	void *tramp;
	unsigned long site;	/* 0: not hooked */
};

#define HOOK(name) .want = want_##name, .stub = kup_stub_##name, \
	.key = &STATIC_CALL_KEY(kup_orig_##name), .tramp = STATIC_CALL_TRAMP_ADDR(kup_orig_##name)

static struct hook hooks[] = {
	{ HOOK(fault), .symbol = { "handle_mm_fault" }, .needed = true },	/* the first one, see at_kprobe() and at_ftrace() */
	{ HOOK(madvise), .symbol = { "do_madvise" }, .needed = true },
	{ HOOK(vector_madvise), .symbol = { "vector_madvise" }, .needed = KUP_COMPAT_VECTOR_MADVISE },
	{ HOOK(pagemap), .symbol = { "pagemap_read" }, .needed = true },
	{ HOOK(pagemap_scan), .symbol = { "do_pagemap_cmd" } },			/* from 6.7 on */
	{ HOOK(llseek), .symbol = { "shmem_file_llseek" }, .needed = true },
	{ HOOK(default_llseek), .symbol = { "default_llseek" }, .needed = true },
	{ HOOK(hugetlb_fault), .symbol = { "hugetlb_fault" }, .needed = IS_ENABLED(CONFIG_HUGETLB_PAGE) },
	{ HOOK(reserve), .symbol = { "hugetlb_reserve_pages" }, .maybe = true },
	/* no original: these do not go on */
	{ .want = want_copy, .stub = (const char *)kup_stub_left_out, .symbol = { "folio_mc_copy" }, .maybe = true },
	/* not there: it is cleared, for nothing. 6.11, "mm: memory: convert clear_huge_page() to folio_zero_user()" */
	{ .want = want_clear, .stub = (const char *)kup_stub_left_out, .symbol = { "folio_zero_user", "clear_huge_page" }, .maybe = true },
	/* renamed in 6.17 ("coredump: rename do_coredump() to vfs_coredump()") */
	{ HOOK(coredump), .symbol = { "do_coredump", "vfs_coredump" } },
	{ HOOK(uffd), .symbol = { "userfaultfd_ioctl" } },
	{ HOOK(prctl), .symbol = { "__x64_sys_prctl" }, .needed = true },
	{ HOOK(kprobes_switch), .symbol = { "write_enabled_file_bool" }, .kprobe_only = true },
};
#define FAULT (&hooks[0])

static __always_inline bool redirect(struct hook *h, unsigned long arg0, unsigned long arg1)
{
	bool ours;

	rcu_read_lock();
	ours = h->want(arg0, arg1);
	if (ours)
		atomic_inc(&inside);
	rcu_read_unlock();
	return ours;
}

/*
 * The quick way for everybody else's faults, nearly all there are: a bucket without any space. It is memory of ours, so nobody need be kept
 * from freeing it, and a space is there before anything of its mm is hidden or attached.
 */
static __always_inline bool is_foreign_fault(unsigned long vma)
{
	return hlist_empty(bucket(((struct vm_area_struct *)vma)->vm_mm));
}

static int at_kprobe(struct kprobe *kp, struct pt_regs *regs)
{
	if (is_foreign_fault(regs->di) || !redirect(FAULT, regs->di, regs->si))
		return 0;
	instruction_pointer_set(regs, (unsigned long)FAULT->stub);
	return 1;
}
NOKPROBE_SYMBOL(at_kprobe);

static void after_kprobe(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}
NOKPROBE_SYMBOL(after_kprobe);

static void notrace at_ftrace(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct hook *h = FAULT;

	if (h->site == ip && is_foreign_fault(kup_compat_ftrace_arg(fregs, 0)))
		return;
	/* Only sites of hooks are in the filter. */
	while (h->site != ip)
		h++;
	if (redirect(h, kup_compat_ftrace_arg(fregs, 0), kup_compat_ftrace_arg(fregs, 1)))
		kup_compat_ftrace_go_to(fregs, (unsigned long)h->stub);
}

static struct ftrace_ops watch;
static struct kprobe probe;

static int add_watch(void)
{
	unsigned long sites[ARRAY_SIZE(hooks)];
	unsigned int i, nr = 0;
	int err;

	for (i = use_ftrace ? 0 : 1; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i].site && !(hooks[i].kprobe_only && use_ftrace))
			sites[nr++] = hooks[i].site;
	watch = (struct ftrace_ops) {
		.func = at_ftrace,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	};
	err = ftrace_set_filter_ips(&watch, sites, nr, 0, 0);
	if (!err)
		err = register_ftrace_function(&watch);
	if (err)
		ftrace_free_filter(&watch);
	return err;
}

static void remove_watch(void)
{
	unregister_ftrace_function(&watch);
	ftrace_free_filter(&watch);
}

static int add_probe(void)
{
	if (use_ftrace)
		return 0;
	probe = (struct kprobe) {
		.addr = (void *)FAULT->site,
		.pre_handler = at_kprobe,
		.post_handler = after_kprobe,
	};
	return register_kprobe(&probe);
}

static void remove_probe(void)
{
	if (!use_ftrace)
		unregister_kprobe(&probe);
}

int kup_hook_arm(void)
{
	int err = 0;

	mutex_lock(&arm_lock);
	if (armed++)
		goto out;
	__module_get(THIS_MODULE);
	err = add_watch();
	if (err)
		goto err_module;
	err = add_probe();
	if (err)
		goto err_watch;
out:
	mutex_unlock(&arm_lock);
	return err;

err_watch:
	remove_watch();
err_module:
	pr_err("cannot hook the kernel's functions: error %d\n", err);
	module_put(THIS_MODULE);
	armed--;
	goto out;
}

void kup_hook_disarm(void)
{
	mutex_lock(&arm_lock);
	if (!--armed) {
		remove_probe();
		remove_watch();
		wait_var_event(&inside, !atomic_read(&inside));
		synchronize_rcu_tasks();	/* whoever is on the last instructions of a stub */
		module_put(THIS_MODULE);
	}
	mutex_unlock(&arm_lock);
}

bool kup_hook_has_copy(void)
{
	const struct hook *h = hooks;

	while (h->want != want_copy)
		h++;
	return h->site;
}

const char *kup_hook_name(void)
{
	return !READ_ONCE(armed) ? "none" : use_ftrace ? "ftrace" : "kprobe";
}

int kup_hook_init(void)
{
	int i;

	if (!strcmp(mode, "ftrace")) {
		use_ftrace = true;
	} else if (strcmp(mode, "kprobe")) {
		pr_err("hook=%s: not kprobe or ftrace\n", mode);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		struct hook *h = &hooks[i];
		unsigned long addr = kup_symbol(h->symbol[0]);

		if (!addr && h->symbol[1])
			addr = kup_symbol(h->symbol[1]);
		if (!addr && !h->needed)
			continue;
		h->site = addr ? ftrace_location(addr) : 0;
		if (!h->site && h->maybe)
			continue;
		if (!h->site) {
			pr_err("%s is not there or cannot be traced\n", h->symbol[0]);
			return -ENODEV;
		}
		if (h->key)
			__static_call_update(h->key, h->tramp, (void *)(h->site + MCOUNT_INSN_SIZE));
	}
	return 0;
}
