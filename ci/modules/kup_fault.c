// SPDX-License-Identifier: GPL-2.0
/*
 * Real faults of a kernel, for the failure policies: /dev/kup_fault. Never installed.
 *
 *   write NAME   in the writer's context:
 *                  mutex, rwsem, sem   wait for a lock that a kernel thread took and never gives back
 *                  spin                turn on a spinlock that nobody gives back, interrupts on
 *                  spin-irq            the same, interrupts off; for 8 s only, since nobody may be left to write `stop`
 *                  tasks               a kernel thread makes kernel threads, without end
 *                  memory              a kernel thread takes memory, without end
 *                  stop                end all of that, as no real fault would: so that one guest can have them all
 *   read         sleeps uninterruptibly until somebody wakes it, which nobody does before `stop`
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/tsc.h>

static unsigned int per_second = 2000;
module_param(per_second, uint, 0);
MODULE_PARM_DESC(per_second, "tasks: so many threads are made; memory: so many times 64 KiB are taken");

static DEFINE_MUTEX(a_mutex);
static DECLARE_RWSEM(a_rwsem);
static struct semaphore a_sem = __SEMAPHORE_INITIALIZER(a_sem, 1);
static bool kept[3], held[3];	/* by enum lock: there is a keeper, it has the lock */
static bool spin_taken;
static bool stopping;
static atomic_t running = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(readers);
static DECLARE_WAIT_QUEUE_HEAD(enders);

static bool over(void)
{
	return READ_ONCE(stopping);
}

static int ends(void)
{
	if (atomic_dec_and_test(&running))
		wake_up_all(&enders);
	return 0;
}

static int start(int (*fn)(void *), void *arg, const char *name)
{
	struct task_struct *t;

	atomic_inc(&running);
	t = kthread_run(fn, arg, "%s", name);
	if (!IS_ERR(t))
		return 0;
	ends();
	return PTR_ERR(t);
}

/* --- locks --- */

enum lock { MUTEX, RWSEM, SEM };

static int keep_lock(void *arg)
{
	enum lock which = (long)arg;

	if (which == MUTEX)
		mutex_lock(&a_mutex);
	else if (which == RWSEM)
		down_write(&a_rwsem);
	else
		down(&a_sem);
	WRITE_ONCE(held[which], true);
	while (!over())
		msleep(50);
	if (which == MUTEX)
		mutex_unlock(&a_mutex);
	else if (which == RWSEM)
		up_write(&a_rwsem);
	else
		up(&a_sem);
	return ends();
}

static int wait_for(enum lock which)
{
	int ret;

	if (!xchg(&kept[which], true)) {
		ret = start(keep_lock, (void *)(long)which, "kup_holder");
		if (ret)
			return ret;
	}
	while (!READ_ONCE(held[which]))
		msleep(20);
	if (which == MUTEX) {
		mutex_lock(&a_mutex);
		mutex_unlock(&a_mutex);
	} else if (which == RWSEM) {
		down_read(&a_rwsem);
		up_read(&a_rwsem);
	} else {
		down(&a_sem);
		up(&a_sem);
	}
	return 0;
}

/* Not a spinlock_t: its tests for debugging would tell. What it does to the CPU is the same. */
static noinline void turn_on_spinlock(u64 until)
{
	while (READ_ONCE(spin_taken) && !over() && rdtsc() < until)
		cpu_relax();
}

static int spin(bool irqs_off)
{
	WRITE_ONCE(spin_taken, true);
	preempt_disable();
	if (irqs_off)
		local_irq_disable();
	turn_on_spinlock(irqs_off ? rdtsc() + 8000ull * tsc_khz : U64_MAX);
	if (irqs_off)
		local_irq_enable();
	preempt_enable();
	return 0;
}

/* --- growth --- */

static int idle_on(void *arg)
{
	while (!over())
		msleep_interruptible(200);
	return ends();
}

static int make_tasks(void *arg)
{
	unsigned int i;

	while (!over()) {
		for (i = 0; i < per_second / 20 && !over(); i++)
			start(idle_on, NULL, "kup_child");
		msleep(50);
	}
	return ends();
}

static int take_memory(void *arg)
{
	struct page *page, *all = NULL;
	unsigned int i;

	while (!over()) {
		for (i = 0; i < per_second / 20 && !over(); i++) {
			page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, 4);
			if (!page)
				break;
			set_page_private(page, (unsigned long)all);
			all = page;
		}
		msleep(50);
	}
	while (all) {
		page = all;
		all = (struct page *)page_private(page);
		set_page_private(page, 0);
		__free_pages(page, 4);
	}
	return ends();
}

/* --- the device --- */

static int stop(void)
{
	WRITE_ONCE(stopping, true);
	wake_up_all(&readers);
	wait_event(enders, !atomic_read(&running));
	msleep(300);	/* whoever waited is on its way out */
	WRITE_ONCE(spin_taken, false);
	memset(kept, 0, sizeof(kept));
	memset(held, 0, sizeof(held));
	WRITE_ONCE(stopping, false);
	return 0;
}

static ssize_t fault_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	char what[16] = "";
	int ret;

	if (len >= sizeof(what))
		return -EINVAL;
	if (copy_from_user(what, buf, len))
		return -EFAULT;
	if (sysfs_streq(what, "mutex"))
		ret = wait_for(MUTEX);
	else if (sysfs_streq(what, "rwsem"))
		ret = wait_for(RWSEM);
	else if (sysfs_streq(what, "sem"))
		ret = wait_for(SEM);
	else if (sysfs_streq(what, "spin"))
		ret = spin(false);
	else if (sysfs_streq(what, "spin-irq"))
		ret = spin(true);
	else if (sysfs_streq(what, "tasks"))
		ret = start(make_tasks, NULL, "kup_maker");
	else if (sysfs_streq(what, "memory"))
		ret = start(take_memory, NULL, "kup_taker");
	else if (sysfs_streq(what, "stop"))
		ret = stop();
	else
		ret = -EINVAL;
	return ret ?: len;
}

static ssize_t fault_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	wait_event(readers, over());
	return 0;
}

static const struct file_operations fault_fops = {
	.owner = THIS_MODULE,
	.read = fault_read,
	.write = fault_write,
};

static struct miscdevice fault_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kup_fault",
	.fops = &fault_fops,
};

module_misc_device(fault_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("faults for kup-ppp's failure policies; test only");
