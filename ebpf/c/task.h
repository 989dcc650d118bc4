/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The current task: from 5.11 as a pointer that the verifier knows and lets programs follow, before as an address. */
#ifndef TETRA_TASK_H
#define TETRA_TASK_H
#include "bpf.h"

#ifdef TETRA_LEGACY
INLINE struct task_struct *current_task(void) { return (struct task_struct *)bpf_get_current_task(); }
#define TASK_FIELD(pointer, field) READ(pointer, field)
#else
INLINE struct task_struct *current_task(void) { return bpf_get_current_task_btf(); }
#define TASK_FIELD(pointer, field) ((pointer)->field)
#endif

#endif
