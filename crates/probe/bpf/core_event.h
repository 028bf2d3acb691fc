/* SPDX-License-Identifier: GPL-2.0 */
/* What hooks are called with, and what only they read; a part of core.h, which says how to read it. */
#ifndef NABE_CORE_EVENT_H
#define NABE_CORE_EVENT_H

#if defined(__TARGET_ARCH_x86)
/* Since 6.9 ss and cs are in a union; both names still resolve. */
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
};
#endif

struct linux_binprm {
	const char *filename;
};

#endif
