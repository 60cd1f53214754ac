/* SPDX-License-Identifier: GPL-2.0 */
/* The types of the shared headers, for a build without any libc or kernel headers. */
#ifndef KUP_STUB_TYPES_H
#define KUP_STUB_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#endif
