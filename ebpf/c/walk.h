/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Path walk: from a dentry and its mount up to the root of the current process.
 *
 * A path is found last component first. A short one within one mount, the common case, is walked through pointers that
 * the verifier knows: the components are gathered, then their names are written from the left. Everything else is
 * walked through addresses, in global functions, which are verified once however often a program walks and need no
 * bpf_loop, so 5.10 walks as deep as the newest kernel. There the text grows from the right end of text.bytes and is
 * moved to the left when it is complete:
 *
 *     text.bytes  |....................|/name|/name|/name|.. slack ..|
 *                 0                    ^position         TEXT_MAX
 */
#ifndef TETRA_WALK_H
#define TETRA_WALK_H
#include "scratch.h"

#define WALK_CHUNK 16      /* steps of one call of walk_chunk */
#define WALK_CHUNKS 136    /* 2,176 steps: a text of 4,096 bytes has at most 2,048 components, the rest are mounts */
#define WALK_SHORT 6       /* components of a short path: see APPEND */
#define NAME_MAX 255
#define NAME_INLINE 32     /* a name shorter than this lies within its dentry, on every kernel */

/* What stands around d_parent in every kernel seen, so that one read fetches all. */
struct dentry_link {
	struct hlist_bl_node **pprev;
	struct dentry *parent;
	__u32 hash;
	__u32 len;
	const unsigned char *name;
	struct inode *inode;
	__u64 inline_name[NAME_INLINE / 8];
};

struct mount_link { struct mount *parent; struct dentry *mountpoint; };

/* State of a walk; it lies in the slack of its text, which holds no text while one walks, because the stack is short. */
struct walk {
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *mnt_root;
	struct dentry *root_dentry;
	struct vfsmount *root_mnt;
	struct dentry_link link;
	struct mount_link up;
	__u32 lens[WALK_SHORT];
	__u32 position;
	__u32 pad;
};

INLINE struct walk *walk_state(struct text *t)
{
	return (struct walk *)(t->bytes + TEXT_MAX);
}

/* ---- names ---- */

/* The barriers keep the compiler from evaluating the branch for another kernel, where its relocation has failed. */
INLINE __u32 inline_name_offset(void)
{
	__u32 offset;

	if (KERNEL_FIELD_EXISTS(struct dentry, d_iname)) {
		offset = KERNEL_OFFSET(struct dentry, d_iname);
		OPAQUE(offset);
	} else {
		offset = KERNEL_OFFSET(struct dentry___shortname, d_shortname);
		OPAQUE(offset);
	}
	return offset;
}

/*
 * Writes a name of less than NAME_INLINE bytes in words, of which the last reaches up to 8 bytes behind the name; reading
 * that much of the source is safe because it lies within the dentry.
 */
INLINE void put_words(__u8 *to, const __u64 *name, __u32 len)
{
	*(__u64 *)to = name[0];
	if (len > 8) {
		*(__u64 *)(to + 8) = name[1];
		if (len > 16) {
			*(__u64 *)(to + 16) = name[2];
			if (len > 24)
				*(__u64 *)(to + 24) = name[3];
		}
	}
}

/* ---- through addresses ---- */

#define DENTRY_IS_AT(field, at) (KERNEL_OFFSET(struct dentry, field) == KERNEL_OFFSET(struct dentry, d_parent) + (at))

INLINE int has_inline_names(void)
{
	return DENTRY_IS_AT(d_hash.pprev, -8) && DENTRY_IS_AT(d_name, 8) && DENTRY_IS_AT(d_inode, 24) &&
	       inline_name_offset() == KERNEL_OFFSET(struct dentry, d_parent) + 32;
}

INLINE int read_dentry_link(struct dentry_link *link, struct dentry *dentry)
{
	if (has_inline_names())
		return bpf_probe_read_kernel(link, sizeof *link, &dentry->d_hash.pprev);
	link->pprev = READ(dentry, d_hash.pprev);
	link->parent = READ(dentry, d_parent);
	link->len = READ(dentry, d_name.len);
	link->name = READ(dentry, d_name.name);
	link->inode = READ(dentry, d_inode);
	return link->parent ? 0 : -1;
}

INLINE int read_mount_link(struct mount_link *link, struct mount *mount)
{
	if (KERNEL_OFFSET(struct mount, mnt_mountpoint) == KERNEL_OFFSET(struct mount, mnt_parent) + 8)
		return bpf_probe_read_kernel(link, sizeof *link, &mount->mnt_parent);
	link->parent = READ(mount, mnt_parent);
	link->mountpoint = READ(mount, mnt_mountpoint);
	return link->parent ? 0 : -1;
}

enum { PREPEND_OK, PREPEND_FULL, PREPEND_FAULT };

