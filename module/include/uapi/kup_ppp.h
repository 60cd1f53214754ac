/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/kup_ppp: the interface between kup_ppp.ko and the kup-ppp command.
 *
 * Opening needs CAP_SYS_ADMIN in the initial user namespace. Every structure begins with its own size and flags; a size
 * other than the kernel's, or an unknown flag, is -EINVAL. A structure with `why` fills it on failure with one line that
 * names the object (NUL terminated; empty if errno says all).
 *
 * One switch at a time; states and what is allowed in each:
 *
 *   IDLE       PREPARE -> PREPARED           ADOPT -> ADOPTED
 *   PREPARED   SCAN, write(), NETLOCK, PRESERVE or PRESERVE_SHMEM -> PRESERVED        ABORT -> IDLE
 *   PRESERVED  PRESERVE, PRESERVE_SHMEM (more), write(), NETLOCK, SEAL -> SEALED    ABORT -> IDLE (all pages back in place)
 *   SEALED     reboot(LINUX_REBOOT_CMD_KEXEC) leaves this kernel    ABORT -> IDLE
 *   ADOPTED    read(), NETLOCK, VERIFY, ATTACH, ATTACH_SHMEM, COMMIT -> DRAINING  ABORT -> IDLE (unclaimed frames are zeroed and freed)
 *   DRAINING   DRAIN, read(); -> IDLE by itself when no frame is unbound
 *   SCAN and STATUS are allowed in every state; FALLBACK in PREPARED and ADOPTED, each of its operations in one of them.
 *
 * errno (beyond what open, read, write and mmap of any device give)
 *   EINVAL      size, flag or argument        EPERM    not privileged, or lockdown
 *   EBUSY       wrong state for this call, or (PRESERVE) a page that can't be taken: see why
 *   ESRCH       no such process               ENODEV   this kernel lacks something the module needs: see why
 *   ENOMEM      no memory                     ENOSPC   handover too large, no place for the window, too little left for the new kernel
 *   EBADMSG     (ADOPT) handover damaged, (VERIFY) memory changed
 *   ENODATA     (VERIFY) no sums were sealed  ENOENT   (ADOPT) no handover there; (ATTACH, ATTACH_SHMEM) no such process or file in it
 *   EBADF       no such descriptor            EOPNOTSUPP (PRESERVE_SHMEM, ATTACH_SHMEM) not a file of tmpfs or hugetlbfs
 *   ESTALE      (ADOPT) handover was adopted before
 *   EADDRNOTAVAIL (ATTACH) a preserved address has no fitting VMA: see why
 *   EINTR       a signal arrived; nothing was changed
 */
#ifndef UAPI_KUP_PPP_H
#define UAPI_KUP_PPP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KUP_DEVICE	"/dev/kup_ppp"
#define KUP_WHY_LEN	160

enum kup_state {
	KUP_STATE_IDLE,
	KUP_STATE_PREPARED,
	KUP_STATE_PRESERVED,
	KUP_STATE_SEALED,
	KUP_STATE_ADOPTED,
	KUP_STATE_DRAINING,
};

/**
 * struct kup_prepare - take the memory that the switch needs, before anything is frozen
 * @window_size: bytes for kexec's segments, a multiple of 2 MiB
 * @window_limit: the window ends at or below this physical address (0: 4 GiB)
 * @window_base: out, 2 MiB aligned. The module owns the window until ABORT: what stood there was migrated away, so
 *	that what kexec overwrites holds nobody's page
 * @area: out, physical address of the handover area
 * @nonce: out, goes into the stub's parameters
 */
struct kup_prepare {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 window_size;
	__u64 window_limit;
	__u64 window_base;
	__u64 area;
	__u64 nonce;
	char  why[KUP_WHY_LEN];
};

/**
 * struct kup_scan - what PRESERVE would do with this process; changes nothing
 * @pid: thread group id in the caller's pid namespace
 * @anon_pages: present private anonymous pages, 4 KiB each, huge ones included
 * @preserve_pages: of those, what would be kept in place
 * @huge_pages: of those, how many 2 MiB pages; one of 1 GiB counts as 512
 * @shared_pages: of those kept, pages that may have more owners, since a fork
 * @preserve_bytes: RAM that those kept are: of a page with more owners, this one's share
 * @merged_pages: made one with others by KSM: CRIU carries them
 * @pinned_pages: pinned for DMA: PRESERVE would refuse
 * @swapped_pages: PRESERVE would bring them in first
 * @exec_pages: anonymous pages of executable mappings without a file: CRIU carries them
 * @filecow_pages: those of mappings of files that are not kept, as executable ones: CRIU carries them
 * @shmem_pages: shared memory that it has mapped; PRESERVE_SHMEM takes it
 */
