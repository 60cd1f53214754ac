// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "device.h"

int kup_device_open(struct kup_err *err)
{
	int fd = open(KUP_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		kup_err_set(err, -ENODEV, "%s isn't there: kup_ppp.ko isn't loaded", KUP_DEVICE);
		kup_err_next(err, "insmod kup_ppp.ko, or modprobe kup_ppp if it is installed; `dmesg` says why it refused");
		return -ENODEV;
	case EPERM:
	case EACCES:
		kup_err_set(err, -EPERM, "%s: %s", KUP_DEVICE, strerror(errno));
		kup_err_next(err, "run kup-ppp as root with CAP_SYS_ADMIN");
		return -EPERM;
	default:
		return kup_err_set(err, -errno, "%s: %s", KUP_DEVICE, strerror(errno));
	}
}

/* @why: in the structure at @arg, or NULL */
static int call(int dev, unsigned long request, void *arg, const char *why, const char *what, struct kup_err *err)
{
	int code;

	if (ioctl(dev, request, arg) == 0)
		return 0;
	code = -errno;
	if (why && why[0])
		kup_err_set(err, code, "%s: %s", what, why);
	else
		kup_err_set(err, code, "%s: %s", what, strerror(-code));
	if (code == -ENOTTY || (code == -EINVAL && !(why && why[0])))
		kup_err_next(err, "kup-ppp and kup_ppp.ko must come from the same build: compare `modinfo kup_ppp`");
	return code;
}

int kup_device_status(int dev, struct kup_status *st, struct kup_err *err)
{
	*st = (struct kup_status){ .size = sizeof(*st) };
	return call(dev, KUP_IOC_STATUS, st, NULL, "status of the module", err);
}

int kup_device_scan(int dev, pid_t pid, struct kup_scan *scan, struct kup_err *err)
{
	*scan = (struct kup_scan){ .size = sizeof(*scan), .pid = pid };
	return call(dev, KUP_IOC_SCAN, scan, scan->why, "looking at the memory", err);
}

int kup_device_prepare(int dev, struct kup_prepare *p, struct kup_err *err)
{
	int ret;

	p->size = sizeof(*p);
	ret = call(dev, KUP_IOC_PREPARE, p, p->why, "taking the window for the new kernel", err);
	if (ret == -ENOSPC || ret == -ENOMEM)
		kup_err_next(err, "free memory (%llu MiB in one piece below %llu MiB are needed), or use a smaller initrd",
			     (unsigned long long)p->window_size >> 20, (unsigned long long)p->window_limit >> 20);
	return ret;
}

int kup_device_preserve(int dev, pid_t pid, struct kup_preserve *p, struct kup_err *err)
{
	char what[64];

	*p = (struct kup_preserve){ .size = sizeof(*p), .pid = pid };
	snprintf(what, sizeof(what), "preserving pid %d", pid);
	return call(dev, KUP_IOC_PRESERVE, p, p->why, what, err);
}

int kup_device_preserve_shmem(int dev, int fd, uint32_t id, struct kup_shmem *s, struct kup_err *err)
{
	*s = (struct kup_shmem){ .size = sizeof(*s), .fd = fd, .id = id };
	return call(dev, KUP_IOC_PRESERVE_SHMEM, s, s->why, "preserving shared memory", err);
}

int kup_device_seal(int dev, bool sums, struct kup_seal *s, struct kup_err *err)
{
	*s = (struct kup_seal){ .size = sizeof(*s), .flags = sums ? KUP_SEAL_SUMS : 0 };
	return call(dev, KUP_IOC_SEAL, s, s->why, "sealing the handover", err);
}

static int simple(int dev, unsigned long request, uint32_t flags, uint64_t arg, const char *what, struct kup_err *err)
{
	struct kup_simple s = { .size = sizeof(s), .flags = flags, .arg = arg };

	return call(dev, request, &s, s.why, what, err);
}

int kup_device_abort(int dev, struct kup_err *err)
{
	return simple(dev, KUP_IOC_ABORT, 0, 0, "abort", err);
}