/* Puts "/name" before position. If it does not fit, its tail does, and the text is a suffix of the path. */
INLINE int prepend(struct text *t, __u32 *position, struct dentry_link *link)
{
	__u32 at = *position;
	__u32 len = link->len;
	OPAQUE(at);
	OPAQUE(len);
	if (at > TEXT_MAX || len > NAME_MAX)
		return PREPEND_FAULT;
	if (at < len + 1) {
		OPAQUE(at);
		at &= 0xff; /* says to the verifier what is so already: at <= len <= 255 */
		if (bpf_probe_read_kernel(t->bytes, at, link->name + (len - at)))
			return PREPEND_FAULT;
		*position = 0;
		return PREPEND_FULL;
	}
	at = (at - len - 1) & (TEXT_MAX - 1);
	__u8 *to = t->bytes + at;
	if (has_inline_names() && len < NAME_INLINE) {
		/* What the words write over behind the name belongs to the component after it. */
		__u64 *behind = (void *)to + 1 + len;
		__u64 saved = *behind;

		to[0] = '/';
		put_words(to + 1, link->inline_name, len);
		asm volatile("" ::: "memory");
		*behind = saved;
	} else {
		to[0] = '/';
		if (bpf_probe_read_kernel(to + 1, len, link->name))
			return PREPEND_FAULT;
	}
	*position = at;
	return PREPEND_OK;
}

enum { STEP_ON, STEP_DONE, STEP_FAULT, STEP_FULL };

/* Up to WALK_CHUNK steps. The state is in the text `slot`; STEP_ON if there is more to do. */
GLOBAL int walk_chunk(__u32 slot)
{
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!t)
		return STEP_FAULT;
	struct walk *w = walk_state(t);
	struct dentry *dentry = w->dentry;
	struct vfsmount *mnt = w->mnt;
	__u32 position = w->position;
	int result = STEP_ON;

	for (int i = 0; i < WALK_CHUNK; i++) {
		if (dentry == w->root_dentry && mnt == w->root_mnt) {
			result = STEP_DONE;
			break;
		}
		if (read_dentry_link(&w->link, dentry)) {
			result = STEP_FAULT;
			break;
		}
		if (dentry == w->mnt_root || dentry == w->link.parent) {
			struct mount *mount = (void *)mnt - KERNEL_OFFSET(struct mount, mnt);

			if (!mnt) { /* a bare dentry: the walk stays inside its file system */
				result = STEP_DONE;
				break;
			}
			if (read_mount_link(&w->up, mount)) {
				result = STEP_FAULT;
				break;
			}
			if (w->up.parent == mount) { /* the root of the mount tree: outside of the process root */
				result = STEP_DONE;
				break;
			}
			dentry = w->up.mountpoint;
			mnt = (void *)w->up.parent + KERNEL_OFFSET(struct mount, mnt);
			w->mnt_root = READ(mnt, mnt_root);
			continue;
		}
		int prepended = prepend(t, &position, &w->link);
		if (prepended != PREPEND_OK) {
			result = prepended == PREPEND_FULL ? STEP_FULL : STEP_FAULT;
			break;
		}
		dentry = w->link.parent;
	}
	w->dentry = dentry;
	w->mnt = mnt;
	w->position = position;
	return result;
}

/* Walks to the end from the state in the text `slot`. */
GLOBAL int walk_rest(__u32 slot)
{
	for (int i = 0; i < WALK_CHUNKS; i++) {
		int result = walk_chunk(slot);
		if (result != STEP_ON)
			return result;
	}
	return STEP_FULL;
}

INLINE int text_fault(struct text *t)
{
	t->len = 0;
	t->flags = 0;
	t->mode = 0;
	t->status = ARG_FAULT;
	return -ARG_FAULT;
}

/* Walks to the end from the state in t, moves the text to the left end and completes the header. */
INLINE int walk_finish(struct text *t, __u32 flags)
{
	int result = walk_rest(t->slot);
	__u32 position = walk_state(t)->position;
	OPAQUE(position);
	if (result == STEP_FAULT || position > TEXT_MAX)
		return text_fault(t);
	__u32 len = TEXT_MAX - position;
	if (result == STEP_FULL)
		flags |= PATH_UNRESOLVED;
	/* The kernel copies upwards in words, so a target below an overlapping source is safe. */
	if (len)
		bpf_probe_read_kernel(t->bytes, len, t->bytes + position);
	t->len = len;
	t->flags = flags;
	t->status = ARG_OK;
	return len;
}

#define DELETED_LEN 10

/* Byte by byte: a string would become a map of constants. */
INLINE void put_deleted(__u8 *to)
{
	to[0] = ' '; to[1] = '('; to[2] = 'd'; to[3] = 'e'; to[4] = 'l';
	to[5] = 'e'; to[6] = 't'; to[7] = 'e'; to[8] = 'd'; to[9] = ')';
}

/* Also reads the mode of the inode, if there is one. mnt NULL: stays inside the file system. */
INLINE int walk_address(struct text *t, struct dentry *dentry, struct vfsmount *mnt, struct dentry *root_dentry,
			struct vfsmount *root_mnt)
{
	struct walk *w = walk_state(t);

