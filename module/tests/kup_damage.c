// SPDX-License-Identifier: GPL-2.0
/*
 * A sealed handover is damaged just before the jump, when nobody looks at it any more in this kernel: what does the next one make of it?
 *
 * insmod kup_damage.ko area=ADDRESS section=extents offset=0 mask=1
 *
 * With mask=0 nothing is. In any case /dev/kup_damage reads and writes physical memory at its offset, within a page: damage_test does
 * in the next kernel, before the handover is adopted, what would take a boot for each bit here.
 */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/uaccess.h>

#include <kup/handover.h>
#include <kup/map.h>

static ulong area;
module_param(area, ulong, 0400);
MODULE_PARM_DESC(area, "physical address of the handover");
static char *section = "header";
module_param(section, charp, 0400);
MODULE_PARM_DESC(section, "header, extents, directory, maps, store, or frame: of preserved memory, one in the middle");
static ulong offset;
module_param(offset, ulong, 0400);
MODULE_PARM_DESC(offset, "of a byte in it");
static unsigned char mask = 1;
module_param(mask, byte, 0400);
MODULE_PARM_DESC(mask, "bits of that byte to flip");

static void *stream_at(struct kup_handover *h, u64 at)
{
	const u32 *directory = (void *)h + h->directory_off;

	return __va(PFN_PHYS((u64)directory[at / KUP_FRAME_SIZE])) + at % KUP_FRAME_SIZE;
}

/* The first one of a chunk in the middle of the first process, where its data is; the lowest one, if they are scattered. */
static u8 *frame(struct kup_handover *h)
{
	const struct kup_mm_record *mm = stream_at(h, 0);
	const struct kup_chunk *c = stream_at(h, mm->chunks_off + mm->nr_chunks / 2 * sizeof(*c));
	u64 payload = c->value * 8ULL;
	u32 pfn = c->value;

	if (c->kind == KUP_CHUNK_RUNS)
		pfn = ((struct kup_run *)stream_at(h, payload))->pfn;
	else if (c->kind == KUP_CHUNK_SCATTER)
		pfn = *(u32 *)stream_at(h, payload + offsetof(struct kup_scatter, base));
	return __va(PFN_PHYS((u64)pfn));
}

static u8 *victim(struct kup_handover *h)
{

	if (!strcmp(section, "header"))
		return (u8 *)h + offset;
	if (!strcmp(section, "extents"))
		return (u8 *)h + h->extents_off + offset;
	if (!strcmp(section, "directory"))
		return (u8 *)h + h->directory_off + offset;
	if (!strcmp(section, "frame"))
		return frame(h) + offset;
	return stream_at(h, offset + (strcmp(section, "maps") ? h->store_off : 0));
}

static int damage(struct notifier_block *nb, unsigned long action, void *data)
{
	struct kup_handover *h = __va(area);

	if (h->magic != KUP_HANDOVER_MAGIC || h->self != area) {
		pr_err("there is no sealed handover at %#lx\n", area);
		return NOTIFY_DONE;
	}
	*victim(h) ^= mask;
	pr_info("%s+%#lx damaged\n", section, offset);
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = damage };

static void *memory_at(loff_t pos, size_t len)
{
	return pos >= 0 && pfn_valid(PHYS_PFN(pos)) && len <= PAGE_SIZE - offset_in_page(pos) ? __va(pos) : NULL;
}

static ssize_t mem_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	void *p = memory_at(*pos, len);

	return !p || copy_to_user(buf, p, len) ? -EFAULT : len;
}

static ssize_t mem_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	void *p = memory_at(*pos, len);

	return !p || copy_from_user(p, buf, len) ? -EFAULT : len;
}

static const struct file_operations fops = { .owner = THIS_MODULE, .read = mem_read, .write = mem_write, .llseek = default_llseek };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "kup_damage", .fops = &fops, .mode = 0600 };

static int __init kup_damage_init(void)
{
	int err = area ? misc_register(&device) : -EINVAL;

	if (!err && mask)
		register_reboot_notifier(&notifier);
	return err;
}

static void __exit kup_damage_exit(void)
{
	if (mask)
		unregister_reboot_notifier(&notifier);
	misc_deregister(&device);
}

module_init(kup_damage_init);
module_exit(kup_damage_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("damages a handover, for tests");
