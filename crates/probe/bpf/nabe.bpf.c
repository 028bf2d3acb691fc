// SPDX-License-Identifier: GPL-2.0
/*
 * nabe's iterators, one object. Every program is off by default (SEC("?...")):
 * the loader takes what a query needs. No program may need func_info (no
 * callbacks), so that relocated instructions can be kept and loaded without
 * any BTF (crates/probe/src/iter/cache.rs).
 */
#include "nabe.h"
#include "task.h"
#include "args.h"
#include "file.h"
#include "orphan.h"

char LICENSE[] SEC("license") = "GPL";
