/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_STUB_ASSERT_H
#define KUP_STUB_ASSERT_H

#define static_assert _Static_assert

#endif