struct kup_scan {
	__u32 size;
	__u32 flags;		/* 0 */
	__s32 pid;
	__u32 zero;
	__u64 anon_pages;
	__u64 preserve_pages;
	__u64 huge_pages;
	__u64 shared_pages;
	__u64 preserve_bytes;
	__u64 merged_pages;
	__u64 pinned_pages;
	__u64 swapped_pages;
	__u64 exec_pages;
	__u64 filecow_pages;
	__u64 shmem_pages;
	char  why[KUP_WHY_LEN];	/* set (and -EBUSY) if PRESERVE would refuse */
};

/**
 * struct kup_preserve - take a process's anonymous pages, those of private file mappings too, out of its page tables, where they stand
 * @pid: thread group id, caller's namespace. Every thread must be frozen or ptrace-stopped and stay so
 * @pages: out, pages taken (4 KiB units); @huge: out, of them 2 MiB pages
 * @left: out, anonymous pages left mapped for CRIU
 * @why: names what was in the way
 */
struct kup_preserve {
	__u32 size;
	__u32 flags;		/* 0 */
	__s32 pid;
	__u32 zero;
	__u64 pages;
	__u64 huge;
	__u64 left;
	char  why[KUP_WHY_LEN];
};

/**
 * struct kup_shmem - PRESERVE_SHMEM and ATTACH_SHMEM: the pages of a file of tmpfs, which is what shared memory is, too, or of hugetlbfs
 *
 * PRESERVE_SHMEM: they stay where they are, in the file, which the handover will have as it is at the SEAL. From here on no page of it
 * can be moved or swapped out. It is unmapped, so that pagemap shows none of it; and who descends from the caller (CRIU) finds
 * no data when it seeks for some (SEEK_DATA): to all others it is a file as ever. Nobody need be frozen; what is written after SEAL is
 * in what the next kernel finds, or not. -EBUSY: it was given before, or a page is in use by a device.
 *
 * ATTACH_SHMEM: they become pages of this file, in which there may be others: those give way. Offsets behind its end are dropped. It
 * may be tried again if it failed, and it is no error to do so if it did not.
 * @fd: the file
 * @id: a number that the caller chose, not 0
 * @pid: of ATTACH_SHMEM: process in whose memory cgroup the pages are; caller's namespace. Those of hugetlbfs are in the caller's own, and so are
 *	those of ATTACH
 * @pages: out
 * @copied: out, of ATTACH_SHMEM: pages that got the content only, and the frame went back to the kernel
 */
struct kup_shmem {
	__u32 size;
	__u32 flags;		/* 0 */
	__s32 fd;
	__u32 id;
	__s32 pid;
	__u32 zero;
	__u64 pages;
	__u64 copied;
	char  why[KUP_WHY_LEN];
};

/**
 * struct kup_seal - write the handover: extents, maps, checksums. After it only the jump or ABORT
 * @flags: KUP_SEAL_SUMS: with sums of the memory itself, for VERIFY. Takes time
 *
 * All threads must be frozen or ptrace-stopped, as for PRESERVE. -EBUSY also if a process ran in between and changed its mappings:
 * what was dumped is no longer true. Refused, the state stays PRESERVED.
 * @min_free: refuse (-ENOSPC) if fewer bytes than this would stay for the new kernel (0: 128 MiB, and a 32nd of memory)
 * @frames, @extents, @block_order, @reserved_pages, @meta_bytes: out; reserved_pages - frames is what blocks cost until adoption.
 *	A frame of several processes counts once
 */
struct kup_seal {
	__u32 size;
	__u32 flags;
	__u64 min_free;
	__u64 frames;
	__u64 reserved_pages;
	__u64 meta_bytes;	/* maps section */
	__u32 extents;
	__u32 block_order;
	char  why[KUP_WHY_LEN];
};
#define KUP_SEAL_SUMS		1u

/**
 * struct kup_adopt - take over what the old kernel left at @area (from the kernel's command line, kup_ppp.area=)
 * @stub_state: out, enum kup_stub_state, also on failure
 * @nr_mms (processes), @frames (pages of all of them, and of all files), @huge: out
 * @store_size: out, bytes that read() gives, from offset 0
 * @returned_pages: out, frames of blocks that nobody preserved, given to this kernel
 * @extents, @block_order: out, what the stub reserved
 * @stub_cycles: out, TSC cycles in the stub; @seal_tsc: out, TSC when sealed
 * @release: out, kernel that sealed it
 */