int kup_device_adopt(int dev, uint64_t area, struct kup_adopt *a, struct kup_err *err)
{
	char what[64];
	int ret;

	*a = (struct kup_adopt){ .size = sizeof(*a), .flags = KUP_ADOPT_NETLOCK, .area = area };
	snprintf(what, sizeof(what), "adopting the handover at 0x%llx", (unsigned long long)area);
	ret = call(dev, KUP_IOC_ADOPT, a, a->why, what, err);
	if (ret == -ENOENT || ret == -EBADMSG || ret == -ESTALE)
		kup_err_next(err, "the applications' memory is lost: start them afresh; `kup-ppp status` and the kernel log keep the reason");
	return ret;
}

int kup_device_verify(int dev, struct kup_verify *v, struct kup_err *err)
{
	*v = (struct kup_verify){ .size = sizeof(*v) };
	return call(dev, KUP_IOC_VERIFY, v, v->why, "comparing the memory with its sums", err);
}

int kup_device_attach(int dev, pid_t pid, pid_t old_pid, struct kup_attach *a, struct kup_err *err)
{
	char what[64];

	*a = (struct kup_attach){ .size = sizeof(*a), .pid = pid, .old_pid = old_pid };
	snprintf(what, sizeof(what), "attaching pid %d to its memory", pid);
	return call(dev, KUP_IOC_ATTACH, a, a->why, what, err);
}

int kup_device_attach_shmem(int dev, int fd, uint32_t id, pid_t pid, struct kup_shmem *s, struct kup_err *err)
{
	*s = (struct kup_shmem){ .size = sizeof(*s), .fd = fd, .id = id, .pid = pid };
	return call(dev, KUP_IOC_ATTACH_SHMEM, s, s->why, "attaching shared memory", err);
}

int kup_device_commit(int dev, struct kup_err *err)
{
	return simple(dev, KUP_IOC_COMMIT, 0, 0, "commit", err);
}

int kup_device_drain(int dev, uint32_t flags, struct kup_err *err)
{
	return simple(dev, KUP_IOC_DRAIN, flags, 0, "drain", err);
}

int kup_device_keep(int dev, unsigned int seconds, unsigned int boot_seconds, struct kup_err *err)
{
	struct kup_fallback f = { .size = sizeof(f), .op = KUP_FALLBACK_KEEP, .seconds = seconds, .boot_seconds = boot_seconds };
	int ret = call(dev, KUP_IOC_FALLBACK, &f, f.why, "keeping the running kernel", err);

	if (ret == -ENOMEM)
		kup_err_next(err, "free memory, use a smaller initrd, or switch without a fallback");
	return ret;
}

int kup_device_fallback(int dev, enum kup_fallback_op op, const char *why, struct kup_err *err)
{
	struct kup_fallback f = { .size = sizeof(f), .op = op };

	snprintf(f.why, sizeof(f.why), "%s", why ?: "");
	return call(dev, KUP_IOC_FALLBACK, &f, f.why, "fallback", err);
}

int kup_device_netlock(int dev, enum kup_netlock_mode mode, struct kup_err *err)
{
	return simple(dev, KUP_IOC_NETLOCK, 0, mode, mode ? "closing the network" : "opening the network", err);
}

const char *kup_fallback_name(uint32_t fallback)
{
	static const char *const names[] = {
		[KUP_FALLBACK_NONE] = "none", [KUP_FALLBACK_KEPT] = "kept", [KUP_FALLBACK_ARMED] = "armed",
		[KUP_FALLBACK_OVER] = "over", [KUP_FALLBACK_FELL] = "fell",
	};

	return fallback < sizeof(names) / sizeof(names[0]) ? names[fallback] : "unknown";
}

const char *kup_state_name(uint32_t state)
{
	static const char *const names[] = {
		[KUP_STATE_IDLE] = "idle",	   [KUP_STATE_PREPARED] = "prepared", [KUP_STATE_PRESERVED] = "preserved",
		[KUP_STATE_SEALED] = "sealed",	   [KUP_STATE_ADOPTED] = "adopted",   [KUP_STATE_DRAINING] = "draining",
	};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
