/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Runtime library, see runtime.h. Functions of runtime.h are hidden: the linker makes them static, so that the verifier
 * sees what they are called with. Functions marked GLOBAL must stay global: they take integers only and are verified
 * once, however often they are called; loops stand there.
 */
#include "task.h"
#include "runtime.h"
#include "ring.h"
#include "walk.h"

#include "runtime/scratch.h"
#include "runtime/text.h"
#include "runtime/buffer.h"
#include "runtime/automaton.h"
#include "runtime/outline.h"
#include "runtime/socket.h"
#include "runtime/packet.h"
#include "runtime/process.h"
#include "runtime/workload.h"
#include "runtime/record.h"
#include "runtime/object.h"
#include "runtime/stack.h"
#include "runtime/ratelimit.h"
#include "runtime/pending.h"
#include "runtime/sock_owner.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