	if (!dentry || read_dentry_link(&w->link, dentry))
		return text_fault(t);
	w->dentry = dentry;
	w->mnt = mnt;
	w->mnt_root = mnt ? READ(mnt, mnt_root) : 0;
	w->root_dentry = root_dentry;
	w->root_mnt = root_mnt;
	w->position = TEXT_MAX;
	t->mode = w->link.inode ? READ(w->link.inode, i_mode) : 0;
	if (w->link.pprev || dentry == w->link.parent)
		return walk_finish(t, 0);
	put_deleted(t->bytes + TEXT_MAX - DELETED_LEN);
	w->position = TEXT_MAX - DELETED_LEN;
	return walk_finish(t, PATH_DELETED);
}

/* ---- through pointers that the verifier knows ---- */

/*
 * Appends "/name" behind t->len. The length goes through memory so that the verifier forgets what it knows of it, else
 * it would look at every combination of lengths of all components. The bound, which is below TEXT_MAX anyway, is put on
 * right where the pointer is made: 5.10 forgets the bounds of a number that is kept on the stack, but not of a pointer.
 */
INLINE void append(struct text *t, struct dentry *dentry, __u32 len)
{
	__u32 at = *(volatile __u32 *)&t->len;
	__u8 *to;

	asm volatile("%0 = %1\n\t%0 &= 4095\n\t%0 += %2" : "=&r"(to) : "r"((__u64)at), "r"(t->bytes));
	to[0] = '/';
	put_words(to + 1, (const __u64 *)((void *)dentry + inline_name_offset()), len);
	*(volatile __u32 *)&t->len = at + 1 + len;
}

/*
 * Most mounts are on a directory of the root (/proc, /run, /tmp, /home): then one name is all that is missing. Writes it to
 * the left end and returns its length with the slash; 0 if the mount is elsewhere and the walk has to go on step by step.
 */
INLINE __u32 walk_lead(struct text *t)
{
	struct walk *w = walk_state(t);
	struct mount *mount = (void *)w->mnt - KERNEL_OFFSET(struct mount, mnt);
	struct mount_link up;
	struct dentry_link link;

	if (read_mount_link(&up, mount) || up.parent == mount)
		return 0;
	if ((void *)up.parent + KERNEL_OFFSET(struct mount, mnt) != w->root_mnt || up.mountpoint == w->root_dentry)
		return 0;
	if (read_dentry_link(&link, up.mountpoint) || link.parent != w->root_dentry)
		return 0;
	__u32 len = link.len;
	OPAQUE(len);
	if (len > NAME_MAX)
		return 0;
	t->bytes[0] = '/';
	return bpf_probe_read_kernel(t->bytes + 1, len, link.name) ? 0 : len + 1;
}

/* As walk_address, for a dentry and a mount that are not NULL (mnt may be the constant NULL). */
INLINE int walk_trusted(struct text *t, struct dentry *dentry, struct vfsmount *mnt, struct dentry *root_dentry,
			struct vfsmount *root_mnt)
{
	if (!has_inline_names() || (!dentry->d_hash.pprev && dentry != dentry->d_parent))
		return walk_address(t, dentry, mnt, root_dentry, root_mnt);

	/* Set to something, else the compiler spills whatever register it likes where they are not used. */
	struct dentry *gathered[WALK_SHORT] = {};
	struct walk *w = walk_state(t);
	struct dentry *mnt_root = mnt ? mnt->mnt_root : 0;
	struct inode *inode = dentry->d_inode;
	__u32 total = 0;
	int is_whole = 0;
	int n;

	t->mode = !may_be_null(inode) && inode ? inode->i_mode : 0;
#pragma unroll
	for (n = 0; n < WALK_SHORT; n++) {
		if (dentry == root_dentry && mnt == root_mnt) {
			is_whole = 1;
			break;
		}
		struct dentry *parent = dentry->d_parent;
		if (dentry == mnt_root || dentry == parent) {
			is_whole = !mnt;
			break;
		}
		__u32 len = dentry->d_name.len;
		if (len >= NAME_INLINE)
			break;
		gathered[n] = dentry;
		w->lens[n] = len;
		total += len + 1;
		dentry = parent;
	}
	w->mnt = mnt;
	w->root_dentry = root_dentry;
	w->root_mnt = root_mnt;
	__u32 lead = 0;
	if (!is_whole && mnt && dentry == mnt_root) {
		lead = walk_lead(t);
		is_whole = lead != 0;
	}
	*(volatile __u32 *)&t->len = is_whole ? lead : TEXT_MAX - total;
#define APPEND(i)                                                                                  \
	if (n > i)                                                                                 \
		append(t, gathered[i], *(volatile __u32 *)&w->lens[i]);
	APPEND(5) APPEND(4) APPEND(3) APPEND(2) APPEND(1) APPEND(0)
#undef APPEND
	if (is_whole) {
		t->flags = 0;
		t->status = ARG_OK;
		return lead + total;
	}
	w->dentry = dentry;
	w->mnt_root = mnt_root;
	w->position = TEXT_MAX - total;
	return walk_finish(t, 0);
}

#endif
