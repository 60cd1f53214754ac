// SPDX-License-Identifier: GPL-2.0
/*
 * The background: a thread, from COMMIT until nothing is unbound.
 *
 * 1. It binds the chunks of each attached process, a few at a time, at the lowest priority and giving way to whoever
 *    wants mmap_lock. Between two slices it holds no reference on the mm, so a process that ends is torn down by itself.
 * 2. A process that has all its memory is let go: notifier and hook are gone from it, THP is as it was in the old kernel.
 *    One that ended before is let go too, and what it had not touched is zeroed and freed.
 * 3. Then records that nobody attached are zeroed and freed, and last the handover itself.
 *
 * Binding takes page tables from the reserves if it must, so here it is seen to first that there is memory without them.
 * While held (a debug switch) it binds nothing, but still does 2.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include "compat/compat.h"
#include "kup.h"
#include "space.h"

#define SLICE 32	/* chunks for which a reference on the mm is held */

static DECLARE_WAIT_QUEUE_HEAD(to_thread);
static DECLARE_WAIT_QUEUE_HEAD(from_thread);
static struct task_struct *thread;	/* kup.lock; between start and go */
static bool kicked;
static bool held;

void kup_drain_kick(void)
{
	smp_store_release(&kicked, true);
	wake_up(&to_thread);
}

bool kup_drain_held(void)
{
	return READ_ONCE(held);
}

static bool finished(const struct kup_attached *att)
{
	return smp_load_acquire(&att->dead) || kup_record_done(att->rec);
}

static void finish(struct kup_attached *att)
{
	struct mm_struct *mm = att->space.mm;
	struct kup_record *rec = att->rec;

	if (mmget_not_zero(mm)) {
		mmap_write_lock(mm);
		if (kup_compat_thp_disabled(mm))	/* else the process has changed it itself meanwhile */
			kup_compat_set_thp_disabled(mm, rec->mm->flags & KUP_MM_THP_DISABLED);
		mmap_write_unlock(mm);
		mmput(mm);
	}
	mutex_lock(&kup.lock);
	kup_detach(att);
	mutex_unlock(&kup.lock);
	kup_drop_record(rec);	/* nothing, unless the process ended */
}

static bool memory_left(void)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);

	if (page)
		__free_page(page);
	return page;
}

/* Bind some chunks from @next on. False if nothing can be done now. */
static bool drain_slice(struct kup_attached *att, u32 *next)
{
	struct mm_struct *mm = att->space.mm;
	u32 nr = att->rec->mm->nr_chunks;
	int left = SLICE;

	if (!memory_left())
		schedule_timeout_idle(HZ / 10);
	if (!mmget_not_zero(mm))
		return false;	/* its release will kick us */
	mmap_read_lock(mm);
	for (; *next < nr && left && !READ_ONCE(held); ++*next) {
		if (kup_chunk_done(att->rec, *next))
			continue;
		kup_bind_chunk(att, *next);	/* does not fail: nobody kills this thread */
		left--;
		if (need_resched() || mmap_lock_is_contended(mm))
			break;
	}
	mmap_read_unlock(mm);
	mmput(mm);
	cond_resched();
	return true;
}

/* One look at every process: true if one of them is still attached. */
static bool drain_attached(void)
{
	bool attached = false;
	u32 i, next;

	for (i = 0; i < kup_new.h->nr_mms; i++) {
		struct kup_attached *att = kup_new.rec[i].att;

		if (!att)
			continue;
		next = 0;
		while (!finished(att) && !READ_ONCE(held) && drain_slice(att, &next))
			;
		if (finished(att))
			finish(att);
		else
			attached = true;
	}
	return attached;
}

static int drain(void *unused)
{
	u32 i;

	set_user_nice(current, MAX_NICE);
	while (drain_attached()) {
		wait_event_idle(to_thread, smp_load_acquire(&kicked));
		WRITE_ONCE(kicked, false);
	}
	for (i = 0; i < kup_new.h->nr_mms; i++)
		kup_drop_record(&kup_new.rec[i]);

	mutex_lock(&kup.lock);
	if (kup_new.done_ns > kup_new.commit_ns)	/* else there was nothing left at COMMIT */
		kup.counters.drain_ns = kup_new.done_ns - kup_new.commit_ns;
	held = false;
	kup_release_handover();
	mutex_unlock(&kup.lock);
	wake_up_all(&from_thread);
	module_put_and_kthread_exit(0);
}

int kup_drain_start(void)
{
	struct task_struct *t = kthread_create(drain, NULL, "kup_drain");

	lockdep_assert_held(&kup.lock);
	if (IS_ERR(t))
		return PTR_ERR(t);
	__module_get(THIS_MODULE);	/* the thread's own */
	thread = t;
	return 0;
}

void kup_drain_go(void)
{
	wake_up_process(thread);
	thread = NULL;
}

int kup_drain(u32 flags)
{
	int err = 0;

	if (!flags || (flags & KUP_DRAIN_HOLD && flags & (KUP_DRAIN_RUN | KUP_DRAIN_WAIT)))
		return -EINVAL;
	if (mutex_lock_interruptible(&kup.lock))
		return -EINTR;
	if (flags & KUP_DRAIN_HOLD) {
		if (kup.state == KUP_STATE_ADOPTED || kup.state == KUP_STATE_DRAINING)
			WRITE_ONCE(held, true);
		else
			err = -EBUSY;
	}
	if (flags & KUP_DRAIN_RUN) {
		WRITE_ONCE(held, false);
		kup_drain_kick();
	}
	if (flags & KUP_DRAIN_WAIT && kup.state == KUP_STATE_ADOPTED)
		err = -EBUSY;
	mutex_unlock(&kup.lock);
	if (!err && flags & KUP_DRAIN_WAIT &&
	    wait_event_interruptible(from_thread, READ_ONCE(kup.state) != KUP_STATE_DRAINING))
		err = -EINTR;
	return err;
}
