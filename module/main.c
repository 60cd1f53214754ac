// SPDX-License-Identifier: GPL-2.0
/*
 * The device: who may call what, and in which state.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "compat/compat.h"
#include "kup.h"
#include "stream.h"

struct kup_ctx kup = {
	.lock = __MUTEX_INITIALIZER(kup.lock),
};

void kup_set_state(enum kup_state state)
{
	lockdep_assert_held(&kup.lock);
	/* The caller got here through the open device or from the module's own worker: the module is held at this moment. */
	if (kup.state == KUP_STATE_IDLE && state != KUP_STATE_IDLE)
		__module_get(THIS_MODULE);
	else if (kup.state != KUP_STATE_IDLE && state == KUP_STATE_IDLE)
		module_put(THIS_MODULE);
	WRITE_ONCE(kup.state, state);
}

unsigned long kup_max_pfn(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, node_end_pfn(nid));
	return end;
}

union argument {
	struct {
		__u32 size;
		__u32 flags;
	};
	struct kup_status status;
	struct kup_scan scan;
	struct kup_prepare prepare;
	struct kup_preserve preserve;
	struct kup_seal seal;
	struct kup_adopt adopt;
	struct kup_verify verify;
	struct kup_attach attach;
	struct kup_shmem shmem;
	struct kup_simple simple;
	struct kup_fallback fallback;
};

static int do_status(union argument *arg)
{
	struct kup_status *st = &arg->status;

	mutex_lock(&kup.lock);
	*st = kup.counters;
	st->size = sizeof(*st);
	st->state = kup.state;
	st->stub_state = kup.stub_state;
	st->tsc_khz = check_tsc_unstable() ? 0 : tsc_khz;
	st->store_size = kup_store_size();
	strscpy(st->hook, kup_hook_name(), sizeof(st->hook));
	strscpy(st->refused, kup.refused, sizeof(st->refused));
	kup_old_status(st);
	kup_new_status(st);
	kup_fallback_status(st);
	mutex_unlock(&kup.lock);
	return 0;
}

static int do_scan(union argument *arg)
{
	return kup_scan(&arg->scan);
}

static int do_prepare(union argument *arg)
{
	return kup_prepare(&arg->prepare);
}

static int do_preserve(union argument *arg)
{
	return kup_preserve(&arg->preserve);
}

static int do_preserve_shmem(union argument *arg)
{
	return kup_preserve_shmem(&arg->shmem);
}

static int do_seal(union argument *arg)
{
	return kup_seal(&arg->seal);
}

static int do_abort(union argument *arg)
{
	int err = 0;

	if (kup.state == KUP_STATE_ADOPTED)
		err = kup_new_abort(arg->simple.why);
	else
		kup_old_abort();
	if (!err)
		kup_netlock(KUP_NETLOCK_OFF);
	return err;
}

static int do_adopt(union argument *arg)
{
	return kup_adopt(&arg->adopt);
}

static int do_verify(union argument *arg)
{
	return kup_verify(&arg->verify);
}

static int do_attach(union argument *arg)
{
	return kup_attach(&arg->attach);
}

static int do_attach_shmem(union argument *arg)
{
	return kup_attach_shmem(&arg->shmem);
}

static int do_commit(union argument *arg)
{
	int err = kup_commit(arg->simple.why);

	if (!err)
		kup_netlock(KUP_NETLOCK_OFF);
	return err;
}

static int do_drain(union argument *arg)
{
	return kup_drain(arg->flags);
}

static int do_netlock(union argument *arg)
{
	if (arg->simple.arg > KUP_NETLOCK_LOOPBACK)
		return -EINVAL;
	return kup_netlock(arg->simple.arg);
}

static int do_fallback(union argument *arg)
{
	struct kup_fallback *f = &arg->fallback;
	int err = 0;

	if ((kup.state == KUP_STATE_PREPARED) != (f->op == KUP_FALLBACK_KEEP))
		return -EBUSY;
	switch (f->op) {
	case KUP_FALLBACK_KEEP:
		err = kup_keep(f);
		break;
	case KUP_FALLBACK_ALIVE:
		kup_fallback_alive();
		break;
	case KUP_FALLBACK_END:
		kup_fallback_end(true);
		break;
	case KUP_FALLBACK_DROP:
		kup_fallback_end(false);
		break;
	case KUP_FALLBACK_GO:
		err = kup_fallback_go(f->why);
		break;
	default:
		err = -EINVAL;
	}
	return err;
}

#define IN(state)	BIT(KUP_STATE_##state)
#define ANY		(~0u)