struct kup_adopt {
	__u32 size;
	__u32 flags;		/* KUP_ADOPT_NETLOCK */
	__u64 area;
	__u32 stub_state;
	__u32 nr_mms;
	__u64 frames;
	__u64 huge;
	__u64 store_size;
	__u64 returned_pages;
	__u64 stub_cycles;
	__u64 seal_tsc;
	__u32 extents;
	__u32 block_order;
	char  release[64];
	char  why[KUP_WHY_LEN];
};
#define KUP_ADOPT_NETLOCK	1u	/* as NETLOCK on, before anything else */

/**
 * struct kup_verify - is the memory of all processes what it was when it was sealed?
 *
 * While no process has any of it back: then it may have been written to (-EBUSY).
 * @pages: out, pages compared (a page of several owners once for each)
 * @why: names process and addresses of the first difference
 */
struct kup_verify {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 pages;
	char  why[KUP_WHY_LEN];
};

/**
 * struct kup_attach - give a restored, still stopped process its frames back, to be bound as it touches them
 * @pid: caller's pid namespace; @old_pid: the record in the handover (its thread group id in the old kernel)
 * @pages: out, pages now waiting for it; @replaced: out, pages that were there already and gave way
 */
struct kup_attach {
	__u32 size;
	__u32 flags;		/* 0 */
	__s32 pid;
	__u32 old_pid;
	__u64 pages;
	__u64 replaced;
	char  why[KUP_WHY_LEN];
};

/**
 * struct kup_fallback - the kernel that is left stays at hand, until the next one has the applications running
 *
 * KEEP (PREPARED): what kexec has loaded now is copied, as what to come back to. It has to be the running kernel, loaded into the
 *	window; after it the new kernel is loaded in its place. ABORT forgets it. SEAL puts it into the handover, and ADOPT arms it.
 * ALIVE (ADOPTED): there is progress; the time until a hang is told begins anew.
 * END (ADOPTED): the commit point. The applications go on in this kernel in a moment: from now on there is no way back.
 * DROP (ADOPTED): as END, but the applications do not go on yet.
 * GO (ADOPTED): fall back now, for @why. Does not return, unless (-ENOENT) there is no fallback armed.
 * @op: one of these
 * @seconds: for KEEP: so long without progress is a hang, from the adoption on, and
 * @boot_seconds: from the start of the new kernel to the adoption
 * @pages: out, of KEEP: so many are kept
 * @why: in for GO; out if it fails
 */
struct kup_fallback {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 op;
	__u32 seconds;
	__u32 boot_seconds;
	__u32 zero;
	__u64 pages;
	char  why[KUP_WHY_LEN];
};
enum kup_fallback_op {
	KUP_FALLBACK_KEEP = 1,
	KUP_FALLBACK_ALIVE,
	KUP_FALLBACK_END,
	KUP_FALLBACK_DROP,
	KUP_FALLBACK_GO,
};

/* What STATUS says of it. */
enum kup_fallback_state {
	KUP_FALLBACK_NONE,	/* fallback_why: because */
	KUP_FALLBACK_KEPT,	/* old kernel: the next switch will have one */
	KUP_FALLBACK_ARMED,	/* new kernel: a failure ends in the old one */
	KUP_FALLBACK_OVER,	/* it was armed, and the applications run for good */
	KUP_FALLBACK_FELL,	/* this boot is one: from fallback_from, because of fallback_why */
};

/**
 * struct kup_simple - ABORT, COMMIT, NETLOCK, DRAIN
 *
 * COMMIT: the applications run for good. Frames that nobody attached are zeroed and freed; the drainer starts.
 * NETLOCK: @arg is an enum kup_netlock_mode, for the caller's net namespace. ABORT and COMMIT end it, too.
 * DRAIN: @flags KUP_DRAIN_HOLD stops the background drainer (a debug switch: faults still bind), KUP_DRAIN_RUN lets it go on,
 *	KUP_DRAIN_WAIT returns when all is bound (-EINTR on a signal). HOLD may be given in ADOPTED already.
 */
struct kup_simple {
	__u32 size;
	__u32 flags;
	__u64 arg;
	char  why[KUP_WHY_LEN];
};
enum kup_netlock_mode {
	KUP_NETLOCK_OFF,
	KUP_NETLOCK_ALL,	/* all TCP and UDP is dropped, but on loopback */
	KUP_NETLOCK_NEW,	/* what opens a TCP connection from outside is */
	KUP_NETLOCK_LOOPBACK,	/* as ALL, and TCP on loopback as well, but for what CRIU has marked */
};
#define KUP_DRAIN_HOLD	1u
#define KUP_DRAIN_RUN	2u
#define KUP_DRAIN_WAIT	4u

