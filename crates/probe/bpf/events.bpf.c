// SPDX-License-Identifier: GPL-2.0
/*
 * nabe's events, one object. Every program is off by default (SEC("?...")): the
 * loader takes what is wanted. No program may need func_info (no callbacks), as
 * in nabe.bpf.c.
 */
#include "event.h"
#include "sys_hot.h"
#include "sys_task.h"
#include "sys_file.h"
#include "sys_fd.h"
#include "sys_proc.h"
#include "sys_told.h"
#include "sys_net.h"
#include "sys_connect.h"
#include "sched.h"

char LICENSE[] SEC("license") = "GPL";