static const struct command {
	unsigned int cmd;
	u32 flags;		/* all that are known */
	u32 states;		/* in which it is allowed */
	u32 why;		/* offset of why, 0: has none */
	bool unlocked;		/* takes kup.lock itself or does without */
	int (*run)(union argument *arg);
} commands[] = {
	{ KUP_IOC_STATUS, 0, ANY, 0, true, do_status },
	{ KUP_IOC_SCAN, 0, ANY, offsetof(struct kup_scan, why), true, do_scan },
	{ KUP_IOC_PREPARE, 0, IN(IDLE), offsetof(struct kup_prepare, why), false, do_prepare },
	{ KUP_IOC_PRESERVE, 0, IN(PREPARED) | IN(PRESERVED), offsetof(struct kup_preserve, why), false, do_preserve },
	{ KUP_IOC_PRESERVE_SHMEM, 0, IN(PREPARED) | IN(PRESERVED), offsetof(struct kup_shmem, why), false, do_preserve_shmem },
	{ KUP_IOC_SEAL, KUP_SEAL_SUMS, IN(PRESERVED), offsetof(struct kup_seal, why), false, do_seal },
	{ KUP_IOC_ABORT, 0, IN(PREPARED) | IN(PRESERVED) | IN(SEALED) | IN(ADOPTED), offsetof(struct kup_simple, why), false,
	  do_abort },
	{ KUP_IOC_ADOPT, KUP_ADOPT_NETLOCK, IN(IDLE), offsetof(struct kup_adopt, why), false, do_adopt },
	{ KUP_IOC_VERIFY, 0, IN(ADOPTED), offsetof(struct kup_verify, why), false, do_verify },
	{ KUP_IOC_ATTACH, 0, IN(ADOPTED), offsetof(struct kup_attach, why), false, do_attach },
	{ KUP_IOC_ATTACH_SHMEM, 0, IN(ADOPTED), offsetof(struct kup_shmem, why), false, do_attach_shmem },
	{ KUP_IOC_COMMIT, 0, IN(ADOPTED), offsetof(struct kup_simple, why), false, do_commit },
	{ KUP_IOC_DRAIN, KUP_DRAIN_HOLD | KUP_DRAIN_RUN | KUP_DRAIN_WAIT, ANY, offsetof(struct kup_simple, why), true, do_drain },
	{ KUP_IOC_FALLBACK, 0, IN(PREPARED) | IN(ADOPTED), offsetof(struct kup_fallback, why), false, do_fallback },
	{ KUP_IOC_NETLOCK, 0, IN(PREPARED) | IN(PRESERVED) | IN(ADOPTED), offsetof(struct kup_simple, why), false,
	  do_netlock },
};

static const char *const state_names[] = {
	[KUP_STATE_IDLE] = "idle",
	[KUP_STATE_PREPARED] = "prepared",
	[KUP_STATE_PRESERVED] = "preserved",
	[KUP_STATE_SEALED] = "sealed",
	[KUP_STATE_ADOPTED] = "adopted",
	[KUP_STATE_DRAINING] = "draining",
};

static int run_locked(const struct command *c, union argument *arg)
{
	int err;

	if (mutex_lock_interruptible(&kup.lock))
		return -EINTR;
	if (c->states & BIT(kup.state)) {
		err = c->run(arg);
	} else {
		kup_say((char *)arg + c->why, "not allowed now: the state is %s", state_names[kup.state]);
		err = -EBUSY;
	}
	mutex_unlock(&kup.lock);
	return err;
}

static long kup_ioctl(struct file *file, unsigned int cmd, unsigned long uarg)
{
	const struct command *c;
	union argument arg;
	u32 size = _IOC_SIZE(cmd);
	int err;

	for (c = commands; c->cmd != cmd; c++)
		if (c == &commands[ARRAY_SIZE(commands) - 1])
			return -ENOTTY;
	if (copy_from_user(&arg, (void __user *)uarg, size))
		return -EFAULT;
	if (arg.size != size || arg.flags & ~c->flags)
		return -EINVAL;
	if (c->why && cmd != KUP_IOC_FALLBACK)	/* which has it as an argument, too */
		*((char *)&arg + c->why) = '\0';
	err = c->unlocked ? c->run(&arg) : run_locked(c, &arg);
	if (copy_to_user((void __user *)uarg, &arg, size))
		return -EFAULT;
	return err;
}

static ssize_t kup_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	ssize_t ret = -EBUSY;

	if (mutex_lock_interruptible(&kup.lock))
		return -EINTR;
	if (kup.state == KUP_STATE_PREPARED || kup.state == KUP_STATE_PRESERVED)
		ret = kup_store_write(buf, len);
	mutex_unlock(&kup.lock);
	return ret;
}

static ssize_t kup_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	ssize_t ret = -EBUSY;

	if (mutex_lock_interruptible(&kup.lock))
		return -EINTR;
	if (kup.state == KUP_STATE_ADOPTED || kup.state == KUP_STATE_DRAINING)
		ret = kup_store_read(buf, len, pos);
	if (ret > 0)
		kup_hugetlb_restorer();
	mutex_unlock(&kup.lock);
	return ret;
}

static int kup_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN) || security_locked_down(LOCKDOWN_KEXEC))
		return -EPERM;
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = kup_open,
	.read = kup_read,
	.write = kup_write,
	.unlocked_ioctl = kup_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kup_ppp",
	.fops = &fops,
	.mode = 0600,
};

static int __init kup_init(void)
{
	char why[KUP_WHY_LEN] = "";
	int err;

	if (boot_cpu_has(X86_FEATURE_XENPV)) {	/* its page tables name other frames than memory has, and there is no kexec */
		pr_err("not loaded: a paravirtual guest of Xen has no kexec\n");
		return -EOPNOTSUPP;
	}
	err = kup_symbols_init(why, sizeof(why));
	if (err) {
		pr_err("not loaded: %s\n", why);
		return err;
	}
	err = kup_hook_init();
	if (err) {
		pr_err("not loaded: no way to hook faults, error %d\n", err);
		return err;
	}
	kup_hugetlb_init();
	kup_old_init();
	return misc_register(&device);
}

static void __exit kup_exit(void)
{
	misc_deregister(&device);
	kup_old_exit();
	mutex_lock(&kup.lock);
	kup_netlock(KUP_NETLOCK_OFF);
	mutex_unlock(&kup.lock);
}

module_init(kup_init);
module_exit(kup_exit);
MODULE_DESCRIPTION("keeps the memory of processes in place across kexec");
MODULE_LICENSE("GPL");