/**
 * struct kup_status - where things stand
 *
 * Counters are of the current or the last switch, in this kernel. Pages are 4 KiB units, huge pages included.
 */
struct kup_status {
	__u32 size;
	__u32 flags;		/* in: 0; out: KUP_STATUS_* */
	__u32 state;		/* enum kup_state */
	__u32 stub_state;	/* of the last ADOPT tried */
	__u32 nr_mms;
	__u32 tsc_khz;		/* rate of the TSC; 0: this kernel does not trust it */
	__u64 window_base, window_size, area;
	__u64 preserved_pages, preserved_huge;	/* old side; shared memory not counted */
	__u64 preserved_shmem;	/* old side: pages of it */
	__u64 faulted_back;	/* old side: pages that somebody looked at while preserved */
	__u64 shown_pages;	/* old side: of these, what pagemap showed, so that CRIU copied it */
	__u64 evacuated_pages;	/* old side: pages migrated out of the window by PREPARE */
	__u64 store_size;
	__u64 unbound_pages;	/* new side: still waiting */
	__u64 bound_pages;	/* by faults, drain and other means together */
	__u64 bound_huge;	/* of them as 2 MiB pages, counted in huge pages */
	__u64 fault_binds;	/* faults that had to bind */
	__u64 dropped_pages;	/* unmapped, or their process ended, before they were bound; freed */
	__u64 shared_pages;	/* bound_pages that have the frame of another process's page */
	__u64 parted_pages;	/* bound_pages that had, and got a copy: their mapping is none that may share anonymous memory with that one */
	__u64 drain_ns;		/* from COMMIT to nothing unbound; 0 while running */
	__u64 kept_pages;	/* old side: of the kernel to fall back to */
	__u32 fallback;		/* enum kup_fallback_state */
	__u32 zero;
	char  fallback_from[64];
	char  fallback_why[KUP_WHY_LEN];
	char  hook[16];		/* "none", "kprobe" or "ftrace" */
	char  refused[KUP_WHY_LEN];	/* why the last ADOPT was refused; empty if it was not */
};
#define KUP_STATUS_NETLOCK	1u	/* the network lock is on, and not only for new connections */
#define KUP_STATUS_HELD		2u	/* the drainer is held */

#define KUP_IOC_MAGIC	'K'
#define KUP_IOC_STATUS	 _IOWR(KUP_IOC_MAGIC, 0x80, struct kup_status)
#define KUP_IOC_SCAN	 _IOWR(KUP_IOC_MAGIC, 0x81, struct kup_scan)
#define KUP_IOC_PREPARE	 _IOWR(KUP_IOC_MAGIC, 0x82, struct kup_prepare)
#define KUP_IOC_PRESERVE _IOWR(KUP_IOC_MAGIC, 0x83, struct kup_preserve)
#define KUP_IOC_SEAL	 _IOWR(KUP_IOC_MAGIC, 0x84, struct kup_seal)
#define KUP_IOC_ABORT	 _IOWR(KUP_IOC_MAGIC, 0x85, struct kup_simple)
#define KUP_IOC_ADOPT	 _IOWR(KUP_IOC_MAGIC, 0x86, struct kup_adopt)
#define KUP_IOC_ATTACH	 _IOWR(KUP_IOC_MAGIC, 0x87, struct kup_attach)
#define KUP_IOC_COMMIT	 _IOWR(KUP_IOC_MAGIC, 0x88, struct kup_simple)
#define KUP_IOC_DRAIN	 _IOWR(KUP_IOC_MAGIC, 0x89, struct kup_simple)
#define KUP_IOC_NETLOCK	 _IOWR(KUP_IOC_MAGIC, 0x8a, struct kup_simple)
#define KUP_IOC_FALLBACK _IOWR(KUP_IOC_MAGIC, 0x8b, struct kup_fallback)
#define KUP_IOC_VERIFY	 _IOWR(KUP_IOC_MAGIC, 0x8c, struct kup_verify)
#define KUP_IOC_PRESERVE_SHMEM _IOWR(KUP_IOC_MAGIC, 0x8d, struct kup_shmem)
#define KUP_IOC_ATTACH_SHMEM   _IOWR(KUP_IOC_MAGIC, 0x8e, struct kup_shmem)

#endif
